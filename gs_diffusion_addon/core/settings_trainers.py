"""The settings of installed trainers, a part of :class:`.settings.Settings`."""

from __future__ import annotations

from dataclasses import dataclass

from .values import declare as _knob


@dataclass(frozen=True)
class TrainerSettings:
    """Where graphdeco's, Brush's and OpenSplat's programs are and how they train."""

    strategy: str = _knob(
        "recipe",
        "how gsplat adds and removes splats: recipe is the built-in trainer's, default and mcmc "
        "are gsplat's own",
        "train",
        "train",
        choices=("recipe", "default", "mcmc"),
        advanced=True,
    )
    frame_weights: bool = _knob(
        False,
        "weigh each frame by the share of it that keyframes cover, as propagation counted it "
        "(builtin, gsplat)",
        "train",
        "train",
        advanced=True,
    )
    depth_weight: float = _knob(
        0.0,
        "weight of the difference between the splats' depth and the render's exact depth, looked "
        "at in every fourth step; 0 leaves it out (builtin)",
        "train",
        "train",
        low=0.0,
        high=10.0,
        advanced=True,
    )
    silence: float = _knob(
        600.0,
        "longest time an installed trainer may print nothing before it is taken for hung; 0 waits "
        "forever",
        "trainers",
        unit="s",
        low=0.0,
        high=86400.0,
        advanced=True,
    )
    graphdeco: str = _knob(
        "",
        "folder of your checkout of graphdeco's gaussian-splatting (or GSD_GRAPHDECO)",
        "trainers",
        path=True,
    )
    graphdeco_python: str = _knob(
        "",
        "Python that can run that checkout (or GSD_GRAPHDECO_PYTHON); empty takes the one on the "
        "PATH",
        "trainers",
        path=True,
    )
    graphdeco_layout: str = _knob(
        "auto",
        "data set for graphdeco: transforms as NeRF's synthetic scenes, colmap for non-square "
        "pixels, mixed sizes and Pillow 12; auto chooses",
        "trainers",
        "train",
        choices=("auto", "transforms", "colmap"),
        advanced=True,
    )
    graphdeco_background: str = _knob(
        "black",
        "background of graphdeco's training frames",
        "trainers",
        "train",
        choices=("black", "white"),
        advanced=True,
    )
    graphdeco_depths: bool = _knob(
        False,
        "give graphdeco the render's exact depth for its depth regularization",
        "trainers",
        "train",
        advanced=True,
    )
    graphdeco_exposure: bool = _knob(
        False,
        "let graphdeco learn an exposure for each frame",
        "trainers",
        "train",
        advanced=True,
    )
    graphdeco_antialiasing: bool = _knob(
        False, "graphdeco's antialiased rasterizer", "trainers", "train", advanced=True
    )
    graphdeco_optimizer: str = _knob(
        "default",
        "graphdeco's optimizer; sparse_adam needs its accelerated rasterizer",
        "trainers",
        "train",
        choices=("default", "sparse_adam"),
        advanced=True,
    )
    graphdeco_renders: bool = _knob(
        True,
        "let graphdeco's render.py draw all turntable cameras, too",
        "trainers",
        "train",
        advanced=True,
    )
    graphdeco_metrics: bool = _knob(
        False,
        "let graphdeco's metrics.py judge the held-out frames",
        "trainers",
        "train",
        advanced=True,
    )
    brush: str = _knob(
        "", "Brush's program; empty looks for brush_app and brush", "trainers", path=True
    )
    opensplat: str = _knob("", "OpenSplat's program; empty looks for it", "trainers", path=True)
