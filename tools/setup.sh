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
    for candidate in "${GSD_PYTHON:-}" python3.11 \
        "$HOME"/.pyenv/versions/3.11*/bin/python3.11 \
        "$HOME"/.local/share/uv/python/cpython-3.11*/bin/python3.11 \
        /usr/local/bin/python3.11 /opt/homebrew/bin/python3.11 \
        python3.13 \
        "$HOME"/.pyenv/versions/3.13*/bin/python3.13 \
        "$HOME"/.local/share/uv/python/cpython-3.13*/bin/python3.13 \
        /usr/local/bin/python3.13 /opt/homebrew/bin/python3.13 \
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

as_root=''
if [ "$(id -u)" -ne 0 ]; then
    as_root='sudo -n'
fi

may_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    [ "$(id -u)" -eq 0 ] || sudo -n true >/dev/null 2>&1
}

apt_updated=''
apt_install() {
    echo "Installing the system packages $*" >&2
    if [ -z "$apt_updated" ]; then
        $as_root apt-get update -qq >/dev/null || true
        apt_updated=yes
    fi
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

if ! python=$(find_python); then
    if may_install; then
        apt_install python3 python3-venv
    fi
    if ! python=$(find_python); then
        found=$(python3 --version 2>/dev/null || echo "no Python")
        echo "GS Diffusion needs Python 3.11 or 3.13 with venv (found: $found); install the packages python3.11 and python3.11-venv, or run 'uv python install 3.11', or name one with GSD_PYTHON=/path/to/python3.11." >&2
        exit 3
    fi
fi

if [ "$(uname -s)" = Linux ]; then
    # soname:package of what Blender's wheel loads and a bare Debian or Ubuntu does not have
    lacking=$("$python" - <<'PY'
import ctypes

NEEDED = """libXi.so.6:libxi6 libXrender.so.1:libxrender1 libXfixes.so.3:libxfixes3
libxkbcommon.so.0:libxkbcommon0 libSM.so.6:libsm6 libGL.so.1:libgl1 libEGL.so.1:libegl1
libgomp.so.1:libgomp1"""
for pair in NEEDED.split():
    soname, package = pair.split(":")
    try:
        ctypes.CDLL(soname)
    except OSError:
        print(package)
PY
)
    if [ -n "$lacking" ]; then
        # shellcheck disable=SC2086
        if may_install; then
            apt_install $lacking
        else
            echo "These system packages are missing: $(echo $lacking). Install them ('sudo apt-get install $(echo $lacking)') and run the same command again." >&2
            exit 3
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
        apt_install nodejs npm || echo "node cannot be installed; the tests that need it are skipped." >&2
    fi
    if ! has_browser && may_install; then
        apt_install chromium ||
            echo "Chromium cannot be installed; the report's test in a browser is skipped." >&2
    fi
    ;;
esac

exec "$python" tools/setup.py "$@"
