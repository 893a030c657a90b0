"""Threads and the compiler's cache of the built-in trainer; import this before numba.

Kernels are compiled without numba's own thread pool. They release the interpreter's lock and
work on a range of jobs, and :class:`Workers` hands those ranges to a few Python threads. That
keeps torch's and numba's pools from fighting (measured: 65 s instead of 1.2 s for Adam),
compiles twice as fast, and leaves the order of every sum to the kernels, so results do not
depend on the number of threads.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from ...core.inside import private_folder
from ...core.sharing import user

# Options of glibc's malloc.h and bytes: what may lie free at the heap's end, and from which size on
# an array is mapped by itself (32 MiB is the most it takes).
_KEPT = {-1: 1 << 30, -3: 32 << 20}


def user_cache() -> Path:
    """The folder for things this user may lose: %LOCALAPPDATA%, ~/Library/Caches or ~/.cache."""
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "gs_diffusion"


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _sources_digest() -> str:
    """Hash of the kernels' sources: numba's own key misses changes in functions a kernel calls."""
    h = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        h.update(path.read_bytes())
    return h.hexdigest()


@lru_cache(maxsize=1)
def kernel_cache() -> Path:
    """Folder of the compiled kernels: the user's cache, or the temporary folder if that is
    read-only.
    """
    try:
        candidates = [user_cache()]
    except RuntimeError:  # no home folder at all
        candidates = []
    # numba runs what it finds there, so nobody else may have put it there.
    shared = Path(tempfile.gettempdir()) / f"gs_diffusion-{user()}"
    candidates += [shared] if private_folder(shared) else []
    for base in candidates:
        folder = base / "numba" / _sources_digest()
        if _writable(folder):
            return folder
    return Path(tempfile.mkdtemp(prefix="gs_diffusion-"))


def prepare() -> None:
    """Point numba at :func:`kernel_cache` unless the user has set NUMBA_CACHE_DIR."""
    if "NUMBA_CACHE_DIR" not in os.environ:
        os.environ["NUMBA_CACHE_DIR"] = str(kernel_cache())
        numba = sys.modules.get("numba")
        if numba is not None:  # it read the variable when it was imported
            numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]


def forget_kernels() -> bool:
    """Delete the compiled kernels, so that they are compiled anew; False for a folder that the user
    named, where others' may lie, too.
    """
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    if folder != kernel_cache():
        return False
    for path in folder.rglob("*.nb[ci]"):
        path.unlink(missing_ok=True)
    return True


def thread_count(wanted: int = 0) -> int:
    """``wanted`` threads, else GSD_THREADS, else the processors this process may use."""
    text = os.environ.get("GSD_THREADS", "")
    count = wanted or (int(text) if text.isdecimal() else 0)
    if count > 0:
        return count
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_threads(count: int) -> None:
    """Make ``count`` (0: leave it) what :func:`thread_count` answers in this process."""
    if count:
        os.environ["GSD_THREADS"] = str(count)
        workers.cache_clear()


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Let this process keep what it frees, for its next arrays; whether that could be set.

    A training step makes and frees the same dozen arrays of some megabytes each. glibc returns
    such to the system at once, which clears and maps every page anew: a thousand faults a step,
    a tenth of its time. Other allocators keep them anyway. For processes of our own: others
    may want their memory back.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc (musl, macOS, Windows)
        return False
    return all([mallopt(option, size) for option, size in _KEPT.items()])


class Workers:
    """Runs a kernel over ranges of jobs on ``count`` threads, the calling one included."""

    def __init__(self, count: int) -> None:
        self.count = max(1, count)
        self._pool = ThreadPoolExecutor(self.count - 1) if self.count > 1 else None

    def run(self, bounds: list[int], kernel: Callable[..., object], *arguments: object) -> None:
        """``kernel(first, last, *arguments)`` for each pair of neighboring ``bounds``.

        Free threads take the next range, so ranges of unequal cost even out. Returns when all are
        done; an exception of any range is raised here.
        """
        ranges = [(a, b) for a, b in itertools.pairwise(bounds) if b > a]
        if self._pool is None or len(ranges) < 2:
            for first, last in ranges:
                kernel(first, last, *arguments)
            return
        queue = iter(ranges)  # a list's iterator hands each item out once, to whichever thread asks

        def drain() -> None:
            for first, last in queue:
                kernel(first, last, *arguments)

        helpers = min(self.count, len(ranges)) - 1
        futures = [self._pool.submit(drain) for _ in range(helpers)]
        try:
            drain()
        finally:
            for future in futures:
                future.result()

    def even(self, jobs: int, smallest: int = 1) -> list[int]:
        """Bounds that cut ``jobs`` into equal ranges: one a thread, none below ``smallest``."""
        parts = max(1, min(self.count, jobs // max(1, smallest)))
        return [jobs * k // parts for k in range(parts + 1)]


@lru_cache(maxsize=4)
def workers(count: int = 0) -> Workers:
    """The shared pool of ``count`` threads (0: :func:`thread_count`)."""
    return Workers(thread_count(count))
