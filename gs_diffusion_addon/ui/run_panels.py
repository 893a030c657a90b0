"""The sub-panels about runs: what came out of the chosen one, and the list of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ..core.run import Run
from ..declarations import SCENE_SETTINGS, Operators, Panels
from ..scene.hiding import earlier_results
from . import running, tools
from .drawing import ViewPanel, draw_picture, draw_settings, draw_stage
from .places import runs_folder
from .runs import is_working, row, runs, selected
from .text import draw_text

SHOWN_RUNS = 6


class GS_DIFFUSION_PT_result(ViewPanel, bpy.types.Panel):
    """What came out of the chosen run"""

    bl_idname = Panels.RESULT
    bl_label = "Result"
    bl_parent_id = Panels.MAIN
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """The splat's first render and what can be done with it."""
        layout, folder = self.layout, selected(context.scene)
        layout.prop(getattr(context.scene, SCENE_SETTINGS), "hide_model")
        layout.prop(getattr(context.scene, SCENE_SETTINGS), "replace_earlier")
        layout.operator(Operators.TOGGLE_SOURCE, icon="HIDE_OFF")
        if earlier := len(earlier_results(context.scene)):
            text = f"Remove {earlier} Earlier Result{'' if earlier == 1 else 's'}"
            layout.operator(Operators.REMOVE_EARLIER, text=text, icon="TRASH")
        found = row(folder) if folder else None
        if folder is None or found is None or found.splat is None:
            draw_text(layout, "No run with a result is chosen under Runs.", "INFO")
            return
        number = int(found.splat.stem.removeprefix("splat_iter"))
        draw_picture(layout, Run(folder, number).render(0), 8.0)
        layout.operator(Operators.IMPORT_RESULT, icon="IMPORT").folder = str(folder)
        if Run(folder).report.is_file():
            layout.operator(Operators.OPEN_REPORT, icon="URL").folder = str(folder)
        draw_stage(layout, "report")
        layout.operator_menu_enum(
            Operators.EXPORT_VIDEO, "kind", text="Export Video", icon="RENDER_ANIMATION"
        )
        line = layout.row(align=True)
        line.operator(Operators.SPLAT_INFO, text="Info", icon="INFO")
        line.operator(Operators.PRUNE_SPLAT, text="Prune", icon="PARTICLEMODE")
        line.operator_menu_enum(Operators.CONVERT_SPLAT, "ending", text="Convert")
        for text in tools.facts_of(found.splat):
            draw_text(layout, text)


class GS_DIFFUSION_PT_runs(ViewPanel, bpy.types.Panel):
    """The runs of this scene"""

    bl_idname = Panels.RUNS
    bl_label = "Runs"
    bl_parent_id = Panels.MAIN
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """The newest runs, each with what can be done with it."""
        layout, settings = self.layout, getattr(context.scene, SCENE_SETTINGS)
        layout.prop(settings, "folder", text="")
        layout.prop(settings, "outlive")
        found = runs(runs_folder(context.scene))
        if not found:
            layout.label(text="No runs yet", icon="INFO")
        for folder in reversed(found[-SHOWN_RUNS:]):
            self._draw_run(layout, folder, settings.run == folder.name)
        draw_settings(layout, settings, ("machine",), self.bl_idname)

    def _draw_run(self, layout: Any, folder: Path, chosen: bool) -> None:
        found = row(folder)
        line = layout.row(align=True)
        icon = "RADIOBUT_ON" if chosen else "RADIOBUT_OFF"
        line.operator(
            Operators.CHOOSE_RUN, text=folder.name, icon=icon, depress=chosen
        ).name = folder.name
        if found is None:
            line.label(text="damaged", icon="ERROR")
            return
        ours = running.is_running() and running.current and running.current.folder == folder
        if ours:
            line.label(text="running")
        elif is_working(folder):
            line.operator(Operators.ADOPT_RUN, text="Follow").folder = str(folder)
        elif found.done < found.stages:
            text = f"Resume {found.done}/{found.stages}"
            line.operator(Operators.RESUME_RUN, text=text).folder = str(folder)
        elif found.splat is not None:
            line.operator(Operators.IMPORT_RESULT, text="Import").folder = str(folder)
        line.operator(Operators.OPEN_FILE, text="", icon="FILE_FOLDER").path = str(folder)


CLASSES = (GS_DIFFUSION_PT_result, GS_DIFFUSION_PT_runs)
