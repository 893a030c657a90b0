"""The entry point of every door: ``blender -b FILE.blend -P worker.py -- run …``, ``gsd run …``,
and each child that the supervisor starts.

Run by path this file has no package, so it loads the one it lies in, always as
``gs_diffusion_addon``, without touching ``sys.path``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

NAME = "gs_diffusion_addon"


def bootstrap() -> None:
    """Make ``import gs_diffusion_addon`` mean the folder this file lies in."""
    if NAME in sys.modules:
        return
    folder = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)


def arguments() -> list[str]:
    """Our part of the command line: what stands after ``--`` in Blender, everything elsewhere."""
    blender = Path(sys.argv[0]).stem.lower().startswith("blender") or "-P" in sys.argv
    if not blender:
        return sys.argv[1:]
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def main() -> int:
    """Run the command and return its exit code."""
    bootstrap()
    commands = importlib.import_module(f"{NAME}.core.commands")
    code: int = commands.main(arguments())
    return code


if __name__ == "__main__":
    import os

    result = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Blender's Python has hung at interpreter exit and answers 0 after a failing script; this does
    # neither.
    os._exit(result)
