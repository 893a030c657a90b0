"""The extension's preferences: what is there, and the worker's environment."""

from __future__ import annotations

import bpy

from ..core.interpreters import environment_folder
from ..declarations import Operators
from . import environment, findings
from .places import PACKAGE
from .text import draw_text


class GS_DIFFUSION_AP_preferences(bpy.types.AddonPreferences):
    """Where the worker's Python is, and what the program finds on this machine"""

    bl_idname = PACKAGE

    worker_python: bpy.props.StringProperty(
        name="Worker Python",
        description="an existing Python that has torch, numba and the others; empty takes the "
        "environment made here",
        subtype="FILE_PATH",
    )

    def draw(self, context: bpy.types.Context) -> None:
        """A line for each finding, then the environment's buttons."""
        layout = self.layout
        box = layout.box()
        row = box.row()
        row.label(text="What a run can use")
        row.operator(Operators.CHECK, icon="FILE_REFRESH")
        if environment.busy(environment.check_job):
            box.label(text="Looking…", icon="TIME")
        elif not findings.load():
            box.label(text="Not looked at yet: press Check Again.", icon="INFO")
        for found in findings.lines:
            icon = "CHECKMARK" if found["ok"] else "ERROR" if found["required"] else "REMOVE"
            line = box.row()
            line.alert = found["required"] and not found["ok"]
            draw_text(line, f"{found['name']}: {found['detail']}", icon, 100)
            if found["todo"] and not found["ok"]:
                draw_text(box, found["todo"], "BLANK1", 100)
        self._draw_environment(layout.box())

    def _draw_environment(self, box: bpy.types.UILayout) -> None:
        box.label(text="The worker's own Python environment")
        box.prop(self, "worker_python")
        job = environment.environment_job
        if job is not None and environment.draw_job(box, job, 100):
            return
        there = (environment_folder() / "pyvenv.cfg").is_file()
        draw_text(box, environment.announcement(), "INFO", 100)
        row = box.row()
        create = row.operator(
            Operators.ENVIRONMENT, text="Renew" if there else "Create", icon="IMPORT"
        )
        create.action = "create"
        if there:
            row.operator(Operators.ENVIRONMENT, text="Remove", icon="TRASH").action = "remove"


CLASSES = (GS_DIFFUSION_AP_preferences,)
