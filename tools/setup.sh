#!/bin/sh
# Finds a Python that Blender's wheels exist for, installs the system packages if it may, and hands over
# to setup.py. Arguments go on to it.
set -eu
cd "$(dirname "$0")/.."

usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 13)))' \
        >/dev/null 2>&1
}

find_python() {
    for candidate in "${GSD_PYTHON:-}" \
        python3.11 \
        "$HOME"/.pyenv/versions/3.11*/bin/python3.11 \
        "$HOME"/.local/share/uv/python/cpython-3.11*/bin/python3.11 \
        /opt/homebrew/bin/python3.11 \
        python3.13 \
        "$HOME"/.pyenv/versions/3.13*/bin/python3.13 \
        "$HOME"/.local/share/uv/python/cpython-3.13*/bin/python3.13 \
        /opt/homebrew/bin/python3.13 \
        python3 python; do
        [ -n "$candidate" ] || continue
        path=$(command -v "$candidate" 2>/dev/null) || continue
        if usable "$path"; then
            printf '%s' "$path"
            return 0
        fi
    done
    return 1
}

stop() {
    echo "setup: $1" >&2
    exit 3
}

as_root=''
if [ "$(id -u)" -ne 0 ]; then
    as_root='sudo -n'
fi

may_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    [ "$(id -u)" -eq 0 ] || sudo -n true >/dev/null 2>&1
}

apt_updated=''
apt_update() {
    [ -n "$apt_updated" ] || $as_root apt-get update -qq >/dev/null 2>&1 || true
    apt_updated=yes
}

# Fails with apt's own last word in $apt_said.
apt_install() {
    echo "Installing the system packages $*" >&2
    apt_update
    if ! apt_said=$(DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends "$@" \
        2>&1 >/dev/null); then
        apt_said=$(echo "$apt_said" | grep '^E:' | tail -n 1)
        return 1
    fi
}

# soname:package of what Blender's wheel loads and a bare Debian or Ubuntu does not have
libraries='libXi.so.6:libxi6 libXrender.so.1:libxrender1 libXfixes.so.3:libxfixes3
libxkbcommon.so.0:libxkbcommon0 libSM.so.6:libsm6 libGL.so.1:libgl1 libEGL.so.1:libegl1
libgomp.so.1:libgomp1'

# The packages of a Python that will do: 3.11 in Debian 12, 3.13 in Debian 13; nothing where apt has neither.
python_packages() {
    for version in 3.11 3.13; do
        if apt-cache show "python$version-venv" 2>/dev/null | grep -q .; then
            echo "python$version python$version-venv"
            return
        fi
    done
    # no lists of packages at all: this is the name of whichever the system has
    apt-cache show python3 2>/dev/null | grep -q . || echo "python3 python3-venv"
}

if [ -n "${GSD_PYTHON:-}" ] && ! usable "$GSD_PYTHON"; then
    stop "GSD_PYTHON=$GSD_PYTHON is no Python 3.11 or 3.13 with venv; correct it or unset it, then run the same command again."
fi

if ! python=$(find_python); then
    if may_install; then
        apt_update
        packages=$(python_packages)
        # shellcheck disable=SC2086
        [ -z "$packages" ] || apt_install $packages ||
            stop "Python ($packages) could not be installed (${apt_said:-apt-get failed}); check the network, then run the same command again."
    fi
    if ! python=$(find_python); then
        found=$(python3 --version 2>/dev/null || echo "no Python")
        how="run 'uv python install 3.11', or name one with GSD_PYTHON=/path/to/python3.11; then run the same command again."
        packages=''
        if command -v apt-get >/dev/null 2>&1; then packages=$(python_packages); fi
        if [ -n "$packages" ]; then
            all="$packages $(for pair in $libraries; do printf '%s ' "${pair#*:}"; done)"
            how="install it with the libraries that Blender needs ('sudo apt-get install ${all% }'), or $how"
        fi
        stop "GS Diffusion needs Python 3.11 or 3.13 with venv (found: $found): $how"
    fi
fi

if [ "$(uname -s)" = Linux ]; then
    lacking=$("$python" - $libraries <<'PY'
import ctypes
import sys

for pair in sys.argv[1:]:
    try:
        ctypes.CDLL(pair.partition(":")[0])
    except OSError:
        print(pair)
PY
)
    if [ -n "$lacking" ]; then
        packages=$(for pair in $lacking; do printf '%s ' "${pair#*:}"; done)
        packages=${packages% }
        if may_install; then
            # shellcheck disable=SC2086
            apt_install $packages ||
                stop "These system packages could not be installed: $packages (${apt_said:-apt-get failed}); check the network, then run the same command again."
        elif command -v apt-get >/dev/null 2>&1; then
            stop "These system packages are missing: $packages; install them ('sudo apt-get install $packages') and run the same command again."
        else
            files=$(for pair in $lacking; do printf '%s ' "${pair%%:*}"; done)
            stop "Blender needs these libraries, which are missing: ${files% }; install the packages that hold them (on Debian: $packages) and run the same command again."
        fi
    fi
fi

# Some tests ask independent programs: readers that need node, and a browser for the report. They say so
# where there are none.
has_browser() {
    for name in "${GSD_CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
        [ -n "$name" ] && command -v "$name" >/dev/null 2>&1 && return 0
    done
    return 1
}

case " $* " in
*" --test "*)
    if ! command -v npm >/dev/null 2>&1 && may_install; then
        apt_install nodejs npm ||
            echo "node cannot be installed ($apt_said); the tests that need it are skipped." >&2
    fi
    if ! has_browser && may_install; then
        apt_install chromium ||
            echo "Chromium cannot be installed ($apt_said); the report's test in a browser is skipped." >&2
    fi
    ;;
esac

exec "$python" tools/setup.py "$@"
