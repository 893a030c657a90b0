"""The program's own exceptions: each carries one sentence for the user and the exit code it ends
with.

Raise one wherever the user can do something about it; the sentence names the thing and the next
step. Anything else that escapes a stage is a defect: it goes to the log with its traceback and ends
with :data:`EXIT_STAGE`.
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_INPUT = 2
EXIT_MISSING = 3
EXIT_STAGE = 4
EXIT_WAITED = 5
EXIT_INTERRUPTED = 130


class GsdError(Exception):
    """Base of all errors shown to users; ``exit_code`` is what the program ends with.

    ``tail``: the last lines that a child process printed, where one is the reason.
    """

    exit_code: int = EXIT_STAGE
    tail: tuple[str, ...] = ()


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
