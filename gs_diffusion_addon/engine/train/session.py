"""What all trainers on torch share: the data set of a run, its first splats, progress as events."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from ...core.digests import file_digest
from ...core.events import Emit, Progress
from ...core.exr import Guide, read_guide
from ...core.ply import Points, Splats, read_points, read_splats, write_splats
from ...core.run import Run, read_json
from ...core.settings import Settings
from ..splat import checkpoint
from ..splat.backends import Backend
from ..splat.dataset import Dataset, Picture, load
from ..splat.initialize import colored, from_points, from_silhouettes, points_of_guides
from ..splat.training import Recipe, Status, train

_FEWEST_POINTS = 50  # a surface sampled with fewer is no surface
_LEAST_WEIGHT = 0.1  # of a frame that no keyframe covers
_LIVELY = 4.0  # logit of the opacity from which on nothing is learned quickly
_MOST_GUIDES = 24  # depth maps read when there are no colored points


def recipe_of(settings: Settings) -> Recipe:
    """The trainer's parameters that a run's settings stand for."""
    return Recipe(
        steps=settings.train_steps,
        most_splats=settings.max_splats,
        seed=settings.seed,
        depth=settings.depth_weight,
    )


def train_run(run: Run, settings: Settings, emit: Emit, backend: Backend) -> Splats:
    """Train on ``run.gs`` with ``backend``; returns the model in Blender's world.

    Resumes from ``run.checkpoints``. Raises InputError for an unusable data set and StageError
    for a training that comes to nothing.
    """
    if settings.splats > settings.max_splats and not warm(run, settings):
        emit(
            "warning",
            message=f"--splats {settings.splats} is more than --max-splats {settings.max_splats}, "
            f"so the training begins with {settings.first_splats}.",
        )
    emit("phase", message="Reading the training frames")
    dataset = prepared(run, settings, load(run.gs))
    emit("phase", message="Training")
    recipe = recipe_of(settings)
    reporter = _Reporter(emit, recipe.steps)

    def show(local: Splats) -> None:
        path = run.checkpoints / "preview.ply"
        write_splats(path, dataset.world.splats_out(local))
        emit("preview", path=path.relative_to(run.root).as_posix())

    local = train(
        dataset,
        lambda: first_splats(run, settings, emit, dataset),
        recipe,
        backend,
        reporter,
        run.checkpoints / checkpoint.FILE,
        settings.checkpoint_seconds,
        lambda sentence: emit("warning", message=sentence),
        # The points as they are, so that a changed start makes an old checkpoint invalid.
        source=_source(run, settings),
        show=show,
    )
    return dataset.world.splats_out(local)


def prepared(run: Run, settings: Settings, dataset: Dataset) -> Dataset:
    """The data set with what the settings want of each training frame: its weight, its depth."""
    shares: dict[str, float] = {}
    covered = run.folder / "propagation.json"
    if settings.frame_weights and covered.is_file():
        shares = read_json(covered).get("frames", {})

    def complete(picture: Picture) -> Picture:
        weight = max(_LEAST_WEIGHT, float(shares.get(str(picture.frame), 1.0)))
        path = run.guide(picture.frame)
        if not settings.depth_weight or not path.is_file():
            return dataclasses.replace(picture, weight=weight)
        guide = read_guide(path)
        depth = np.where(guide.mask, guide.depth / dataset.world.scale, np.inf)
        return dataclasses.replace(picture, weight=weight, depth=depth.astype(np.float32))

    return dataclasses.replace(dataset, train=[complete(p) for p in dataset.train])


def _source(run: Run, settings: Settings) -> str:
    """Names what the first splats are made of."""
    text = f"{settings.first_splats} {settings.sh_degree} {file_digest(run.gs / 'points3d.ply')}"
    if warm(run, settings):
        text += f" {file_digest(run.at(run.iteration - 1).splat)}"
    return text


def warm(run: Run, settings: Settings) -> bool:
    """Whether training starts from the last iteration's splat."""
    return settings.warm_start and run.iteration > 1


def last_splats(run: Run, dataset: Dataset) -> Splats:
    """The last iteration's splats in the data set's local world, ready to be trained on.

    Opacities are kept off their ends, where a logit has no gradient. Raises InputError.
    """
    splats = read_splats(run.at(run.iteration - 1).splat)
    local = dataset.world.splats_in(splats.selected(splats.finite))
    logits = np.clip(local.opacities, -_LIVELY, _LIVELY).astype(np.float32)
    return dataclasses.replace(local, opacities=logits)


class _Reporter:
    """Turns the training's reports into progress events with steps per second and time left."""

    def __init__(self, emit: Emit, steps: int) -> None:
        self._emit, self._steps = emit, steps
        self._progress: Progress | None = None
        self._time = time.monotonic()

    def __call__(self, status: Status) -> None:
        now = time.monotonic()
        if self._progress is None:
            # What is done before the first report may come from a checkpoint and took no time now.
            self._progress = Progress(self._emit, self._steps, "steps", done=status.step)
            rate = None
        else:
            rate = (status.step - self._progress.done) / max(now - self._time, 1e-6)
        self._time = now
        fields = {"loss": round(status.loss, 5), "splats": status.splats}
        if rate is not None:
            fields["rate"] = round(rate, 2)
        if status.psnr is not None:
            fields["psnr"] = round(status.psnr, 2)
        self._progress.tick(status.step - self._progress.done, **fields)


def first_splats(run: Run, settings: Settings, emit: Emit, dataset: Dataset) -> Splats:
    """The splats to start from: the last iteration's if asked for, colored surface points, else
    surface samples, depth, silhouettes.
    """
    if warm(run, settings):
        return last_splats(run, dataset)
    count, degree, seed = settings.first_splats, settings.sh_degree, settings.seed
    points = _colored_points(run, dataset)
    if points is None:
        chosen = dataset.train[:: max(1, len(dataset.train) // _MOST_GUIDES)]
        points = points_of_guides(chosen, _guides(run, chosen), count, seed)
    if len(points.positions) >= _FEWEST_POINTS:
        return from_points(points, dataset.world, count, degree, seed)
    emit(
        "warning",
        message="There is no surface and no depth of the model; the splats start inside its "
        "silhouettes, "
        "which takes more steps to become sharp.",
    )
    return from_silhouettes(dataset.train, dataset.world, count, degree, seed)


def _colored_points(run: Run, dataset: Dataset) -> Points | None:
    """points3d.ply of the data set; else surface.ply with colors from the frames; else None."""
    ready = run.gs / "points3d.ply"
    if ready.is_file():
        points = read_points(ready)
        if len(points.positions) >= _FEWEST_POINTS:
            return points
    if run.surface.is_file():
        points = read_points(run.surface)
        if len(points.positions) >= _FEWEST_POINTS:
            chosen = dataset.train[:: max(1, len(dataset.train) // _MOST_GUIDES)]
            colors = colored(points.positions, chosen, _guides(run, chosen))
            return dataclasses.replace(points, colors=colors)
    return None


def _guides(run: Run, pictures: Sequence[Picture]) -> list[Guide | None]:
    paths = [run.guide(p.frame) for p in pictures]
    return [read_guide(path) if path.is_file() else None for path in paths]
