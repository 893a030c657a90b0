"""The tab "GS Diffusion" in the 3D viewport's sidebar, in panels that read like the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ..core.applying import applies
from ..core.console import duration
from ..core.errors import GsdError
from ..core.estimate import estimate, factors, sentence
from ..core.run import Run, read_manifest
from ..core.stages import BY_NAME
from ..declarations import SCENE_SETTINGS, Operators, Panels
from . import environment, keys, pictures, run_panels, running
from .adopted import Adopted
from .drawing import ViewPanel, draw_colorless, draw_picture, draw_settings, draw_stage
from .job import Job
from .places import log_tail_file, runs_folder
from .properties import as_settings
from .runs import is_working, left_behind, runs, selected
from .text import draw_text


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


class GS_DIFFUSION_PT_main(ViewPanel, bpy.types.Panel):
    """The prompt, the button, and what the run is doing"""

    bl_idname = Panels.MAIN
    bl_label = "Diffusion Iteration"

    def draw(self, context: bpy.types.Context) -> None:
        """The prompt, then either the buttons or the progress."""
        layout = self.layout
        settings = getattr(context.scene, SCENE_SETTINGS)
        environment.look_once()
        environment.draw_offer(layout)
        line = layout.row(align=True)
        line.prop(settings, "prompt", text="", placeholder="Prompt: a bronze bust…")
        line.operator_menu_enum(Operators.PROMPT_PRESET, "name", text="", icon="PRESET")
        line.operator(Operators.SAVE_PRESET, text="", icon="ADD")
        if settings.main_folder:
            layout.prop(settings, "main_folder", text="", icon="FILE_FOLDER")
        else:
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
        line.operator(Operators.RUN_ITERATIONS, text=iterations_text(settings))
        line.prop(settings, "iterations", text="")
        if context.mode != "OBJECT":
            draw_text(layout, "A run starts in Object Mode only.", "INFO")
        _draw_estimate(layout, context.scene, settings)
        if job is not None:
            _draw_outcome(layout, job)
            if job.placed and (job.origin is None or job.origin.is_open):
                draw_colorless(layout, context)
        else:
            _draw_left_behind(layout, left_behind(runs_folder(context.scene)))


def _draw_estimate(layout: Any, scene: Any, settings: Any) -> None:
    try:
        known = _known(runs_folder(scene))
        text = sentence(estimate(as_settings(settings), known))
    except GsdError as error:
        draw_text(layout, str(error), "ERROR")
        return
    if settings.main_folder:  # how many frames it has, and of what size, nobody knows yet
        return
    draw_text(layout, text[:1].upper() + text[1:], "TIME")


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
    _draw_elsewhere(layout, job)
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
    icon = "CHECKMARK" if job.succeeded and not job.missed else "ERROR"
    box = layout.box()
    text = job.message if job.succeeded else job.outcome
    draw_text(box, text.replace(str(job.folder), job.folder.name), icon, 32)
    for text in job.warnings[-2:]:
        draw_text(box, text, "INFO", 32)
    if job.placed or not job.succeeded:  # else the outcome says so itself
        _draw_elsewhere(box, job)
    log = log_tail_file(job.folder)
    line = box.row(align=True)
    if log is not None and not job.succeeded:
        line.operator(Operators.OPEN_FILE, text="Log", icon="TEXT").path = str(log)
    if job.until and not job.succeeded and Run(job.folder).manifest.is_file():
        line.operator(Operators.RESUME_RUN, text="Resume", icon="PLAY").folder = str(job.folder)
    if Run(job.folder).report.is_file():
        line.operator(Operators.OPEN_REPORT, text="Report", icon="URL").folder = str(job.folder)


def _draw_elsewhere(layout: Any, job: Job) -> None:
    """That the job is not of the scene above whose settings stand."""
    if job.origin is not None and not job.origin.is_open:
        draw_text(layout, f"This run is of {job.origin}, which is not open now.", "INFO", 32)


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


class GS_DIFFUSION_PT_model(StagePanel, bpy.types.Panel):
    """What is photographed, and how"""

    bl_idname = Panels.MODEL
    bl_label = "Model & Turntable"
    groups = ("model", "turntable")
    stage = "turntable"

    def draw(self, context: bpy.types.Context) -> None:
        """The settings and the button; for frames of a folder only what has to do with it."""
        settings = getattr(context.scene, SCENE_SETTINGS)
        if not settings.main_folder:
            StagePanel.draw(self, context)
            return
        text = "The frames come from the main folder; this scene is not rendered."
        draw_text(self.layout, text, "INFO")
        draw_settings(self.layout, settings, ("model",), self.bl_idname)


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
        line.use_property_split = False
        line.operator(Operators.TRY_VIEW, icon="VIEWZOOM")
        line.prop(settings, "try_view")
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
    groups = ("train", "trainers")
    stage = "train"

    def draw(self, context: bpy.types.Context) -> None:
        """The live preview's switch where the trainer makes checkpoints to show, the settings."""
        settings = getattr(context.scene, SCENE_SETTINGS)
        if applies(settings, "checkpoint_seconds"):
            self.layout.prop(settings, "live_preview")
        StagePanel.draw(self, context)


class GS_DIFFUSION_PT_iterations(ViewPanel, bpy.types.Panel):
    """How the iterations of the whole loop follow each other"""

    bl_idname = Panels.ITERATIONS
    bl_label = "Iterations"
    bl_parent_id = Panels.MAIN
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """How many, where each begins, what changes over them, and the button."""
        layout, settings = self.layout, getattr(context.scene, SCENE_SETTINGS)
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.prop(settings, "iterations")
        draw_settings(layout, settings, ("run",), self.bl_idname)
        layout.operator(Operators.RUN_ITERATIONS, text=iterations_text(settings), icon="PLAY")


def iterations_text(settings: Any) -> str:
    """What the button of the whole loop says."""
    plural = "" if settings.iterations == 1 else "s"
    return f"Run {settings.iterations} Iteration{plural}"


CLASSES = (
    GS_DIFFUSION_PT_main,
    GS_DIFFUSION_PT_model,
    GS_DIFFUSION_PT_stylize,
    GS_DIFFUSION_PT_propagate,
    GS_DIFFUSION_PT_train,
    GS_DIFFUSION_PT_iterations,
    *run_panels.CLASSES,
)

assert all(cls.stage in BY_NAME for cls in StagePanel.__subclasses__())
