"""The operators that start, resume, adopt, cancel and outlive runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ..core.errors import GsdError
from ..core.run import SCENE_COPY, Run, read_manifest, run_settings
from ..core.settings import flag
from ..declarations import SCENE_SETTINGS, Operators
from ..scene.result import place_result
from . import arrival, running
from .job import Job
from .online import require_allowed
from .places import runs_folder, scene_of, worker_python
from .properties import as_settings, options
from .runs import row, selected
from .text import tell


def _can_start(operator: Any, context: bpy.types.Context) -> bool:
    if running.is_running():
        operator.poll_message_set("A run is under way already")
        return False
    if context.mode != "OBJECT":
        operator.poll_message_set("Switch to Object Mode first")
        return False
    return True


class _Starts:
    """What all operators that start a run have in common.

    Not registered: Repeat Last (Shift-R) starts no run by mistake.
    """

    bl_options: set[str] = set()

    wait: bpy.props.BoolProperty(
        name="Wait",
        description="hold Blender until the run is over, for scripts; without a window always",
        options={"HIDDEN", "SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """One job at a time."""
        return _can_start(cls, context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """In a window: let the timer start it and follow. Else, or to wait, run it to the end."""
        try:
            job = self._start(context.scene)
            if not (self.wait or bpy.app.background):
                running.follow(job, running.finish_run)
                return {"FINISHED"}
            return self._to_the_end(job)
        except GsdError as error:
            tell(self, "ERROR", error)
            return {"CANCELLED"}

    def _to_the_end(self, job: Job) -> set[str]:
        if not job.launched:
            job.launch()
        job.wait()
        if not job.succeeded:
            tell(self, "ERROR", job.outcome)
            return {"CANCELLED"}
        for sentence in arrival.show_result(job):
            tell(self, "WARNING", sentence)
        self.report({"INFO"}, f"Done: {job.folder}")
        return {"FINISHED"}


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
        return running.start_job(scene, self.resume, **({} if self.resume else {"iterations": 1}))


class GS_DIFFUSION_OT_run_iterations(_Starts, bpy.types.Operator):
    """Run the whole loop as often as Iterations says, each from the last one's splat"""

    bl_idname = Operators.RUN_ITERATIONS
    bl_label = "Run N Iterations"

    def _start(self, scene: bpy.types.Scene) -> Job:
        return running.start_job(scene)


class GS_DIFFUSION_OT_run_stage(_Starts, bpy.types.Operator):
    """Do the chosen run up to this stage, with these settings; what they make stale is done anew"""

    bl_idname = Operators.RUN_STAGE
    bl_label = "Run up to a Stage"

    stage: bpy.props.StringProperty(name="Stage", default="turntable", options={"SKIP_SAVE"})

    def _start(self, scene: bpy.types.Scene) -> Job:
        run = selected(scene)
        if run is None or self.stage == "turntable":
            return running.start_new(scene, until=self.stage, iterations=1)
        settings = getattr(scene, SCENE_SETTINGS)
        own = run_settings(read_manifest(run)).iterations
        require_allowed(as_settings(settings), own)
        words = options(settings, worker_python(settings))
        # How many iterations the run has is its own: the panel's number is that of the next run.
        words = [word for word in words if not word.startswith(f"{flag('iterations')}=")]
        return running.start_in(scene, run, ["--redo", *words], self.stage)


class GS_DIFFUSION_OT_resume_run(_Starts, bpy.types.Operator):
    """Go on with this run where it stopped, with its own settings"""

    bl_idname = Operators.RESUME_RUN
    bl_label = "Resume Run"

    folder: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN"})

    def _start(self, scene: bpy.types.Scene) -> Job:
        return running.start_in(scene, Path(self.folder))


class GS_DIFFUSION_OT_adopt_run(_Starts, bpy.types.Operator):
    """Follow this run, which works already, and import its result"""

    bl_idname = Operators.ADOPT_RUN
    bl_label = "Follow Run"

    folder: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN"})

    def _start(self, scene: bpy.types.Scene) -> Job:
        return running.adopt(scene, Path(self.folder))


class GS_DIFFUSION_OT_import_result(bpy.types.Operator):
    """Put this run's splat into the open scene, in the model's place"""

    bl_idname = Operators.IMPORT_RESULT
    bl_label = "Import Result"
    bl_options = {"REGISTER"}

    folder: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """In a window: let the timer bring it, in steps, as at a run's end."""
        if bpy.app.background:
            return self.execute(context)
        running.import_run(Path(self.folder), self._iteration())
        return {"FINISHED"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """From a script: import the newest iteration that has a splat at once."""
        try:
            settings = run_settings(read_manifest(Path(self.folder)))
            panel, run = getattr(context.scene, SCENE_SETTINGS), Run(Path(self.folder))
            run = run.at(self._iteration())
            how = panel.hide_model, panel.replace_earlier
            _, warnings = place_result(run, settings, *how)
        except GsdError as error:
            tell(self, "ERROR", error)
            return {"CANCELLED"}
        for sentence in warnings:
            tell(self, "WARNING", sentence)
        return {"FINISHED"}

    def _iteration(self) -> int:
        found = row(Path(self.folder))
        return int(found.splat.stem.removeprefix("splat_iter")) if found and found.splat else 1


class GS_DIFFUSION_OT_try_view(bpy.types.Operator):
    """Restyle one view of the turntable in seconds, before and after beside each other"""

    bl_idname = Operators.TRY_VIEW
    bl_label = "Try on One View"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """One job at a time."""
        return _can_start(cls, context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start it; the picture appears in the panel."""
        settings = getattr(context.scene, SCENE_SETTINGS)
        folder = runs_folder(context.scene) / "try"
        picture = folder / f"view_{settings.try_view}.png"
        try:
            require_allowed(as_settings(settings), 1)
            folder.mkdir(parents=True, exist_ok=True)
            words = ["try", f"--out={picture}", "--events", f"--view={settings.try_view}"]
            words += running.source_of(settings, folder)
            words += options(settings, worker_python(settings))
            command = [*running.command_of(settings), *words]
        except (GsdError, OSError) as error:
            tell(self, "ERROR", error)
            return {"CANCELLED"}
        job = running.become_current(Job(command, folder, settings.threads))
        if not settings.main_folder:
            running.on_copy(job, folder / SCENE_COPY)
        scene = context.scene.session_uid  # the scene itself is another after an undo
        running.follow(job, lambda ended: _tried(ended, scene, picture))
        return {"FINISHED"} if not bpy.app.background or job.succeeded else {"CANCELLED"}


def _tried(job: Job, session_uid: int, picture: Path) -> None:
    if not job.succeeded:
        return
    scene = scene_of(session_uid)
    if scene is None:
        job.message = f"Tried on one view, but its scene is not open any more: see {picture}."
        return
    getattr(scene, SCENE_SETTINGS).tried = str(picture)
    job.message = "Tried on one view; the picture stands under Prompt & Stylize."


class GS_DIFFUSION_OT_cancel(bpy.types.Operator):
    """Stop the run, which Resume goes on with, or the wait of its splat for Object Mode"""

    bl_idname = Operators.CANCEL
    bl_label = "Cancel Run"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only while a job runs."""
        return running.is_running()

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask for it; the timer sees it happen."""
        running.cancel()
        return {"FINISHED"}


CLASSES = (
    GS_DIFFUSION_OT_run_iteration,
    GS_DIFFUSION_OT_run_iterations,
    GS_DIFFUSION_OT_run_stage,
    GS_DIFFUSION_OT_resume_run,
    GS_DIFFUSION_OT_adopt_run,
    GS_DIFFUSION_OT_import_result,
    GS_DIFFUSION_OT_try_view,
    GS_DIFFUSION_OT_cancel,
)
