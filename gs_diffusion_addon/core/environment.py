"""Making the worker's environment: a virtual environment with the heavy packages, torch for the
machine.

Used by ``make setup`` and, inside Blender, by the preferences. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import InputError, MissingError
from .process import told
from .version import PACKAGE

TORCH = "2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_INDEX = "https://download.pytorch.org/whl/cu130"

REQUIREMENTS = PACKAGE / "requirements" / "worker.txt"

STAMP = ".gsd-setup"

_UNREACHED = re.compile(
    r"connection broken by|failed to establish a new connection|name resolution|ProxyError"
    r"|ConnectTimeout|network is unreachable",
    re.IGNORECASE,
)
"""What pip says when it gets no connection."""

_FULL = re.compile(r"No space left on device|Disk quota exceeded|There is not enough space")


PIP_SPACE = 30e6
"""Bytes; an empty environment takes about half of it."""


class NotToBeHadError(MissingError):
    """A package that no source offers."""


class UnreachedError(NotToBeHadError):
    """A package whose source does not answer."""


def exactly(requirements: Path) -> list[str]:
    """pip's arguments for the locked versions of ``requirements``, their files checked by hash.

    With GSD_UNLOCKED=1 whatever the requirements allow, for machines with packages of their own.
    """
    if os.environ.get("GSD_UNLOCKED"):
        return ["-r", str(requirements)]
    return ["--require-hashes", "-r", str(requirements.with_suffix(".lock"))]


def has_nvidia() -> bool:
    """Whether an NVIDIA driver answers. GSD_TORCH=cpu or cuda overrides what is found."""
    choice = os.environ.get("GSD_TORCH", "").lower()
    if choice in ("cpu", "cuda"):
        return choice == "cuda"
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    try:
        done = told([program, "-L"], timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and "GPU" in done.stdout


def torch_attempts(system: str, nvidia: bool) -> list[list[str]]:
    """Arguments for ``pip install``, to be tried in order, that get the right torch for a
    machine.

    PyPI's torch for Linux is a CUDA build of several gigabytes, so on Linux without a card only
    the version ``+cpu`` is ever asked for: from the sources pip is set up with (a local wheel, a
    mirror), then from PyTorch's own index. On Windows it is the other way round: PyPI has the
    CPU build.
    """
    if nvidia:
        if system == "Windows":
            return [[f"torch=={TORCH}", "--index-url", CUDA_INDEX]]
        return [[f"torch=={TORCH}"]]
    if system == "Linux":
        exact = f"torch=={TORCH}+cpu"
        return [[exact], [exact, "--index-url", CPU_INDEX]]
    return [[f"torch=={TORCH}"]]


def python_in(folder: Path) -> Path:
    """The Python of a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def ensure(
    folder: Path,
    steps: Sequence[Sequence[str]],
    say: Callable[[str], None],
    torch: bool = False,
) -> Path:
    """A virtual environment in ``folder`` with ``steps`` (argument lists of ``pip install``)
    done.

    Does nothing when the same steps are already done with the same Python; returns the
    environment's Python. Raises InputError for a folder with anything else in it, which making an
    environment would delete; MissingError with the step that failed and pip's last line.
    """
    wanted = _fingerprint(steps, torch)
    stamp = folder / STAMP
    if (
        stamp.is_file()
        and stamp.read_text(encoding="utf-8") == wanted
        and python_in(folder).exists()
    ):
        return python_in(folder)
    stamp.unlink(missing_ok=True)
    if not _works(python_in(folder)):
        if folder.exists() and not (folder / "pyvenv.cfg").is_file() and any(folder.iterdir()):
            raise InputError(
                f"{folder} is not empty and no virtual environment; name an empty or new folder."
            )
        say(f"Making the virtual environment {folder.name}")
        _make(folder)
    python = python_in(folder)
    if torch:
        _install_torch(python, say)
    for step in steps:
        say(f"Installing {_describe(step)}")
        _pip(python, step)
    stamp.write_text(wanted, encoding="utf-8")
    return python


def _make(folder: Path) -> None:
    """An empty virtual environment, by this Python or one that has what Debian leaves out."""
    advice = "on Debian and Ubuntu install python3-venv."
    maker = _maker()
    if maker is None:
        raise MissingError(
            f"No virtual environment can be made in {folder}: neither {sys.executable} nor a "
            f"Python on the PATH has the module ensurepip; {advice}"
        )
    command = [maker, "-m", "venv", *(["--clear"] if folder.exists() else []), str(folder)]
    done = told(command)
    if done.returncode:
        said = done.stderr + done.stdout
        # venv keeps to itself why its pip could not be unpacked
        if _FULL.search(said) or shutil.disk_usage(_nearest(folder)).free < PIP_SPACE:
            raise _full(folder)
        reason = said.strip().splitlines() or ["no reason given"]
        raise MissingError(
            f"No virtual environment can be made in {folder} ({reason[-1]}); {advice}"
        )


def _maker() -> str | None:
    """This Python if it can make environments with pip, else the newest on the PATH that can."""
    names = [f"python3.{minor}" for minor in range(14, 9, -1)]
    found = [sys.executable, *filter(None, map(shutil.which, [*names, "python3", "python"]))]
    return next((python for python in found if _can_make(python)), None)


def _can_make(python: str) -> bool:
    code = "import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 15))"
    try:
        done = told([python, "-c", code], timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def add(
    folder: Path, name: str, steps: Sequence[Sequence[str]], say: Callable[[str], None]
) -> None:
    """More packages in an existing environment, under a stamp of their own; raises MissingError."""
    if not steps:
        return
    stamp, wanted = folder / f"{STAMP}-{name}", _fingerprint(steps, False)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    for step in steps:
        say(f"Installing {_describe(step)}")
        _pip(python_in(folder), step)
    stamp.write_text(wanted, encoding="utf-8")


def remove(folder: Path) -> None:
    """Delete a virtual environment, finished or not.

    Raises InputError for any other folder, MissingError when files cannot be deleted.
    """
    if not folder.exists():
        return
    if not (folder / "pyvenv.cfg").is_file():
        raise InputError(f"{folder} is no virtual environment; nothing was deleted.")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise MissingError(f"{folder} cannot be deleted completely: {error}.") from None


def _install_torch(python: Path, say: Callable[[str], None]) -> None:
    errors: list[NotToBeHadError] = []
    attempts = torch_attempts(platform.system(), has_nvidia())
    for attempt in attempts:
        place = f" from {CPU_INDEX}" if CPU_INDEX in attempt else ""
        say(f"Installing {attempt[0]}{place}")
        try:
            _pip(python, attempt)
        except NotToBeHadError as error:
            errors.append(error)
        else:
            return
    raise _no_torch(attempt, errors)


def _no_torch(attempt: Sequence[str], errors: Sequence[NotToBeHadError]) -> MissingError:
    """The sentence for ``errors`` of all attempts, the last of which is ``attempt``."""
    if CPU_INDEX not in attempt:
        return errors[-1]
    if all(isinstance(error, UnreachedError) for error in errors):
        return MissingError(
            f"Nothing can be downloaded: neither pip's sources nor {CPU_INDEX} can be reached; "
            f"check the network or the proxy (HTTPS_PROXY), and try again."
        )
    # PyPI's build for Linux also works without a card; it is only large
    return MissingError(
        f"{attempt[0]} (torch for the processor) is neither in pip's own sources nor to be had "
        f"from {CPU_INDEX} by this Python {platform.python_version()}; let this machine reach that "
        f"address (HTTPS_PROXY names a proxy), or set GSD_TORCH=cuda to take PyPI's build "
        f"(several GB), and try again."
    )


def _pip(python: Path, arguments: Sequence[str]) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = told([*command, *arguments])
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = (lines or done.stderr.strip().splitlines() or ["no reason given"])[-1]
        if _FULL.search(done.stderr):
            raise _full(python.parent.parent)
        if _UNREACHED.search(done.stderr):
            raise UnreachedError(
                f"The package index cannot be reached, so {_describe(arguments)} cannot be "
                f"installed; check the network or the proxy (HTTPS_PROXY), and try again."
            )
        kind = NotToBeHadError if "No matching distribution" in reason else MissingError
        raise kind(f"'pip install {' '.join(arguments)}' failed: {reason}")


def _full(folder: Path) -> MissingError:
    free = shutil.disk_usage(_nearest(folder)).free / 1e9
    return MissingError(
        f"There is no space left for {folder} ({free:.1f} GB are free there) or for what pip keeps "
        f"in {tempfile.gettempdir()} meanwhile; free some, or name another folder for that with "
        f"TMPDIR, and try again."
    )


def _nearest(folder: Path) -> Path:
    """``folder`` or the nearest one above it that exists."""
    return next(p for p in (folder, *folder.parents) if p.exists())


def _works(python: Path) -> bool:
    if not python.exists():
        return False
    return told([str(python), "-m", "pip", "--version"]).returncode == 0


def _describe(step: Sequence[str]) -> str:
    files = [Path(s).name for s in step if s.endswith((".txt", ".lock"))]
    packages = [Path(s).name for s in step if not s.startswith("-")]
    return f"what {files[0]} lists" if files else " ".join(packages)


def _fingerprint(steps: Sequence[Sequence[str]], torch: bool) -> str:
    parts = [sys.version, str(torch and torch_attempts(platform.system(), has_nvidia()))]
    for step in steps:
        for argument in step:
            parts.append(argument)
            path = Path(argument)
            if path.suffix in (".txt", ".lock") and path.is_file():
                parts.append(path.read_text(encoding="utf-8"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
