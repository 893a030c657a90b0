#!/bin/sh
# Runs bench/NAME.py, or all of them, in the environment each needs (its first line says which).
set -eu
cd "$(dirname "$0")/.."
for script in bench/${1:-*}.py; do
    [ -f "$script" ] || { echo "bench: there is no bench/${1:-*}.py" >&2; exit 2; }
    python=.venv-worker/bin/python
    if head -n 3 "$script" | grep -q "Blender's Python"; then python=.venv/bin/python; fi
    echo "== $script"
    "$python" "$script"
done
