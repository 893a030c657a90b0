#!/bin/sh
# Writes the lock files anew: the newest versions that requirements allow, for every system, with the hashes that the
# public index gives. Nothing of this machine's pip settings (mirrors, folders of wheels) has a part in it. Look at the
# difference before you commit it: "make test" installs from it.
set -eu
cd "$(dirname "$0")/.."
tool=.cache/lock
[ -x $tool/bin/uv ] || { python3 -m venv $tool && $tool/bin/pip install --quiet uv; }

lock() { # FILE.txt OLDEST-PYTHON
    target=${1%.txt}.lock
    {
        echo '# Exact versions for every system, and the hashes of their files; made by "make lock" from the .txt beside it.'
        env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL -u PIP_INDEX_URL $tool/bin/uv pip compile --no-config --quiet \
            --no-header --no-annotate --universal --generate-hashes --python-version "$2" "$1"
    } >"$target.new"
    mv "$target.new" "$target"
    echo "$target"
}

lock gs_diffusion_addon/requirements/worker.txt 3.10
lock requirements/blender.txt 3.11
