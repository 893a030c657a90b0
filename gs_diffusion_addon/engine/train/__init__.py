"""Stage ``train``: the data set of an iteration -> a splat model.

Each trainer is a file of this folder with ``train(run, settings, emit) -> Splats`` (in Blender's
world) and a line in :data:`TRAINERS`. One that needs something installed has ``check(settings)``,
too, which raises GsdError for what is missing.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ...core.errors import InputError
from ...core.events import Emit
from ...core.ply import Splats, write_splats
from ...core.run import Run
from ...core.settings import Settings

TRAINERS = ("builtin", "gsplat", "graphdeco", "brush", "opensplat")
"""The registry: each is a file of this folder."""


class Trainer(Protocol):
    """What a trainer's module offers."""

    train: Callable[[Run, Settings, Emit], Splats]


WARM = ("builtin", "gsplat")
"""The trainers that can go on from a splat."""


def trainer(name: str) -> Trainer:
    """The trainer called ``name``; raises InputError for one that does not exist."""
    if name not in TRAINERS:
        raise InputError(
            f"There is no trainer called {name!r}; --trainer knows {', '.join(TRAINERS)}."
        )
    # Imported here: each brings its own heavy packages, and only the chosen one is needed.
    module: Any = importlib.import_module(f".{name}", __package__)
    return module  # type: ignore[no-any-return]


def check(settings: Settings) -> None:
    """Raise GsdError for what the stage would fail of, as far as that is known before it starts."""
    module: Any = trainer(settings.trainer)
    if hasattr(module, "check"):
        module.check(settings)


def result_path(run: Run, settings: Settings) -> Path:
    """Where the trained model of an iteration lies, in graphdeco's layout of folders."""
    name = f"iteration_{settings.train_steps}"
    return run.model / "point_cloud" / name / "point_cloud.ply"


def run_stage(run: Run, settings: Settings, emit: Emit) -> None:
    """Train the iteration's splats and write them to :func:`result_path`; nothing to do if they
    are there.
    """
    path = result_path(run, settings)
    if not path.is_file():
        if settings.warm_start and run.iteration > 1 and settings.trainer not in WARM:
            emit(
                "warning",
                message=f"The trainer {settings.trainer} starts from points, so --warm-start does "
                f"nothing; {' and '.join(WARM)} can start from a splat.",
            )
        write_splats(path, trainer(settings.trainer).train(run, settings, emit))
    shutil.rmtree(run.checkpoints, ignore_errors=True)
