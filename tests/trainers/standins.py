"""The stand-ins for installed trainers, as a user would have them: a checkout and a Python."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORKER = HERE.parents[1] / ".venv-worker" / "bin" / "python"


def install(folder: Path, python: Path = WORKER) -> tuple[Path, Path]:
    """(checkout, Python) in ``folder``, which may have any name.

    The Python is ``python`` with the stand-in's packages before its own: a torch with a card,
    graphdeco's extensions, an old Pillow.
    """
    checkout = folder / "gaussian-splatting"
    shutil.copytree(HERE / "gaussian-splatting", checkout)
    program = folder / "env gs" / "bin" / "python"
    write_program(program, f'PYTHONPATH="{HERE / "packages"}" exec "{python}" "$@"')
    return checkout, program


def write_program(path: Path, command: str) -> Path:
    """A shell script that is a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def environment(**standin: object) -> dict[str, str]:
    """The variables that tell a stand-in what to do: ``fault="oom"`` is STANDIN_FAULT=oom."""
    return {f"STANDIN_{name.upper()}": str(value) for name, value in standin.items()}


def clean() -> None:
    """Forget all STANDIN_ variables of this process."""
    for name in [n for n in os.environ if n.startswith("STANDIN_")]:
        del os.environ[name]
