"""The operators that start, resume and cancel jobs, and the timer that follows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bpy

from ..core.errors import GsdError, InputError
from ..core.interpreters import blender_command
from ..core.run import SCENE_COPY, Run, in_use, read_manifest, run_settings
from ..core.settings import Settings
from ..declarations import SCENE_SETTINGS, Operators
from ..scene.result import place_result, save_scene, still_shown
from . import live
from .adopted import Adopted
from .job import Job
from .online import require_allowed
from .places import runs_folder, worker_python
from .properties import options
from .runs import next_run, selected, unfinished

TICK = 0.2  # s

current: Job | None = None
"""The running job, or the last one, whose outcome the panel still shows."""

_followed: list[tuple[Job, Callable[[Job], None]]] = []


def is_running() -> bool:
    """Whether a job is under way."""
    return current is not None and current.code is None


def command_of(settings: Any) -> list[str]:
    """What starts the worker program with this Blender; raises MissingError."""
    chosen = bpy.path.abspath(settings.blender) if settings.blender else ""
    return blender_command(Settings(blender=chosen))


def start_job(scene: bpy.types.Scene, resume: bool = False, **how: Any) -> Job:
    """Save the scene into a new run folder (or take up the last one) and start the worker on it.

    See :func:`start_in` for ``how``. Raises the package's errors.
    """
    if resume:
        run = unfinished(runs_folder(scene))
        if run is None:
            raise InputError(f"There is no unfinished run in {runs_folder(scene)}.")
        return start_in(scene, run, **how)
    return start_new(scene, **how)


def start_new(scene: bpy.types.Scene, until: str = "import", iterations: int = 0) -> Job:
    """Start a run in a folder of its own on a copy of the open scene; raises GsdError."""
    settings: Any = getattr(scene, SCENE_SETTINGS)
    require_allowed(settings)
    folder = runs_folder(scene)
    run = next_run(folder)
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{run} cannot be made: {error.strerror or error}.") from None
    save_scene(run / SCENE_COPY, compress=False)
    words = [f"--blend={run / SCENE_COPY}", *options(settings, worker_python(settings))]
    if iterations:
        words.append(f"--iterations={iterations}")
    return start_in(scene, run, [f"--until={until}", *words])


def start_in(scene: bpy.types.Scene, run: Path, words: Sequence[str] = ()) -> Job:
    """Start the worker in a run folder with more command-line ``words``; raises GsdError."""
    global current
    settings: Any = getattr(scene, SCENE_SETTINGS)
    kind = Adopted if settings.outlive and not bpy.app.background else Job
    command = [*command_of(settings), "run", f"--out={run}", "--events", *words]
    job = kind(command, run, settings.threads)
    job.start()
    settings.run = run.name
    current = job
    return job


def adopt(run: Path) -> Job:
    """Follow a run that another Blender, or a command line, left working; raises InputError."""
    global current
    if not in_use(run):
        raise InputError(f"Nobody works in {run}; resume it instead.")
    job = Adopted((), run)
    job.adopt()
    current = job
    return job


def show_result(job: Job) -> list[str]:
    """Put the finished run's splat into the open scene; returns sentences the user should read."""
    settings = run_settings(read_manifest(job.folder))
    run = Run(job.folder, settings.iterations)
    if not run.splat.is_file():
        return job.warnings  # the run was only asked for its first stages
    live.remove()
    _, stubborn = place_result(run, settings)
    return [*job.warnings, still_shown(stubborn)] if stubborn else job.warnings


def follow(job: Job, done: Callable[[Job], None]) -> None:
    """Let the timer take in what ``job`` says and call ``done(job)`` at its end.

    In the background, where timers never fire, this waits for the end.
    """
    if bpy.app.background:
        job.wait()
        done(job)
        return
    _followed.append((job, done))
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=TICK, persistent=True)


def stop_for_good() -> None:
    """End running jobs and the timer; for unregistering."""
    global current
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    for job in {id(j): j for j in (current, *(j for j, _ in _followed)) if j is not None}.values():
        job.end_now()
    _followed.clear()
    current = None


def _tick() -> float | None:
    """Called by Blender's timer: follow the jobs, redraw, and end with the last one."""
    for job, done in list(_followed):
        if not job.poll():
            _followed.remove((job, done))
            done(job)
    if is_running() and current is not None:
        live.follow(current)
    _redraw()
    return TICK if _followed else None


def finish_run(job: Job) -> None:
    """Import what a finished run made; its outcome stays in the panel."""
    live.remove()
    if not job.succeeded:
        return
    try:
        job.warnings[:] = show_result(job)
    except GsdError as error:
        job.message = str(error)
        return
    job.message = f"Done: {job.folder}"
    bpy.ops.ed.undo_push(message="Run Diffusion Iteration")


def _status_text() -> str | None:
    if not is_running() or current is None:
        return None
    return f"GS Diffusion: {current.stage} {current.detail}".strip()


def _redraw() -> None:
    text = _status_text()
    for window in bpy.context.window_manager.windows:
        window.workspace.status_text_set(text)
        for area in window.screen.areas:
            if area.type in ("VIEW_3D", "PREFERENCES"):
                area.tag_redraw()


class _Starts:
    """What all operators that start a run have in common."""

    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """One job at a time."""
        if is_running():
            cls.poll_message_set("A run is under way already")
            return False
        return context.mode == "OBJECT"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """In a window: start, and let the timer follow."""
        job = self._started(context)
        if job is None:
            return {"CANCELLED"}
        follow(job, finish_run)
        return {"FINISHED"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """From a script or in the background: run to the end."""
        job = self._started(context)
        if job is None:
            return {"CANCELLED"}
        job.wait()
        if not job.succeeded:
            self.report({"ERROR"}, job.outcome)
            return {"CANCELLED"}
        try:
            for sentence in show_result(job):
                self.report({"WARNING"}, sentence)
        except GsdError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, f"Done: {job.folder}")
        return {"FINISHED"}

    def _started(self, context: bpy.types.Context) -> Job | None:
        try:
            return self._start(context.scene)
        except GsdError as error:
            self.report({"ERROR"}, str(error))
            return None


class GS_DIFFUSION_OT_run_iteration(_Starts, bpy.types.Operator):
    """Render a turntable of the model, restyle it, and train a Gaussian splat of the result"""

    bl_idname = Operators.RUN_ITERATION
    bl_label = "Run Diffusion Iteration"

    resume: bpy.props.BoolProperty(
        name="Resume",
        description="go on with the last run instead of starting a new one",
        options={"SKIP_SAVE"},
    )

    def _start(self, scene: bpy.types.Scene) -> Job:
        return start_job(scene, self.resume, **({} if self.resume else {"iterations": 1}))


class GS_DIFFUSION_OT_run_iterations(_Starts, bpy.types.Operator):
    """Run the whole loop as often as Iterations says, each from the last one's splat"""

    bl_idname = Operators.RUN_ITERATIONS
    bl_label = "Run N Iterations"

    def _start(self, scene: bpy.types.Scene) -> Job:
        return start_job(scene)


class GS_DIFFUSION_OT_run_stage(_Starts, bpy.types.Operator):
    """Do the chosen run up to this stage, with these settings; what they make stale is done anew"""

    bl_idname = Operators.RUN_STAGE
    bl_label = "Run up to a Stage"

    stage: bpy.props.StringProperty(name="Stage", default="turntable", options={"SKIP_SAVE"})

    def _start(self, scene: bpy.types.Scene) -> Job:
        run = selected(scene)
        if run is None or self.stage == "turntable":
            return start_new(scene, until=self.stage)
        settings = getattr(scene, SCENE_SETTINGS)
        require_allowed(settings)
        words = options(settings, worker_python(settings))
        return start_in(scene, run, [f"--until={self.stage}", "--redo", *words])


class GS_DIFFUSION_OT_resume_run(_Starts, bpy.types.Operator):
    """Go on with this run where it stopped, with its own settings"""

    bl_idname = Operators.RESUME_RUN
    bl_label = "Resume Run"

    folder: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN"})

    def _start(self, scene: bpy.types.Scene) -> Job:
        return start_in(scene, Path(self.folder))


class GS_DIFFUSION_OT_adopt_run(_Starts, bpy.types.Operator):
    """Follow this run, which works already, and import its result"""

    bl_idname = Operators.ADOPT_RUN
    bl_label = "Follow Run"

    folder: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN"})

    def _start(self, scene: bpy.types.Scene) -> Job:
        return adopt(Path(self.folder))


class GS_DIFFUSION_OT_try_view(bpy.types.Operator):
    """Restyle one view of the turntable in seconds, before and after beside each other"""

    bl_idname = Operators.TRY_VIEW
    bl_label = "Try on One View"

    poll = _Starts.poll

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start it; the picture appears in the panel."""
        global current
        settings = getattr(context.scene, SCENE_SETTINGS)
        folder = runs_folder(context.scene) / "try"
        picture = folder / f"view_{settings.try_view}.png"
        try:
            require_allowed(settings)
            folder.mkdir(parents=True, exist_ok=True)
            save_scene(folder / SCENE_COPY, compress=False)
            words = ["try", f"--out={picture}", "--events", f"--view={settings.try_view}"]
            words += [f"--blend={folder / SCENE_COPY}"]
            words += options(settings, worker_python(settings))
            job = Job([*command_of(settings), *words], folder, settings.threads, stage="Trying")
            job.start()
        except (GsdError, OSError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        current = job
        follow(job, lambda ended: _tried(ended, settings, picture))
        return {"FINISHED"} if not bpy.app.background or job.succeeded else {"CANCELLED"}


def _tried(job: Job, settings: Any, picture: Path) -> None:
    if job.succeeded:
        settings.tried = str(picture)
        job.message = "Tried on one view; the picture stands under Prompt & Stylize."


class GS_DIFFUSION_OT_cancel(bpy.types.Operator):
    """Stop the run; what is finished stays, and Resume goes on from there"""

    bl_idname = Operators.CANCEL
    bl_label = "Cancel Run"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only while a job runs."""
        return is_running()

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the child to end; the timer sees it go."""
        if current is not None:
            current.cancel()
        return {"FINISHED"}


CLASSES = (
    GS_DIFFUSION_OT_run_iteration,
    GS_DIFFUSION_OT_run_iterations,
    GS_DIFFUSION_OT_run_stage,
    GS_DIFFUSION_OT_resume_run,
    GS_DIFFUSION_OT_adopt_run,
    GS_DIFFUSION_OT_try_view,
    GS_DIFFUSION_OT_cancel,
)
