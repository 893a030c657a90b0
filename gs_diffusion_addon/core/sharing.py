"""Several runs at once share the machine's cores: each takes its part of them for its next stage.

A process that works on a run holds a lock file in the user's temporary folder; how many are held is
how many share. The locks are the operating system's, so a killed run counts no more. Nothing that
a run makes depends on its number of threads.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from .errors import StageError
from .inside import private_folder
from .lock import take, take_soon

_YOUNG = 10.0
"""Seconds in which a new file may not be locked yet."""


def processors() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def sharing() -> Iterator[None]:
    """Count as one of the machine's runs; where no lock can be held, every run counts for itself
    alone.
    """
    with contextlib.ExitStack() as held:
        folder = _folder()
        if private_folder(folder):
            with contextlib.suppress(OSError, StageError):
                path = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
                held.callback(path.unlink, missing_ok=True)  # after the file is closed: Windows
                take_soon(held.enter_context(open(path, "a+", encoding="utf-8")))
        yield


def fair_threads() -> int:
    """This run's part of the cores, at least one."""
    return max(1, -(-processors() // max(1, _active())))


def _active() -> int:
    """How many runs work now."""
    count, folder = 0, _folder()
    # Files are deleted here: not where another user's link leads.
    if not private_folder(folder):
        return 0
    with contextlib.suppress(OSError):
        for path in folder.glob("*-" + "[0-9a-f]" * 8):
            with contextlib.suppress(OSError, StageError):
                with open(path, "a+", encoding="utf-8") as file:
                    free = take(file)
                count += not free
                if free and time.time() - path.stat().st_mtime > _YOUNG:
                    path.unlink(missing_ok=True)
    return count


def _folder() -> Path:
    """One folder a user; the name says nothing to anybody else."""
    return Path(tempfile.gettempdir()) / f"gs-diffusion-runs-{user()}"


def user() -> str:
    """This user's number, on Windows its name."""
    return str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()
