"""The stylize stage: keyframes → collage pages → a stylizer → restyled keyframes.

Stylizers are modules of this package with ``ENLARGE`` (whether small frames are scaled up to their
cells), ``check(settings)`` (raises GsdError for what it would fail of) and ``start(settings,
emit)`` (a :class:`~.backend.Stylizer`).

Sources are transparent; they are laid on one plain *backdrop* for the whole iteration, halfway
between middle gray and the model's mean color. A stylizer sees the backdrop too: diffusion
continues colors across the silhouette, and style networks set their contrast by the whole
picture. Near the model's own color, silhouettes get no foreign fringe and the model gets the
contrast (on plain gray, bronze came out as plaster); all the way there, the model's outline would
drown.
"""

from __future__ import annotations

import importlib
import shutil
import threading
from types import ModuleType
from typing import Any

from ...core.errors import InputError
from ...core.events import Emit
from ...core.run import Run
from ...core.settings import Settings
from .. import drift
from .backend import Stylizer
from .collage import Page
from .pool import Pool, Task
from .sources import backdrop, checked, prepare_sources
from .stage import Stage

__all__ = ["backdrop", "checked", "module_of", "run_stage", "start_all"]

STYLIZERS = ("preview", "a1111", "diffusers_local")


def module_of(name: str) -> ModuleType:
    """The module of the stylizer called ``name``; raises InputError."""
    if name not in STYLIZERS:
        raise InputError(f"There is no stylizer {name!r}; there are {', '.join(STYLIZERS)}.")
    return importlib.import_module(f".{name}", __package__)


def check(settings: Settings) -> None:
    """Raise GsdError for what the stage would fail of, as far as that is known before it starts."""
    module_of(settings.stylizer).check(settings)


def run_stage(run: Run, settings: Settings, emit: Emit) -> None:
    """Restyle the keyframes, and, if asked to, every frame of ring 0 on its own for comparison.

    Writes iterK/input, output, keys and independent. What is there already is kept: a page that
    came back is never asked for twice. Raises GsdError.
    """
    emit = _one_at_a_time(emit)
    prepare_sources(run, settings)
    drift.follow(run, settings, emit)
    alone = list(range(settings.views)) if settings.compare_independent == "yes" else []
    module = module_of(settings.stylizer)
    stage = Stage(run, settings, emit, module.ENLARGE, alone)
    if stage.sequential:
        rounds = [[_page_task(stage, page)] for page in stage.pages()]
    else:
        rounds = [[_page_task(stage, page) for page in stage.pages()]]
        if any(unit.kind == "reference" for unit in stage.units):
            rounds = [rounds[0][:1], rounds[0][1:]]  # the others refer to the first page
    rounds.append([_alone_task(stage, k) for k in alone])
    pool: Pool | None = None
    for tasks in rounds:
        todo = [task for task in tasks if not task.work(None)]
        if todo and pool is None:
            # Started when the first page needs it: a finished stage resumes without a server.
            stage.prepare()
            pool = Pool(start_all(settings, emit), lambda m: emit("warning", message=m))
        if pool is not None:
            pool.run(todo)
    shutil.rmtree(run.folder / "live", ignore_errors=True)  # unfinished pages, shown meanwhile


def start_all(settings: Settings, emit: Emit) -> list[Stylizer]:
    """The stylizers that share the work: one, or one a server. Raises GsdError."""
    module = module_of(settings.stylizer)
    many = getattr(module, "start_all", None)
    return list(many(settings, emit)) if many else [module.start(settings, emit)]


def _page_task(stage: Stage, page: Page) -> Task:
    return Task(f"page {page.number}", lambda stylizer: stage.restyle_page(page, stylizer))


def _alone_task(stage: Stage, k: int) -> Task:
    return Task(f"frame {k}", lambda stylizer: stage.restyle_alone(k, stylizer))


def _one_at_a_time(emit: Emit) -> Emit:
    """Several pages are worked on at once; whoever listens hears one event after the other."""
    lock = threading.Lock()

    def quietly(event: str, **fields: Any) -> None:
        with lock:
            emit(event, **fields)

    return quietly
