"""The job under way: started on a copy of the open scene, followed by a timer, its result imported.

Nothing here makes the window wait: the scene's copy is saved at the timer's next call, so that the
panel can say so before, and everything else is done by the child or read by threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import bpy
from bpy.app.handlers import persistent

from ..core.errors import EXIT_DONE, EXIT_STAGE, GsdError, InputError
from ..core.interpreters import blender_command
from ..core.lock import in_use
from ..core.run import SCENE_COPY
from ..core.settings import Settings
from ..declarations import SCENE_SETTINGS
from ..scene.result import save_copy
from . import live, origin
from .adopted import Adopted
from .arrival import importing, unforeseen
from .job import Job
from .online import require_allowed, require_run_allowed
from .places import runs_folder, worker_python
from .properties import as_settings, options
from .runs import choose, next_run, unfinished

TICK = 0.2  # s
SOON = 0.05  # s; long enough for the window to be drawn once

current: Job | None = None
"""The running job, or the last one, whose outcome the panel still shows."""

Done = Callable[[Job], Iterator[None] | None]
"""What follows a job's end; an iterator is taken a step further at each call of the timer."""

_followed: list[tuple[Job, Done]] = []
_steps: list[tuple[Job, Done, Iterator[None]]] = []


def is_running() -> bool:
    """Whether a job is under way, its result's import included."""
    if current is None:
        return False
    return current.code is None or bool(_steps) or any(job is current for job, _ in _followed)


def command_of(settings: Any) -> list[str]:
    """What starts the worker program with this Blender; raises MissingError."""
    chosen = bpy.path.abspath(settings.blender) if settings.blender else ""
    return blender_command(Settings(blender=chosen))


# --- starting -------------------------------------------------------------------------------------


def start_job(scene: bpy.types.Scene, resume: bool = False, **how: Any) -> Job:
    """A job on a new run folder and a copy of the open scene, or on the last, unfinished run.

    See :func:`start_new` for ``how``. Raises the package's errors.
    """
    if resume:
        run = unfinished(runs_folder(scene))
        if run is None:
            raise InputError(f"There is no unfinished run in {runs_folder(scene)}.")
        return start_in(scene, run, **how)
    return start_new(scene, **how)


def start_new(scene: bpy.types.Scene, until: str = "import", iterations: int = 0) -> Job:
    """A job in a folder of its own on a copy of the open scene; raises GsdError."""
    settings: Any = getattr(scene, SCENE_SETTINGS)
    require_allowed(as_settings(settings), iterations or settings.iterations)
    folder = runs_folder(scene)
    run = next_run(folder)
    try:
        run.mkdir(parents=True, exist_ok=True)
        origin.begin(run, scene)
    except OSError as error:
        raise InputError(f"{run} cannot be made: {error.strerror or error}.") from None
    words = [*source_of(settings, run), *options(settings, worker_python(settings))]
    words.append("--reject-keys=")  # those of the chosen run are not this one's
    if iterations:
        words.append(f"--iterations={iterations}")
    job = start_in(scene, run, words, until)
    return job if settings.main_folder else on_copy(job, run / SCENE_COPY)


def source_of(settings: Any, folder: Path) -> list[str]:
    """Where the frames come from: a copy of the open scene, or the main folder of the settings."""
    return [] if settings.main_folder else [f"--blend={folder / SCENE_COPY}"]


def start_in(
    scene: bpy.types.Scene, run: Path, words: Sequence[str] = (), until: str = "import"
) -> Job:
    """A job in a run folder up to a stage, with more command-line ``words``; raises GsdError.

    Without words the run goes on with its own settings, else with those that the caller has looked
    at. It becomes the current one, but :meth:`~.job.Job.launch` is for the caller or for the timer.
    """
    settings: Any = getattr(scene, SCENE_SETTINGS)
    if not words:
        require_run_allowed(run)
    kind = Job if bpy.app.background else Adopted
    events = ["--events"] if bpy.app.background else []
    command = [*command_of(settings), "run", f"--out={run}", *events, f"--until={until}", *words]
    job = kind(command, run, settings.threads, origin=origin.origin_of(run), until=until)
    choose(settings, run)
    return become_current(job)


def on_copy(job: Job, path: Path) -> Job:
    """Let ``job`` begin by saving the open scene to ``path``."""
    job.stage = "Saving a copy of the scene"
    job.prepare = lambda: save_copy(path)
    return job


def adopt(scene: bpy.types.Scene, run: Path) -> Job:
    """Follow a run that another Blender, or a command line, left working; raises InputError."""
    if not in_use(run):
        raise InputError(f"Nobody works in {run}; resume it instead.")
    choose(getattr(scene, SCENE_SETTINGS), run)
    job = Adopted((), run, origin=origin.origin_of(run), until="import")
    job.adopt()
    return become_current(job)


def become_current(job: Job) -> Job:
    """Make ``job`` the one that the panel shows."""
    global current
    current = job
    return job


# --- following ------------------------------------------------------------------------------------


def follow(job: Job, done: Done) -> None:
    """Let the timer launch ``job``, take in what it says, and call ``done(job)`` at its end.

    In the background, where timers never fire, this waits for the end.
    """
    if bpy.app.background:
        with suppress(GsdError):  # it stands in job.message
            if not job.launched:
                job.launch()
        job.wait()
        for _ in done(job) or ():
            continue
        return
    _followed.append((job, done))
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=SOON, persistent=True)
    redraw()


def cancel() -> None:
    """Stop the running job; where that has ended, and its splat or another waits to come into the
    scene, let it wait no longer.
    """
    if current is not None and current.code is None:
        current.cancel()
        return
    for job in [j for j, *_ in _steps] + [j for j, _ in _followed if j.code is not None]:
        job.declined = True


def stop_for_good() -> None:
    """End running jobs (but those that outlive Blender) and the timer; for unregistering."""
    global current
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    for job in {id(j): j for j in (current, *(j for j, _ in _followed)) if j is not None}.values():
        job.end_now()
    _followed.clear()
    _steps.clear()
    current = None


def _tick() -> float | None:
    """Called by Blender's timer: follow the jobs, redraw, and end with the last one."""
    for job, done in list(_followed):
        if not _goes_on(job):
            _followed.remove((job, done))
            with _guarded(job):
                steps = done(job)
                if steps is not None:
                    _steps.append((job, done, steps))
    for entry in list(_steps):
        over = True
        with _guarded(entry[0]):
            over = next(entry[2], _steps) is _steps
        if over:
            _steps.remove(entry)
    if current is not None and current.code is None:
        _show_live(current)
        if isinstance(current, Adopted) and current.command and current.origin.is_open:
            current.outlive = getattr(bpy.context.scene, SCENE_SETTINGS).outlive
    redraw()
    return SOON if _steps else TICK if _followed else None


def _goes_on(job: Job) -> bool:
    """Launch a job that waits for it, take in what it says; returns whether it still works."""
    with _guarded(job):
        if not job.launched:
            with suppress(GsdError):  # it stands in job.message
                job.launch()
        return job.poll()
    return False


@contextmanager
def _guarded(job: Job) -> Iterator[None]:
    """Make an unforeseen error the job's outcome: raised, it would end Blender's timer, and the
    panel would wait for ever.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 — see above
        job.message = unforeseen(error)
        job.code = EXIT_STAGE if job.code is None else job.code


def _show_live(job: Job) -> None:
    try:
        live.follow(job)
    except Exception as error:  # noqa: BLE001 — the run is worth more than its preview
        job.preview = ""
        job.warnings.append(f"There is no live preview: {unforeseen(error)}")


def finish_run(job: Job) -> Iterator[None] | None:
    """Import what a finished run made, in steps for the timer; its outcome stays in the panel."""
    live.remove()
    if not job.succeeded:
        return None
    if job.until != "import":
        job.message = f"Done up to this stage: {job.folder}"
        return None
    return importing(job)


def import_run(folder: Path, iteration: int) -> None:
    """Bring the splat of a finished iteration as at a run's end; the panel tells the outcome unless
    another job is under way.
    """
    job = Job((), folder, code=EXIT_DONE, launched=True)
    if not is_running():
        become_current(job)
    follow(job, lambda ended: importing(ended, iteration))


@persistent
def _begin_again(_file: Any = None, _more: Any = None) -> None:
    """Undo and a new file take away what an import has made so far: it begins anew after them."""
    for job, done, steps in _steps:
        steps.close()
        _followed.append((job, done))
    _steps.clear()


_HANDLERS = ("undo_pre", "redo_pre", "load_pre")


# --- the window -----------------------------------------------------------------------------------


def _status_text() -> str | None:
    if not is_running() or current is None:
        return None
    share = f" {current.share:.0%}" if current.share else ""
    return f"GS Diffusion: {current.stage}{share}  {current.detail}".strip()


def redraw() -> None:
    """Let all windows show what is known now, in the panel and in the status bar."""
    text = _status_text()
    for window in bpy.context.window_manager.windows:
        window.workspace.status_text_set(text)
        for area in window.screen.areas:
            if area.type in ("VIEW_3D", "PREFERENCES"):
                area.tag_redraw()


def register() -> None:
    """Notice undo and new files."""
    for name in _HANDLERS:
        getattr(bpy.app.handlers, name).append(_begin_again)


def unregister() -> None:
    """End everything; harmless when nothing is registered."""
    stop_for_good()
    for name in _HANDLERS:
        handlers = getattr(bpy.app.handlers, name)
        if _begin_again in handlers:
            handlers.remove(_begin_again)
