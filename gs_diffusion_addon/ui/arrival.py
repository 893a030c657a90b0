"""How a finished run's splat arrives in the open scene: in steps that a window does not feel."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterator

import bpy

from ..core.errors import GsdError
from ..core.loop import last_iteration
from ..core.run import Run, read_manifest, run_settings
from ..declarations import SCENE_SETTINGS
from ..scene.result import Placing
from . import live, origin
from .job import Job
from .places import runs_folder
from .runs import choose

STEP = 0.015  # s; after so long an import lets the window be drawn


def importing(job: Job, iteration: int = 0) -> Iterator[None]:
    """Import an iteration's splat (0: the last) and make the outcome the job's message.

    It waits until nothing is edited: what is edited may be the model, which is hidden at the end,
    and Edit Mode has an undo of its own. Nothing comes into a scene that the run does not belong
    to, and nothing that was declined meanwhile.
    """
    job.stage, job.detail, job.share, job.eta = "Putting the splat into the scene", "", 0.0, None
    job.missed = True
    try:
        placing = result_of(job, iteration)
        if placing is not None:
            yield from _read(placing, job)
            while _is_expected(job) and _is_edited() and not job.declined:
                job.detail = "waits for Object Mode"
                yield
            job.detail = ""
            if job.declined:
                job.message = (
                    f"The splat was not imported. It stays in {placing.run.splat}: Runs > Import "
                    "brings it."
                )
                return
            if not _is_expected(job):
                job.message = (
                    f"Done, but {job.origin} is not open now: Runs > Import brings the splat."
                )
                return
            live.remove()
            yield from _paced(placing.steps())
            job.warnings += [*placing.warnings, *placing.notes]
            job.placed = True
            _choose_again(job)
            yield
            bpy.ops.ed.undo_push(message="Run Diffusion Iteration")
    except Exception as error:  # noqa: BLE001 — raised, it would end Blender's timer
        job.message = f"The run is done, but its splat could not be imported: {unforeseen(error)}"
        return
    job.missed, job.message = False, f"Done: {job.folder}"


def _choose_again(job: Job) -> None:
    """Let Result and the stage buttons go on with this run: an undo meanwhile may have taken the
    choice back. Another run that was chosen since stays.
    """
    scene = bpy.context.scene
    panel = getattr(scene, SCENE_SETTINGS)
    if job.until and not panel.run and job.folder.parent == runs_folder(scene):
        choose(panel, job.folder)


def unforeseen(error: Exception) -> str:
    """The sentence for an error; one that nobody thought of is told in full in the console."""
    if isinstance(error, (GsdError, OSError, RuntimeError)):
        return str(error)
    traceback.print_exception(error)
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    return f"{what}; Blender's system console tells more."


def _is_expected(job: Job) -> bool:
    """Whether the open scene is the one that the splat belongs to."""
    return job.origin is None or bool(job.origin.is_open)


def _is_edited() -> bool:
    """Whether an object is edited, painted or posed in one of the windows."""
    windows = bpy.context.window_manager.windows
    active = [window.view_layer.objects.active for window in windows]
    return any(item is not None and item.mode != "OBJECT" for item in active)


def _paced(steps: Iterator[None]) -> Iterator[None]:
    """Small steps put together into ones that hold the window about :data:`STEP`."""
    end = time.perf_counter() + STEP
    for _ in steps:
        if time.perf_counter() > end:
            yield
            end = time.perf_counter() + STEP


def _read(placing: Placing, job: Job) -> Iterator[None]:
    """Let a thread read the splat's file, while it is wanted; raises what it raised."""
    errors: list[Exception] = []

    def read() -> None:
        try:
            placing.read()
        except Exception as error:  # noqa: BLE001 — it is raised below
            errors.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    while thread.is_alive() and not job.declined:
        yield
    if errors:
        raise errors[0]


def result_of(job: Job, iteration: int = 0) -> Placing | None:
    """What an iteration (0: the last) has for the scene; None if the run was only asked for some of
    its stages.
    """
    if job.until not in ("", "import"):
        return None
    settings = run_settings(read_manifest(job.folder))
    run = Run(job.folder, iteration or last_iteration(job.folder, settings))
    panel = getattr(bpy.context.scene, SCENE_SETTINGS)
    model = origin.model_of(job.folder) if job.origin is None else job.origin.model
    placing = Placing(run, settings, panel.hide_model, model, panel.replace_earlier)
    return placing if run.splat.is_file() else None


def show_result(job: Job) -> list[str]:
    """Put the finished run's splat into the open scene; returns sentences the user should read."""
    placing = result_of(job)
    if placing is None:
        return job.warnings
    placing.read()
    for _ in placing.steps():
        continue
    return [*job.warnings, *placing.warnings]
