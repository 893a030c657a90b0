"""The strip of restyled keyframes: look at one, paint over it, restyle it anew, leave it out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ..core.errors import GsdError, InputError
from ..core.values import parse_frames
from ..declarations import SCENE_SETTINGS, Operators
from . import pictures, running
from .job import Job
from .online import require_run_allowed
from .runs import newest_keys, restyled, selected
from .text import tell

COLUMNS = 3
MOST = 24


def rejected(settings: Any) -> frozenset[int]:
    """The keyframes that propagation leaves out; none while the setting cannot be read."""
    try:
        return parse_frames(settings.reject_keys)
    except InputError:
        return frozenset()


def draw(layout: Any, settings: Any, folder: Path | None) -> None:
    """The keyframes of the chosen run's newest iteration, each with its buttons."""
    run = newest_keys(folder) if folder else None
    if run is None:
        return
    layout.label(text=f"Keyframes of {run.root.name}, Iteration {run.iteration}")
    left_out = rejected(settings)
    grid = layout.grid_flow(columns=COLUMNS, even_columns=True, align=True, row_major=True)
    for number, path in list(restyled(run).items())[:MOST]:
        cell = grid.column(align=True)
        found = pictures.icon(path)
        if found:
            cell.template_icon(icon_value=found, scale=3.6)
        cell.label(text=f"{number} left out" if number in left_out else f"Frame {number}")
        line = cell.row(align=True)
        line.operator(Operators.OPEN_FILE, text="", icon="BRUSH_DATA").path = str(path)
        again = line.operator(Operators.REROLL_KEY, text="", icon="FILE_REFRESH")
        again.folder, again.key, again.iteration = str(run.root), number, run.iteration
        out = number in left_out
        icon = "LOOP_BACK" if out else "X"
        line.operator(Operators.REJECT_KEY, text="", icon=icon, depress=out).key = number


class GS_DIFFUSION_OT_reroll_key(bpy.types.Operator):
    """Restyle this keyframe anew with another seed; then press Propagate to use it"""

    bl_idname = Operators.REROLL_KEY
    bl_label = "Reroll Keyframe"

    folder: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN"})
    key: bpy.props.IntProperty(name="Keyframe", min=0)
    iteration: bpy.props.IntProperty(name="Iteration", min=1, default=1)

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """One job at a time."""
        if running.is_running():
            cls.poll_message_set("A run is under way already")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start it; the new picture appears in the strip."""
        settings = getattr(context.scene, SCENE_SETTINGS)
        words = ["reroll", f"--out={self.folder}", "--events", f"--key={self.key}"]
        words.append(f"--iteration={self.iteration}")
        try:
            require_run_allowed(Path(self.folder))  # with its settings, not the panel's
            command = [*running.command_of(settings), *words]
        except GsdError as error:
            tell(self, "ERROR", error)
            return {"CANCELLED"}
        job = Job(command, Path(self.folder), settings.threads, stage="Restyling a keyframe")
        running.become_current(job)
        running.follow(job, _rerolled)
        return {"FINISHED"} if not bpy.app.background or job.succeeded else {"CANCELLED"}


def _rerolled(job: Job) -> None:
    if job.succeeded:
        job.message = "The keyframe is new; Propagate makes all frames of it."


class GS_DIFFUSION_OT_reject_key(bpy.types.Operator):
    """Leave this keyframe out, or take it in again; then press Propagate"""

    bl_idname = Operators.REJECT_KEY
    bl_label = "Reject Keyframe"
    bl_options = {"REGISTER", "UNDO"}

    key: bpy.props.IntProperty(name="Keyframe", min=0)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Change the setting reject_keys."""
        settings = getattr(context.scene, SCENE_SETTINGS)
        now = rejected(settings) ^ {self.key}
        folder = selected(context.scene)
        run = newest_keys(folder) if folder else None
        if run is not None and not restyled(run).keys() - now:
            self.report({"ERROR"}, "One keyframe has to stay.")
            return {"CANCELLED"}
        settings.reject_keys = ",".join(str(k) for k in sorted(now))
        return {"FINISHED"}


CLASSES = (GS_DIFFUSION_OT_reroll_key, GS_DIFFUSION_OT_reject_key)
