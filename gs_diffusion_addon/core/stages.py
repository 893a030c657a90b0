"""The stages in order: what each reads, which results are its own, and which interpreter it needs.

A stage's parts are functions ``(run, settings, emit) -> None`` named as ``module:function`` inside
the package; each runs in a child process of the right interpreter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .run import Run
from .settings import Settings, at_iteration


@dataclass(frozen=True)
class Part:
    """One function of a stage and its interpreter, ``blender`` or ``worker``."""

    interpreter: str
    target: str


@dataclass(frozen=True)
class Stage:
    """A stage: its parts, the files its result depends on, and the results that are its own.

    ``inputs`` gives files or folders of the run whose content counts, ``sources`` those that
    settings name, which may be anywhere; ``outputs`` what is moved aside when the
    stage is done anew; ``proof`` what must be there for the stage to count as finished, and
    ``more`` what else later stages read where there is such a thing: of both, no file may be lost.
    ``extra`` must be there, too, with settings that ask for it.
    """

    name: str
    parts: tuple[Part, ...]
    inputs: Callable[[Run, Settings], list[Path]]
    outputs: Callable[[Run], list[Path]]
    proof: Callable[[Run], list[Path]]
    label: str
    more: Callable[[Run], list[Path]] = lambda run: []
    extra: Callable[[Run, Settings], list[Path]] = lambda run, settings: []
    sources: Callable[[Settings], list[Path]] = lambda settings: []

    def kept(self, run: Run) -> list[Path]:
        """The files and folders of which no file may be lost."""
        return [*self.proof(run), *self.more(run)]


def _model_files(settings: Settings) -> list[Path]:
    if settings.main_folder:
        return [Path(settings.main_folder)]
    return [Path(p) for p in (settings.blend, settings.model, settings.hdri) if p]


def _restyled_files(run: Run, settings: Settings) -> list[Path]:
    if run.iteration <= 1:
        return [run.train_main]
    last = run.at(run.iteration - 1).renders
    return [last, *([run.train_main] if settings.source != "last" else [])]


def _style_files(settings: Settings) -> list[Path]:
    style = Path(settings.style)
    return [style] if settings.style and style.is_absolute() else []


def _propagation_files(run: Run, settings: Settings) -> list[Path]:
    own = run.folder / "guides"
    files = [run.keys, run.transforms_main, run.guides, *([own] if own.is_dir() else [])]
    # The frames' alpha, and what was restyled where that is something else.
    last = [run.at(run.iteration - 1).renders, run.sources] if run.iteration > 1 else []
    return [*files, run.train_main, *last]


def _training_files(run: Run, settings: Settings) -> list[Path]:
    files = [run.gs / "train", run.gs / "transforms_train.json", run.gs / "points3d.ply"]
    warm = settings.warm_start and run.iteration > 1
    return [*files, *([run.at(run.iteration - 1).splat] if warm else [])]


STAGES: tuple[Stage, ...] = (
    Stage(
        "turntable",
        (
            Part("blender", "scene.turntable:run_stage"),
            Part("worker", "engine.video:turntable_video"),
        ),
        lambda r, s: [],
        lambda r: [r.train_main, r.guides, r.transforms_main, r.at(0).video],
        lambda r: [r.transforms_main, r.at(0).video],
        "Rendering the turntable",
        lambda r: [r.train_main, r.guides],
        sources=_model_files,
    ),
    Stage(
        "stylize",
        (Part("worker", "engine.stylize:run_stage"),),
        _restyled_files,
        lambda r: [
            r.sources,
            r.folder / "guides",
            r.folder / "drift.json",
            r.input,
            r.output,
            r.keys,
            r.independent,
        ],
        lambda r: [r.keys],
        "Restyling the keyframes",
        lambda r: [r.sources, r.folder / "guides", r.folder / "drift.json", r.independent],
        lambda r, s: [r.independent] if s.compare_independent == "yes" else [],
        _style_files,
    ),
    Stage(
        "propagate",
        (Part("worker", "engine.propagate:run_stage"),),
        _propagation_files,
        lambda r: [
            r.stylized,
            *(r.folder / name for name in ("propagation.json", "ebsynth", "ebsynth_cli")),
        ],
        lambda r: [r.stylized],
        "Carrying the style to all frames",
        lambda r: [r.folder / "propagation.json"],
    ),
    Stage(
        "dataset",
        (Part("worker", "engine.dataset:run_stage"),),
        lambda r, s: [r.stylized, r.transforms_main],
        lambda r: [
            *(r.gs / name for name in ("train", "test", "val", "points3d.ply")),
            *(r.gs / f"transforms_{name}.json" for name in ("train", "test", "val")),
        ],
        lambda r: [r.gs / "transforms_train.json", r.gs / "points3d.ply"],
        "Writing the training data",
        lambda r: [
            *(r.gs / name for name in ("train", "test", "val")),
            *(r.gs / f"transforms_{name}.json" for name in ("test", "val")),
        ],
    ),
    Stage(
        "train",
        (Part("worker", "engine.train:run_stage"),),
        _training_files,
        lambda r: [r.model, r.checkpoints],
        lambda r: [r.model / "point_cloud"],
        "Training the splat",
    ),
    Stage(
        "render",
        (Part("worker", "engine.render:run_stage"),),
        lambda r, s: [r.model / "point_cloud", r.transforms_main],
        lambda r: [r.renders, r.splat, r.video],
        lambda r: [r.renders, r.splat, r.video],
        "Rendering the splat",
    ),
    Stage(
        "report",
        (Part("worker", "engine.report:run_stage"),),
        lambda r, s: [r.renders, r.stylized, r.independent],
        lambda r: [r.metrics, r.folder / "heat"],
        lambda r: [r.metrics, r.report],
        "Measuring and reporting",
    ),
    Stage(
        "import",
        (Part("blender", "scene.result:run_stage"),),
        lambda r, s: [r.splat],
        lambda r: [r.result],
        lambda r: [r.result],
        "Putting the splat into the scene",
        sources=_model_files,
    ),
)

NAMES = tuple(stage.name for stage in STAGES)

BY_NAME = {stage.name: stage for stage in STAGES}


def parts_of(name: str, settings: Settings) -> tuple[Part, ...]:
    """A stage's parts; frames from a main folder need no Blender."""
    if name == "turntable" and settings.main_folder:
        return (Part("worker", "engine.upstream:run_stage"), BY_NAME[name].parts[1])
    return BY_NAME[name].parts


def label_of(name: str, settings: Settings) -> str:
    """What a stage does, in words, while it does it."""
    if name == "turntable" and settings.main_folder:
        return "Taking the frames of the main folder"
    return BY_NAME[name].label


def plan(iterations: int, scene: bool = True) -> list[tuple[str, int]]:
    """All (stage, iteration) of a run in order; the turntable's iteration is 0, the import comes
    last, and only if there is a ``scene`` to import into.
    """
    loop = [name for name in NAMES if name not in ("turntable", "import")]
    steps = [("turntable", 0)]
    steps += [(name, k) for k in range(1, iterations + 1) for name in loop]
    return [*steps, *([("import", iterations)] if scene else [])]


def record_name(stage: str, iteration: int) -> str:
    """The stage's name in run.json: ``1/train``."""
    return f"{iteration}/{stage}"


SCHEDULED = ("stylize", "propagate", "dataset", "train", "render")
"""Stages that work with the settings of their iteration; the others see the run's own."""


def stage_settings(stage: str, iteration: int, settings: Settings) -> Settings:
    """The settings a stage works with in an iteration, out of a run's (:func:`.run.run_settings`,
    where ``auto`` is resolved): schedules are applied.

    The one place where they are. What a stage is given, its fingerprint, the check before a run, a
    try, a reroll and the report all take them from here.
    """
    return at_iteration(settings, iteration) if stage in SCHEDULED else settings
