"""Who works in a run folder: an operating-system lock, which is gone when its owner is."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .errors import InputError, StageError
from .inside import refuse_links

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK, 0)
"""How systems say that somebody else has the lock; Wine's C library forgets to say it (0)."""


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the run folder for this process; raises InputError if another one works in it.

    An operating-system lock, so it is gone when its owner is. The file tells who that is. Also
    raises InputError for a folder whose files lead elsewhere.
    """
    refuse_links(root)
    with open(root / ".lock", "a+", encoding="utf-8") as file:
        if not take_soon(file):
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise InputError(
                f"{root} is in use by {owner}; wait for it, stop it, or choose another --out."
            )
        file.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        file.write(f"process {os.getpid()} on {platform.node()} since {since}\n")
        file.flush()
        yield


def take_soon(file: IO[str]) -> bool:
    """Take the lock; with a moment's patience, since :func:`in_use` holds it while it looks, which
    on a busy machine may take longer than it should.
    """
    for _ in range(20):
        if take(file):
            return True
        time.sleep(0.05)
    return False


def take(file: IO[str]) -> bool:
    """Lock an open file until it is closed; whether that went. Raises StageError where a disk keeps
    no locks.
    """
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(1 << 20)  # a byte beyond the text, so that others can still read the owner
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            file.seek(0)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        # Without a lock two runs could share the folder, so none of them begins.
        raise StageError(
            f"The folder of {file.name} is on a disk that keeps no locks ({error.strerror}); "
            f"choose an --out on another disk."
        ) from None
    return True


def in_use(root: Path) -> bool:
    """Whether some process holds the run folder right now."""
    try:
        with open(root / ".lock", "r+", encoding="utf-8") as file:
            return not take(file)
    except (OSError, StageError):
        return False  # no lock, or one that cannot be written or taken: nobody works there
