"""The operators that start, resume and cancel a run, and the timer that follows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import bpy

from ..core.errors import GsdError, InputError
from ..core.interpreters import blender_command
from ..core.run import SCENE_COPY, Run, read_manifest, run_settings
from ..core.settings import Settings
from ..declarations import SCENE_SETTINGS, Operators
from ..scene.result import place_result, save_scene, still_shown
from .job import Job
from .properties import options

TICK = 0.2  # s

current: Job | None = None
"""The running job, or the last one, whose outcome the panel still shows."""


def is_running() -> bool:
    """Whether a job is under way."""
    return current is not None and current.code is None


def runs_folder(scene: bpy.types.Scene) -> Path:
    """Where this scene's runs go; beside the .blend by default, at home for an unsaved scene."""
    text: str = getattr(scene, SCENE_SETTINGS).folder
    if text.startswith("//") and not bpy.data.filepath:
        return Path.home() / "gs_diffusion"
    return Path(bpy.path.abspath(text)).absolute()


def runs(folder: Path) -> list[Path]:
    """The run folders in ``folder``, oldest first."""
    found = folder.glob("run-*") if folder.is_dir() else ()
    numbered = [p for p in found if re.fullmatch(r"run-\d+", p.name) and Run(p).manifest.is_file()]
    return sorted(numbered, key=lambda p: int(p.name[4:]))


def next_run(folder: Path) -> Path:
    """A folder for a new run."""
    last = runs(folder)
    return folder / f"run-{int(last[-1].name[4:]) + 1 if last else 1:03}"


def unfinished(folder: Path) -> Path | None:
    """The last run, if it has no result yet."""
    last = runs(folder)
    return last[-1] if last and not Run(last[-1]).result.exists() else None


def start_job(scene: bpy.types.Scene, resume: bool) -> Job:
    """Save the scene into a new run folder (or take up the last one) and start the worker on it.

    Raises the package's errors.
    """
    global current
    folder = runs_folder(scene)
    settings: Any = getattr(scene, SCENE_SETTINGS)
    command = blender_command(
        Settings(blender=bpy.path.abspath(settings.blender) if settings.blender else "")
    )
    if resume:
        run = unfinished(folder)
        if run is None:
            raise InputError(f"There is no unfinished run in {folder}.")
        command += ["run", f"--out={run}", "--events"]
    else:
        run = next_run(folder)
        try:
            run.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{run} cannot be made: {error.strerror or error}.") from None
        save_scene(run / SCENE_COPY)
        command += ["run", f"--out={run}", "--events", f"--blend={run / SCENE_COPY}"]
        command += options(settings)
    job = Job(command, run, settings.threads)
    job.start()
    current = job
    return job


def show_result(job: Job) -> list[str]:
    """Put the finished run's splat into the open scene; returns sentences the user should read."""
    settings = run_settings(read_manifest(job.folder))
    _, stubborn = place_result(Run(job.folder, settings.iterations), settings)
    return [*job.warnings, still_shown(stubborn)] if stubborn else job.warnings


def stop_for_good() -> None:
    """End a running job and the timer; for unregistering."""
    global current
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if current is not None:
        current.end_now()
    current = None


def _tick() -> float | None:
    """Called by Blender's timer: follow the job, redraw, and end with it."""
    job = current
    if job is None:
        return None
    running = job.poll()
    if not running:
        _finish(job)
    _redraw()
    return TICK if running else None


def _finish(job: Job) -> None:
    if not job.succeeded:
        return
    try:
        job.warnings[:] = show_result(job)
    except GsdError as error:
        job.message = str(error)
        return
    job.message = f"Done: {job.folder}"
    bpy.ops.ed.undo_push(message="Run Diffusion Iteration")


def _redraw() -> None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


class GS_DIFFUSION_OT_run_iteration(bpy.types.Operator):
    """Render a turntable of the model, restyle it, and train a Gaussian splat of the result"""

    bl_idname = Operators.RUN_ITERATION
    bl_label = "Run Diffusion Iteration"
    bl_options = {"REGISTER"}

    resume: bpy.props.BoolProperty(
        name="Resume",
        description="go on with the last run instead of starting a new one",
        options={"SKIP_SAVE"},
    )

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
        bpy.app.timers.register(_tick, first_interval=TICK, persistent=True)
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
            return start_job(context.scene, self.resume)
        except GsdError as error:
            self.report({"ERROR"}, str(error))
            return None


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


CLASSES = (GS_DIFFUSION_OT_run_iteration, GS_DIFFUSION_OT_cancel)
