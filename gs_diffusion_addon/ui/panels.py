"""The tab "GS Diffusion" in the 3D viewport's sidebar."""

from __future__ import annotations

from typing import Any

import bpy

from ..core.arguments import GROUPS
from ..core.console import duration
from ..core.run import Run
from ..core.settings import knob, names
from ..declarations import CATEGORY, SCENE_SETTINGS, Operators, Panels
from . import running
from .job import Job
from .operators import is_splat
from .properties import NOT_SHOWN

MAIN_SETTINGS = ("prompt", "negative_prompt", "stylizer", "style", "strength", "iterations", "seed")


class _Panel:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = CATEGORY


class GS_DIFFUSION_PT_main(_Panel, bpy.types.Panel):
    """The prompt, the button, and what the run is doing"""

    bl_idname = Panels.MAIN
    bl_label = "Diffusion Iteration"

    def draw(self, context: bpy.types.Context) -> None:
        """Settings that every run has, then either the button or the progress."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = getattr(context.scene, SCENE_SETTINGS)
        for name in MAIN_SETTINGS:
            layout.prop(settings, name)
        row = layout.row(align=True)
        row.prop(settings, "objects")
        row.operator(Operators.USE_SELECTION, text="", icon="RESTRICT_SELECT_OFF")
        layout.prop(settings, "folder")
        job = running.current
        if job is not None and running.is_running():
            _draw_progress(layout, job)
            return
        big = layout.column()
        big.scale_y = 1.5
        big.operator(Operators.RUN_ITERATION, icon="PLAY").resume = False
        last = running.unfinished(running.runs_folder(context.scene))
        if last is not None:
            layout.operator(Operators.RUN_ITERATION, text=f"Resume {last.name}").resume = True
        if job is not None:
            _draw_outcome(layout, job)


def _draw_progress(layout: Any, job: Job) -> None:
    round_ = f" (iteration {job.iteration})" if job.iteration else ""
    layout.label(text=f"{job.stage}{round_}", icon="TIME")
    left = "" if job.eta is None else f", {duration(job.eta)} left"
    layout.progress(factor=job.share, text=f"{job.detail}{left}")
    if job.image:
        layout.label(text=job.image, icon="IMAGE_DATA")
    for sentence in job.warnings[-2:]:
        _draw_text(layout, sentence, "INFO")
    layout.operator(Operators.CANCEL, icon="CANCEL")


def _draw_outcome(layout: Any, job: Job) -> None:
    icon = "CHECKMARK" if job.succeeded else "ERROR"
    _draw_text(layout, job.message if job.succeeded else job.outcome, icon)
    for sentence in job.warnings[-2:]:
        _draw_text(layout, sentence, "INFO")
    if Run(job.folder).report.is_file():
        layout.operator(Operators.OPEN_REPORT, icon="URL").folder = str(job.folder)


def _draw_text(layout: Any, text: str, icon: str, width: int = 42) -> None:
    """A sentence over several lines: labels do not wrap by themselves."""
    column = layout.column(align=True)
    line = ""
    for word in [*text.split(), None]:
        if word is None or len(line) + len(word) > width:
            column.label(text=line, icon=icon)
            line, icon = "", "BLANK1"
        if word is not None:
            line = f"{line} {word}".strip()


class GS_DIFFUSION_PT_settings(_Panel, bpy.types.Panel):
    """Every other setting of a run, by group"""

    bl_idname = Panels.SETTINGS
    bl_label = "Settings"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """A box a group; advanced settings only when asked for."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = getattr(context.scene, SCENE_SETTINGS)
        layout.prop(settings, "show_advanced")
        for group, title in GROUPS.items():
            shown = [
                n
                for n in names()
                if knob(n).group == group
                and n not in (*MAIN_SETTINGS, *NOT_SHOWN, "objects")
                and (settings.show_advanced or not knob(n).advanced)
            ]
            if shown:
                box = layout.box()
                box.label(text=title.title())
                for name in shown:
                    box.prop(settings, name)


class GS_DIFFUSION_PT_splat(_Panel, bpy.types.Panel):
    """Splats: import, display, and the model they were made from"""

    bl_idname = Panels.SPLAT
    bl_label = "Splat"

    def draw(self, context: bpy.types.Context) -> None:
        """Import always; display for a splat."""
        layout = self.layout
        layout.operator(Operators.IMPORT_SPLAT, icon="IMPORT")
        layout.operator(Operators.TOGGLE_SOURCE, icon="HIDE_OFF")
        item = context.active_object
        if is_splat(item):
            layout.label(text=f"{len(item.data.vertices):,} splats", icon="POINTCLOUD_DATA")
            layout.operator_menu_enum(Operators.SPLAT_DISPLAY, "viewport", text="In the Viewport")
            layout.operator_menu_enum(Operators.SPLAT_DISPLAY, "render", text="In Renders")


CLASSES = (GS_DIFFUSION_PT_main, GS_DIFFUSION_PT_settings, GS_DIFFUSION_PT_splat)
