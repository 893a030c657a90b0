"""The tab "GS Diffusion" in the 3D viewport's sidebar, in panels that read like the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ..core.console import duration
from ..core.errors import GsdError
from ..core.estimate import estimate, factors, sentence
from ..core.run import Run, read_manifest
from ..core.settings import kind, knob, names
from ..core.stages import BY_NAME
from ..declarations import CATEGORY, SCENE_SETTINGS, Operators, Panels
from . import keys, pictures, running
from .adopted import Adopted
from .job import Job
from .places import log_tail_file, runs_folder
from .properties import NOT_SHOWN, as_settings
from .runs import is_working, left_behind, row, runs, selected
from .text import draw_text, label

ELSEWHERE = ("prompt", "objects", "iterations", *NOT_SHOWN)
"""Settings that the main panel shows in a way of its own, or not at all."""

SHOWN_RUNS = 6
LONGEST_LABEL = 12  # letters that fit beside a field in a sidebar of the usual width


class ViewPanel:
    """Where all our panels stand."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = CATEGORY


class StagePanel(ViewPanel):
    """A stage's settings and its button."""

    bl_parent_id = Panels.MAIN
    bl_options = {"DEFAULT_CLOSED"}
    groups: tuple[str, ...] = ()
    stage = ""

    def draw(self, context: bpy.types.Context) -> None:
        """Settings, those seldom changed folded away, and the button."""
        settings = getattr(context.scene, SCENE_SETTINGS)
        draw_settings(self.layout, settings, self.groups, self.bl_idname)
        draw_stage(self.layout, self.stage)


def draw_settings(layout: Any, settings: Any, groups: tuple[str, ...], key: str) -> None:
    """The settings of ``groups`` from core/settings.py; advanced ones in a fold."""
    layout.use_property_split = True
    layout.use_property_decorate = False
    shown = [n for n in names() if knob(n).group in groups and n not in ELSEWHERE]
    for name in shown:
        if not knob(name).advanced:
            _draw_setting(layout, settings, name)
    advanced = [n for n in shown if knob(n).advanced]
    if advanced:
        header, body = layout.panel(f"{key}_advanced", default_closed=True)
        header.label(text="Advanced")
        if body is not None:
            for name in advanced:
                _draw_setting(body, settings, name)


def _draw_setting(layout: Any, settings: Any, name: str) -> None:
    """One setting; a name too long for the column of names gets the whole width."""
    text = label(name)
    if len(text) <= LONGEST_LABEL:
        layout.prop(settings, name)
        return
    column = layout.column(align=True)
    column.use_property_split = False
    if kind(name) is str:
        column.label(text=text)
        column.prop(settings, name, text="")
    else:
        column.prop(settings, name)


def draw_stage(layout: Any, stage: str) -> None:
    """The button that does a run up to ``stage``."""
    known = {"turntable": "Render Turntable", "report": "Make Report", "import": "Import Result"}
    text = known.get(stage, stage.title())
    layout.operator(Operators.RUN_STAGE, text=text, icon="PLAY").stage = stage


class GS_DIFFUSION_PT_main(ViewPanel, bpy.types.Panel):
    """The prompt, the button, and what the run is doing"""

    bl_idname = Panels.MAIN
    bl_label = "Diffusion Iteration"

    def draw(self, context: bpy.types.Context) -> None:
        """The prompt, then either the buttons or the progress."""
        layout = self.layout
        settings = getattr(context.scene, SCENE_SETTINGS)
        line = layout.row(align=True)
        line.prop(settings, "prompt", text="", placeholder="Prompt: a bronze bust…")
        line.operator_menu_enum(Operators.PROMPT_PRESET, "name", text="", icon="PRESET")
        line.operator(Operators.SAVE_PRESET, text="", icon="ADD")
        line = layout.row(align=True)
        line.prop(settings, "objects", text="", placeholder="All that renders")
        line.operator(Operators.USE_SELECTION, text="", icon="RESTRICT_SELECT_OFF")
        job = running.current
        if job is not None and running.is_running():
            _draw_progress(layout, job, settings)
            return
        big = layout.column(align=True)
        big.scale_y = 1.4
        big.operator(Operators.RUN_ITERATION, icon="PLAY").resume = False
        line = layout.row(align=True)
        plural = "" if settings.iterations == 1 else "s"
        text = f"Run {settings.iterations} Iteration{plural}"
        line.operator(Operators.RUN_ITERATIONS, text=text)
        line.prop(settings, "iterations", text="")
        _draw_estimate(layout, context.scene, settings)
        if job is not None:
            _draw_outcome(layout, job)
        else:
            _draw_left_behind(layout, left_behind(runs_folder(context.scene)))


def _draw_estimate(layout: Any, scene: Any, settings: Any) -> None:
    try:
        known = _known(runs_folder(scene))
        text = sentence(estimate(as_settings(settings), known))
    except GsdError as error:
        draw_text(layout, str(error), "ERROR")
        return
    layout.label(text=text[:1].upper() + text[1:], icon="TIME")


_measured: dict[Path, tuple[int, dict[str, float]]] = {}


def _known(folder: Path) -> dict[str, float]:
    """How fast this machine was in the newest run; read again only when its run.json changes."""
    for run in reversed(runs(folder)):
        changed = Run(run).manifest.stat().st_mtime_ns
        if run not in _measured or _measured[run][0] != changed:
            try:
                found = factors(read_manifest(run))
            except GsdError:
                found = {}
            _measured[run] = (changed, found)
        if _measured[run][1]:
            return _measured[run][1]
    return {}


def _draw_progress(layout: Any, job: Job, settings: Any) -> None:
    round_ = f" (iteration {job.iteration})" if job.iteration else ""
    draw_text(layout, f"{job.stage}{round_}", "TIME")
    left = "" if job.eta is None else f", {duration(job.eta)} left"
    layout.progress(factor=job.share, text=f"{job.detail[:40]}{left}" or "…")
    if job.rows:
        _draw_waiting(layout, job)
    if job.picture is not None:
        draw_picture(layout, pictures.newest(job.picture), 7.0)
    for text in job.warnings[-2:]:
        draw_text(layout, text, "INFO")
    layout.operator(Operators.CANCEL, icon="CANCEL")
    if isinstance(job, Adopted):
        layout.prop(settings, "outlive")
    lines = job.tail or list(job.log)[-6:]
    if lines:
        header, body = layout.panel("gs_diffusion_log", default_closed=True)
        header.label(text="Log")
        if body is not None:
            column = body.column(align=True)
            column.scale_y = 0.8
            for line in lines:
                column.label(text=line[:48])


def _draw_waiting(layout: Any, job: Job) -> None:
    """How far EbSynth's program is, its folder, and the way out."""
    done = sum(row.get("done") == row["last"] - row["first"] + 1 for row in job.rows)
    box = layout.box()
    box.label(text=f"Waiting for EbSynth, rows {done}/{len(job.rows)}", icon="SORTTIME")
    folder = str(Run(job.folder, max(1, job.iteration)).folder / "ebsynth")
    line = box.row(align=True)
    line.operator(Operators.OPEN_FILE, text="Open Folder", icon="FILE_FOLDER").path = folder
    line.operator(Operators.SKIP_EBSYNTH, icon="FORWARD").folder = folder


def _draw_outcome(layout: Any, job: Job) -> None:
    icon = "CHECKMARK" if job.succeeded else "ERROR"
    box = layout.box()
    draw_text(box, job.message if job.succeeded else job.outcome, icon, 32)
    for text in job.warnings[-2:]:
        draw_text(box, text, "INFO", 32)
    log = log_tail_file(job.folder)
    line = box.row(align=True)
    if log is not None and not job.succeeded:
        line.operator(Operators.OPEN_FILE, text="Log", icon="TEXT").path = str(log)
    if not job.succeeded and Run(job.folder).manifest.is_file():
        line.operator(Operators.RESUME_RUN, text="Resume", icon="PLAY").folder = str(job.folder)
    if Run(job.folder).report.is_file():
        line.operator(Operators.OPEN_REPORT, text="Report", icon="URL").folder = str(job.folder)


def _draw_left_behind(layout: Any, folder: Path | None) -> None:
    """A run that another Blender left: still working, or stopped amid a stage."""
    if folder is None:
        return
    box = layout.box()
    if is_working(folder):
        box.label(text=f"{folder.name} works on by itself", icon="TIME")
        box.operator(Operators.ADOPT_RUN, icon="VIEWZOOM").folder = str(folder)
        return
    box.label(text=f"{folder.name} was stopped", icon="INFO")
    box.operator(Operators.RESUME_RUN, icon="PLAY").folder = str(folder)


def draw_picture(layout: Any, path: Path | None, scale: float) -> None:
    """The picture at ``path`` as a thumbnail, if there is one."""
    found = pictures.icon(path) if path is not None else 0
    if found:
        layout.template_icon(icon_value=found, scale=scale)


class GS_DIFFUSION_PT_model(StagePanel, bpy.types.Panel):
    """What is photographed, and how"""

    bl_idname = Panels.MODEL
    bl_label = "Model & Turntable"
    groups = ("model", "turntable")
    stage = "turntable"


class GS_DIFFUSION_PT_stylize(StagePanel, bpy.types.Panel):
    """How the keyframes are restyled"""

    bl_idname = Panels.STYLIZE
    bl_label = "Prompt & Stylize"
    groups = ("prompt", "stylize")
    stage = "stylize"

    def draw(self, context: bpy.types.Context) -> None:
        """Settings, a try on one view, and the keyframes of the chosen run."""
        layout, settings = self.layout, getattr(context.scene, SCENE_SETTINGS)
        if settings.stylizer == "preview":
            draw_text(layout, "The preview takes its style from a picture; no diffusion.", "INFO")
        draw_settings(layout, settings, self.groups, self.bl_idname)
        line = layout.row(align=True)
        line.operator(Operators.TRY_VIEW, icon="VIEWZOOM")
        line.prop(settings, "try_view", text="")
        if settings.tried:
            draw_picture(layout, Path(settings.tried), 9.0)
        draw_stage(layout, self.stage)
        keys.draw(layout, settings, selected(context.scene))


class GS_DIFFUSION_PT_propagate(StagePanel, bpy.types.Panel):
    """How the keyframes' style comes to all views"""

    bl_idname = Panels.PROPAGATE
    bl_label = "Propagate"
    groups = ("propagate",)
    stage = "propagate"


class GS_DIFFUSION_PT_train(StagePanel, bpy.types.Panel):
    """How the splat is trained"""

    bl_idname = Panels.TRAIN
    bl_label = "Train"
    groups = ("train", "trainers", "run", "machine")
    stage = "train"

    def draw(self, context: bpy.types.Context) -> None:
        """The live preview's switch, then the settings."""
        self.layout.prop(getattr(context.scene, SCENE_SETTINGS), "live_preview")
        super().draw(context)


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
        layout.operator(Operators.TOGGLE_SOURCE, icon="HIDE_OFF")
        found = row(folder) if folder else None
        if folder is None or found is None or found.splat is None:
            layout.label(text="No run with a result is chosen", icon="INFO")
            return
        number = int(found.splat.stem.removeprefix("splat_iter"))
        draw_picture(layout, Run(folder, number).render(0), 8.0)
        layout.operator(Operators.IMPORT_RESULT, icon="IMPORT").folder = str(folder)
        if Run(folder).report.is_file():
            layout.operator(Operators.OPEN_REPORT, icon="URL").folder = str(folder)
        draw_stage(layout, "report")


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


CLASSES = (
    GS_DIFFUSION_PT_main,
    GS_DIFFUSION_PT_model,
    GS_DIFFUSION_PT_stylize,
    GS_DIFFUSION_PT_propagate,
    GS_DIFFUSION_PT_train,
    GS_DIFFUSION_PT_result,
    GS_DIFFUSION_PT_runs,
)

assert all(cls.stage in BY_NAME for cls in StagePanel.__subclasses__())
