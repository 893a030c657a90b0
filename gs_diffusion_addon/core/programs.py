"""Programs of installed trainers: where they are, and which options they know."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence

from .errors import MissingError
from .foreign import foreign_environment
from .process import told
from .settings import Settings

NAMES = {"brush": ("brush_app", "brush", "brush-cli"), "opensplat": ("opensplat",)}


def trainer_program(settings: Settings, name: str) -> str:
    """The program of the trainer ``brush`` or ``opensplat``; raises MissingError."""
    named = getattr(settings, name) or os.environ.get(f"GSD_{name.upper()}", "")
    for candidate in (named,) if named else NAMES[name]:
        found = shutil.which(candidate)
        if found:
            return found
    if named:
        raise MissingError(f"There is no program {named}; correct --{name}.")
    raise MissingError(f"install {name} and name its program with --{name} or on the PATH.")


@functools.cache
def help_of(command: tuple[str, ...], cwd: str = "", timeout: float = 120.0) -> str:
    """What ``command --help`` prints; raises MissingError with the reason if it does not."""
    try:
        done = told(
            [*command, "--help"],
            timeout,
            environment=foreign_environment(0),
            cwd=cwd or None,
            encoding="utf-8",
        )
    except subprocess.TimeoutExpired:
        raise MissingError(
            f"{command[-1]} --help gave no answer in {timeout:g} s; try it by hand."
        ) from None
    except OSError as error:
        raise MissingError(f"{command[0]} cannot be started: {error.strerror or error}.") from None
    text = done.stdout + done.stderr
    if done.returncode != 0 or not options_of(text):
        last = (text.strip().splitlines() or ["it printed nothing"])[-1]
        raise MissingError(f"{command[-1]} --help fails ({last[:200]}); try it by hand.")
    return text


def options_of(text: str) -> frozenset[str]:
    """The long options in a help text: ``{"--iterations", …}``."""
    return frozenset(re.findall(r"(?<![\w-])--[A-Za-z][\w-]*", text))


def known(wanted: Iterable[Sequence[str]], options: frozenset[str]) -> tuple[list[str], list[str]]:
    """Flatten (option, values…) that the program knows; the names it does not know come second."""
    arguments: list[str] = []
    unknown: list[str] = []
    for option, *values in wanted:
        if option in options:
            arguments += [option, *values]
        else:
            unknown.append(option)
    return arguments, unknown
