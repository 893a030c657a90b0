"""Asks the chosen backends, before a run's first stage begins, what they would fail of later."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from ..core.errors import GsdError
from ..core.events import Emit
from ..core.preflight import Step

CHECKS = {"stylize": "stylize", "propagate": "propagate", "train": "train", "report": "clip"}
"""Stage -> the module of this package whose ``check(settings)`` knows."""


def look(steps: Sequence[Step], emit: Emit) -> None:
    """Emit an event ``problem`` for each stage that would fail with its settings."""
    for step in steps:
        # Imported here: each brings its own heavy packages, and mostly one is asked.
        module = importlib.import_module(f".{CHECKS[step.stage]}", __package__)
        try:
            module.check(step.settings)
        except GsdError as error:
            emit("problem", of=step.stage, message=str(error), code=error.exit_code)
