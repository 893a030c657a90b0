"""OpenSplat, a trainer with a command line of its own; see :mod:`.command_line`."""

from __future__ import annotations

from ...core.events import Emit
from ...core.ply import Splats
from ...core.run import Run
from ...core.settings import Settings
from . import command_line


def check(settings: Settings) -> None:
    """Raise MissingError where the program is missing or too old."""
    command_line.check(command_line.OPENSPLAT, settings)


def train(run: Run, settings: Settings, emit: Emit) -> Splats:
    """Train with OpenSplat; see :func:`.command_line.train`."""
    return command_line.train(command_line.OPENSPLAT, run, settings, emit)
