"""Every name that Blender files, menus and other programs know us by, once.

Operators and panels are registered under these ids; splat objects carry these attribute names,
which are the ones Blender 5.3 gives to the splats that it imports itself.
"""

from __future__ import annotations

CATEGORY = "GS Diffusion"
"""Tab in the 3D viewport's sidebar."""

SCENE_SETTINGS = "gs_diffusion"
"""Pointer property of a scene: the settings of its next run."""


class Operators:
    """``bl_idname`` of every operator."""

    RUN_ITERATION = "gs_diffusion.run_iteration"
    CANCEL = "gs_diffusion.cancel"
    QUIT = "gs_diffusion.quit"
    SKIP_EBSYNTH = "gs_diffusion.skip_ebsynth"
    REROLL_KEY = "gs_diffusion.reroll_key"
    REJECT_KEY = "gs_diffusion.reject_key"
    IMPORT_SPLAT = "gs_diffusion.import_splat"
    SPLAT_DISPLAY = "gs_diffusion.splat_display"
    TOGGLE_SOURCE = "gs_diffusion.toggle_source"
    USE_SELECTION = "gs_diffusion.use_selection"
    OPEN_REPORT = "gs_diffusion.open_report"
    RUN_ITERATIONS = "gs_diffusion.run_iterations"
    RUN_STAGE = "gs_diffusion.run_stage"
    TRY_VIEW = "gs_diffusion.try_view"
    PROMPT_PRESET = "gs_diffusion.prompt_preset"
    SAVE_PRESET = "gs_diffusion.save_prompt_preset"
    CHOOSE_RUN = "gs_diffusion.choose_run"
    RESUME_RUN = "gs_diffusion.resume_run"
    ADOPT_RUN = "gs_diffusion.adopt_run"
    IMPORT_RESULT = "gs_diffusion.import_result"
    OPEN_FILE = "gs_diffusion.open_file"
    CHECK = "gs_diffusion.check"
    ENVIRONMENT = "gs_diffusion.environment"
    EXPORT_SPLAT = "gs_diffusion.export_splat"
    APPLY_SPLAT = "gs_diffusion.apply_splat_transform"
    FILTER_SPLAT = "gs_diffusion.filter_splat"
    EXPORT_VIDEO = "gs_diffusion.export_video"
    SPLAT_INFO = "gs_diffusion.splat_info"
    PRUNE_SPLAT = "gs_diffusion.prune_splat"
    CONVERT_SPLAT = "gs_diffusion.convert_splat"
    REMOVE_EARLIER = "gs_diffusion.remove_earlier_results"
    MATCH_COLORS = "gs_diffusion.match_colors"


class Panels:
    """``bl_idname`` of every panel."""

    MAIN = "GS_DIFFUSION_PT_main"
    MODEL = "GS_DIFFUSION_PT_model"
    STYLIZE = "GS_DIFFUSION_PT_stylize"
    PROPAGATE = "GS_DIFFUSION_PT_propagate"
    TRAIN = "GS_DIFFUSION_PT_train"
    ITERATIONS = "GS_DIFFUSION_PT_iterations"
    RESULT = "GS_DIFFUSION_PT_result"
    RUNS = "GS_DIFFUSION_PT_runs"
    SPLAT = "GS_DIFFUSION_PT_splat"


class Attributes:
    """Point attributes of a splat object (see scene/splat_import.py for their meaning)."""

    BASE = "radiance:base"
    SCALE = "scale"
    ROTATION = "rotation"
    HARMONIC = "radiance:sh_{}"
    FILTER = "gs_diffusion:filter"
    LOGIT = "gs_diffusion:logit"
    COLOR = "gs_diffusion:color"
    CORNER = "gs_diffusion:corner"
    ACROSS = "gs_diffusion:across"
    UPWARD = "gs_diffusion:upward"


class Properties:
    """Custom properties on objects; of a scene the view it had before a splat came, and of a
    worker's copy the user's view layer.
    """

    SPLAT = "gs_diffusion_splat"
    HIDDEN = "gs_diffusion_hidden"
    RESULT = "gs_diffusion_result"
    EARLIER = "gs_diffusion_earlier"
    VIEW = "gs_diffusion_view"
    LAYER = "gs_diffusion_layer"


class Nodes:
    """Node groups, materials and modifiers that show splats."""

    FAITHFUL = "GS Diffusion Faithful"
    GAUSSIANS = "GS Diffusion Gaussians"
    POINTS = "GS Diffusion Points"
    FILTER = "GS Diffusion Filter"
    COLOR = "GS Diffusion Color"
    LINEAR = "GS Diffusion sRGB to Linear"
