"""Which settings count under which others: a panel shows those that the chosen backends heed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .graphdeco import configured

Choices = Mapping[str, tuple[str, ...]]
"""Settings, each with the choices of it under which another one counts."""

DIFFUSION: Choices = {"stylizer": ("a1111", "diffusers_local")}
SERVER: Choices = {"stylizer": ("a1111",)}
KEYFRAMES: Choices = {"propagator": ("reproject", "patchmatch", "ebsynth_cli", "ebsynth_folder")}
OWN: Choices = {"trainer": ("builtin", "gsplat")}
GRAPHDECO: Choices = {"trainer": ("graphdeco",)}

ONLY: Mapping[str, Choices] = {
    # --- turntable
    "elevation": {"camera": ("auto",)},
    "lens": {"camera": ("auto",)},
    "margin": {"camera": ("auto",)},
    "denoise": {"engine": ("cycles",)},
    "hdri": {"lighting": ("auto", "studio")},
    # --- stylize
    "style": {"stylizer": ("preview",)},
    **dict.fromkeys(("server", "server_timeout", "server_verify"), SERVER),
    **dict.fromkeys(("negative_prompt", "view_prompts", "checkpoint", "vae"), DIFFUSION),
    **dict.fromkeys(("sampler", "scheduler", "diffusion_steps", "cfg_scale", "control"), DIFFUSION),
    **dict.fromkeys(("canny_low", "canny_high"), DIFFUSION),
    **dict.fromkeys(("refiner", "refiner_switch"), SERVER),
    # --- propagate; what EbSynth and patchmatch leave is reprojected, too
    "seams": KEYFRAMES,
    "sharpness": {**KEYFRAMES, "seams": ("soft",)},
    "holes": KEYFRAMES,
    "blending": {"propagator": ("patchmatch", "ebsynth_cli", "ebsynth_folder")},
    "patch_start": {"propagator": ("patchmatch",)},
    "ebsynth": {"propagator": ("ebsynth_cli", "ebsynth_folder")},
    "ebsynth_timeout": {"propagator": ("ebsynth_folder",)},
    # --- train
    "strategy": {"trainer": ("gsplat",)},
    "depth_weight": {"trainer": ("builtin",)},
    **dict.fromkeys(("frame_weights", "checkpoint_seconds"), OWN),
    "max_splats": {"trainer": ("builtin", "gsplat", "brush")},
    "silence": {"trainer": ("graphdeco", "brush", "opensplat")},
    **dict.fromkeys(("graphdeco", "graphdeco_python", "graphdeco_layout"), GRAPHDECO),
    **dict.fromkeys(("graphdeco_background", "graphdeco_depths", "graphdeco_exposure"), GRAPHDECO),
    **dict.fromkeys(("graphdeco_antialiasing", "graphdeco_optimizer"), GRAPHDECO),
    **dict.fromkeys(("graphdeco_renders", "graphdeco_metrics"), GRAPHDECO),
    "brush": {"trainer": ("brush",)},
    "opensplat": {"trainer": ("opensplat",)},
    # --- iterations
    "source_blend": {"source": ("blend",)},
    "splat_guide": {"source": ("original",)},
}
"""What counts only under certain choices of others; all else always does."""

WITH: Mapping[str, tuple[str, str]] = {
    "main_frames": ("main_folder", ""),
    "main_size": ("main_folder", ""),
    "canny_low": ("control", "canny"),
    "canny_high": ("control", "canny"),
    "refiner_switch": ("refiner", ""),
    "clip_source": ("clip_model", ""),
}
"""What counts only where another setting, a text, is not empty and holds these letters."""

SEEN = ("control", "refiner")
"""Texts that are checked, warned of or refused by the others, too: to be seen until emptied."""


def applies(settings: Any, name: str) -> bool:
    """Whether a run with these ``settings`` (or a panel's, with the same fields) heeds ``name``.

    ``auto`` counts for each backend that it may turn out to be.
    """
    if name in SEEN and getattr(settings, name):
        return True
    for other, choices in ONLY.get(name, {}).items():
        if not set(_possible(settings, other)) & set(choices):
            return False
    other, letters = WITH.get(name, ("", ""))
    return not other or (bool(getattr(settings, other)) and letters in getattr(settings, other))


def _possible(settings: Any, name: str) -> tuple[str, ...]:
    """What a choice may turn out to be, see :func:`.folder.resolve`."""
    chosen: str = getattr(settings, name)
    if chosen != "auto":
        return (chosen,)
    if name == "stylizer":
        return ("preview", "a1111")
    if name == "propagator":
        return ("reproject",)
    if name == "trainer":
        return ("builtin", "gsplat", *(("graphdeco",) if configured(settings) else ()))
    return (chosen,)
