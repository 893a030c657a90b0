"""The program's own exceptions: each carries one sentence for the user and the exit code it ends
with.

Raise one wherever the user can do something about it; the sentence names the thing and the next
step. Anything else that escapes a stage is a defect: it goes to the log with its traceback and ends
with :data:`EXIT_STAGE`.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

from .version import PACKAGE

EXIT_DONE = 0
EXIT_INPUT = 2
EXIT_MISSING = 3
EXIT_STAGE = 4
EXIT_WAITED = 5
EXIT_INTERRUPTED = 130


_RECORD = os.environ.get("GSD_SENTENCES", "")
"""A folder in which test runs note which errors were made where (tools/sentences.py)."""


def _note(frame: FrameType) -> None:
    """Append the place that made an error to this process's record."""
    file = Path(frame.f_code.co_filename)
    if file.is_relative_to(PACKAGE):
        place = f"{file.relative_to(PACKAGE).as_posix()}:{frame.f_lineno}\n"
        with open(Path(_RECORD) / f"{os.getpid()}.txt", "a", encoding="utf-8") as record:
            record.write(place)


class GsdError(Exception):
    """Base of all errors shown to users; ``exit_code`` is what the program ends with.

    ``tail``: the last lines that a child process printed, where one is the reason.
    """

    exit_code: int = EXIT_STAGE
    tail: tuple[str, ...] = ()

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        if _RECORD:
            _note(sys._getframe(1))


class InputError(GsdError):
    """What the user gave cannot be used: a file, an option, a folder (exit 2)."""

    exit_code = EXIT_INPUT


class MissingError(GsdError):
    """Something that has to be installed, started or reachable is not there (exit 3)."""

    exit_code = EXIT_MISSING


class StageError(GsdError):
    """A stage could not do its work although its input was fine (exit 4)."""

    exit_code = EXIT_STAGE


class WaitError(GsdError):
    """What a person or another program had to do was not done in the time given (exit 5)."""

    exit_code = EXIT_WAITED


class Interrupted(GsdError):
    """The user asked to stop; finished work is kept (exit 130)."""

    exit_code = EXIT_INTERRUPTED


_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def out_of_memory() -> GsdError:
    """The sentence for a process that got no more memory."""
    return StageError(
        "The memory ran out; close other programs or lower --size, --page-size or "
        "--max-splats, and run the same command again."
    )


_NO_MEMORY = re.compile(
    # torch's and Blender's allocators, C++, numpy, OpenBLAS, LLVM, the dynamic loader
    r"can't allocate memory|not enough memory|[mc]alloc returns null|bad_alloc|out of memory"
    r"|unable to allocate|cannot allocate memory|memory allocation (still )?failed"
    r"|failed to map segment",
    re.IGNORECASE,
)
_CRASHED = (-9, -11, -7, -6, 137, 139, 134, 0xC0000005, 0xC0000017)
"""Exit codes of programs that the system ended: Linux kills what takes the last memory, and few
libraries look whether they got what they asked for.
"""


def crash_error(stage: str, code: int, log: Path, tail: Iterable[str]) -> GsdError:
    """The sentence for a stage that ended with ``code`` and said nothing; ``tail`` are the last
    lines that it printed.
    """
    if any(_NO_MEMORY.search(line) for line in tail):
        return out_of_memory()
    if code in _CRASHED:
        return StageError(
            f"Stage {stage} crashed or was killed (code {code}), as happens when the memory runs "
            f"out; close other programs or lower --size, --page-size or --max-splats, and run the "
            f"same command again. What it printed stands in {log}."
        )
    return StageError(
        f"Stage {stage} ended unexpectedly (code {code}); the reason stands in {log}."
    )


def memory_error(error: BaseException | None) -> bool:
    """Whether an exception, or one behind it, says that there was no memory, whatever its type."""
    while error is not None:
        told = isinstance(error, RuntimeError | ImportError | OSError)
        if isinstance(error, MemoryError) or (told and _NO_MEMORY.search(str(error))):
            return True
        error = error.__cause__ or error.__context__
    return False


def system_error(error: OSError | MemoryError) -> GsdError:
    """The sentence for what the operating system refused: space, permission, memory."""
    if isinstance(error, MemoryError) or error.errno == errno.ENOMEM or memory_error(error):
        return out_of_memory()
    where = str(error.filename) if error.filename else "the run folder"
    short = error.errno is None and "requested and" in str(error)  # numpy's own words
    if error.errno in _FULL or short:
        return StageError(
            f"There is no space left for {where}; free some on that disk and run the same command "
            f"again, which goes on from here."
        )
    if error.errno in _FORBIDDEN:
        return InputError(
            f"{where} may not be written or read ({error.strerror}); correct its permissions or "
            f"choose another --out."
        )
    return StageError(
        f"{where} could not be written or read ({error.strerror or error}); run the same command "
        f"again, which goes on from here."
    )


def error_for_exit_code(code: int, message: str) -> GsdError:
    """The exception that stands for a child's exit ``code``, so that codes survive process
    borders.
    """
    kinds: dict[int, type[GsdError]] = {
        EXIT_INPUT: InputError,
        EXIT_MISSING: MissingError,
        EXIT_WAITED: WaitError,
        EXIT_INTERRUPTED: Interrupted,
    }
    return kinds.get(code, StageError)(message)
