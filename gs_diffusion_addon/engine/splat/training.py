"""The training loop: posed pictures and first splats in, a trained model out.

The recipe was measured here (facts/trainers.md, docs/trainers.md): start on the surface, the
paper's learning rates times three, which settle in the second half, pictures at half their size
in the first, a random background in every step (which teaches transparency without a loss of its
own), L1 + 0.2 D-SSIM around the object, and a few splits with prunes in the first two thirds. The
same seed gives the same model, bit for bit, whatever the number of threads and however often it
was resumed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...core.errors import StageError
from ...core.ply import Splats
from . import exposure
from .backends import Backend
from .checkpoint import State, load, save
from .dataset import Dataset, Picture
from .depth import EVERY, depth_loss
from .loss import psnr
from .model import Model, finite, model_of, refine, set_rates
from .runtime import keep_freed_memory
from .service import Service


@dataclass(frozen=True)
class Recipe:
    """The trainer's parameters; defaults are the measured ones.

    ``rates``: multiplier of the paper's learning rates. Splats are split and pruned ``rounds``
    times over the whole training, counted only between ``first_round`` and ``last_round``
    (shares of ``steps``); each time the ``split_share`` with the strongest pull is split, and
    what is fainter than ``faintest`` goes.
    """

    steps: int = 1000
    most_splats: int = 40000
    seed: int = 0
    rates: float = 3.0
    rounds: int = 13
    first_round: float = 0.1
    last_round: float = 0.65
    split_share: float = 0.12
    faintest: float = 0.01
    exposure: bool = False  # let each training view be brighter or darker than the model
    coarse: float = 0.5  # of the steps, the first ones, see half-size pictures on the processor
    depth: float = 0.0  # weight of :mod:`.depth`, where pictures have depth
    judge_share: float = 0.1  # of the steps: how often held-out pictures are looked at
    judges: int = 4  # held-out pictures looked at during training


@dataclass(frozen=True)
class Status:
    """One report: ``step`` of ``steps`` done, mean loss of the last round of views, ``psnr`` in dB
    when judged.
    """

    step: int
    steps: int
    loss: float
    splats: int
    psnr: float | None = None


Report = Callable[[Status], None]
_REPORT_SECONDS = 0.5
_SMALLEST_HALVED = 128  # pixels


def fingerprint(dataset: Dataset, recipe: Recipe, source: str = "") -> str:
    """Names the pictures, cameras, recipe and origin of the first splats, for checkpoints."""
    h = hashlib.blake2b(digest_size=16)
    h.update(repr((sorted(dataclasses.asdict(recipe).items()), source)).encode())
    for picture in dataset.train:
        c = picture.camera
        h.update(picture.rgba.tobytes())
        h.update(c.matrix.tobytes())
        h.update(repr((c.width, c.fl_x, c.fl_y, c.cx, c.cy, picture.weight)).encode())
        if picture.depth is not None:
            h.update(picture.depth.tobytes())
    return h.hexdigest()


def train(
    dataset: Dataset,
    first: Callable[[], Splats],
    recipe: Recipe,
    backend: Backend,
    report: Report = lambda status: None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 15.0,
    warn: Callable[[str], None] = lambda sentence: None,
    source: str = "",
    show: Callable[[Splats], None] | None = None,
) -> Splats:
    """Train and return the model in local coordinates (``dataset.world``).

    ``first`` makes the splats to start from and is only called when there is no checkpoint;
    ``source`` names them;
    ``show`` gets the model after each checkpoint.
    Raises StageError when nothing is to be seen, the loss explodes, or no
    splat is left.
    """
    torch.set_num_threads(1)  # its pool would fight with ours over the cores
    keep_freed_memory()
    if not dataset.shown:
        raise StageError(
            "All training pictures are fully transparent, so there is nothing to train on; look at "
            "the frames of the stages before."
        )
    state = _begin(dataset, first, recipe, backend, checkpoint, warn, source)
    if backend.strategy:
        backend.strategy.begin(state.model, recipe.steps, recipe.most_splats)
    key = fingerprint(dataset, recipe, source) if checkpoint else ""
    service = Service(checkpoint.parent if checkpoint else None, warn)
    saved = told = time.monotonic()

    def store() -> None:
        if checkpoint:
            save(checkpoint, state, key)

    losses: deque[float] = deque(maxlen=len(dataset.train))  # a round: views differ in difficulty
    while state.step < recipe.steps:
        losses.append(_step(state, dataset, recipe, backend))
        if not math.isfinite(losses[-1]):
            raise _exploded(state.step)
        state.step += 1
        if _is_round(state.step, recipe) and not backend.strategy:
            _refine(state, recipe)
        judged = state.step == recipe.steps or _crosses(
            state.step, recipe.steps, recipe.judge_share
        )
        now = time.monotonic()
        if judged or now - told > _REPORT_SECONDS:
            score = held_out_psnr(state.model, dataset, recipe, backend) if judged else None
            mean = sum(losses) / len(losses)
            report(Status(state.step, recipe.steps, mean, state.model.count, score))
            told = now
        if checkpoint and now - saved > checkpoint_seconds and state.step < recipe.steps:
            store()
            if show is not None:
                show(_visible(state.model, recipe))
            saved = time.monotonic()
        service.attend(lambda: dataset.world.splats_out(_visible(state.model, recipe)), store)
    if not finite(state.model):
        raise _exploded(state.step)
    return _visible(state.model, recipe)


def _exploded(step: int) -> StageError:
    return StageError(
        f"The splat training exploded at step {step} (its numbers are no longer finite); try "
        f"another "
        "--seed or fewer --splats."
    )


def _transparent() -> StageError:
    return StageError(
        "All splats became transparent during training; check that the training pictures show the "
        "model from their cameras."
    )


def _begin(
    dataset: Dataset,
    first: Callable[[], Splats],
    recipe: Recipe,
    backend: Backend,
    checkpoint: Path | None,
    warn: Callable[[str], None],
    source: str,
) -> State:
    """The checkpoint's state, or a fresh one."""
    if checkpoint:
        found = load(checkpoint, fingerprint(dataset, recipe, source), backend.device, recipe.rates)
        if isinstance(found, State):
            return found
        if found:
            warn(found)
    splats = first()
    if not splats.count:
        raise StageError(
            "There is no point to start the splats from: no place is seen opaque in all "
            "training pictures. Check their cameras (OpenGL axes: they look along -Z), or put "
            "points of the surface beside the transforms files, as points3d.ply."
        )
    return State(
        0,
        model_of(splats, backend.device, recipe.rates, backend.kernels),
        np.random.Generator(np.random.PCG64((recipe.seed, 0))),
        [],
        np.zeros(splats.count),
        np.zeros(splats.count),
        np.ones((len(dataset.train), 3)) if recipe.exposure else None,
    )


def _step(state: State, dataset: Dataset, recipe: Recipe, backend: Backend) -> float:
    """One optimizer step on the next picture; returns its loss."""
    if not state.queue:
        state.queue = [int(k) for k in state.rng.permutation(len(dataset.train))]
        if state.exposure is not None:
            exposure.center(state.exposure)
    number = state.queue.pop()
    full = dataset.train[number]
    picture = full.halved() if _is_coarse(state.step, recipe, full, backend) else full
    background = torch.from_numpy(state.rng.random(3, np.float32)).to(backend.device)
    model = state.model
    rendering = backend.rasterize(*model.arguments(), picture.view, background)
    target = backend.target(picture, background)
    image = rendering.image
    if state.exposure is not None and state.step >= recipe.first_round * recipe.steps:
        exposure.visit(state.exposure, number, rendering, picture.rgba, background)
        image = exposure.exposed(rendering, state.exposure[number], background)
    loss = backend.loss(image, target, backend.crop(rendering.alpha, picture)) * picture.weight
    if recipe.depth and full.depth is not None and state.step % EVERY == 0:
        weight = recipe.depth * picture.weight
        loss = loss + weight * depth_loss(model.arguments(), full, backend.rasterize)
    model.optimizer.zero_grad(set_to_none=True)
    if backend.strategy:
        backend.strategy.before_backward(model, state.step, rendering.screen.meta)
    loss.backward()  # type: ignore[no-untyped-call]
    set_rates(model, state.step / recipe.steps, recipe.rates)
    model.optimizer.step()
    if backend.strategy:
        backend.strategy.after_step(model, state.step, rendering.screen.meta)
        state.pull_sum = state.pull_count = np.zeros(model.count)  # the strategy keeps its own
    elif rendering.screen.gradients is not None:
        # Per half picture instead of per pixel, so that pictures of several sizes weigh alike.
        half = 0.5 * max(picture.view.width, picture.view.height)
        state.pull_sum += np.asarray(rendering.screen.gradients, np.float64) * half
        state.pull_count += rendering.screen.drawn
    return float(loss.detach())


def _is_coarse(step: int, recipe: Recipe, picture: Picture, backend: Backend) -> bool:
    """Whether this step looks at half the size: on the processor, which saves its time; not where a
    view's own exposure is worked out of whole pictures, nor where little would be left.
    """
    if backend.device != "cpu" or backend.strategy:
        return False
    small = min(picture.view.width, picture.view.height) < _SMALLEST_HALVED
    return step < recipe.coarse * recipe.steps and not (small or recipe.exposure)


def _crosses(step: int, steps: int, share: float) -> bool:
    """Whether this step passes a multiple of ``share`` of all steps."""
    every = max(1, round(share * steps))
    return step % every == 0


def _is_round(step: int, recipe: Recipe) -> bool:
    inside = recipe.first_round * recipe.steps <= step < recipe.last_round * recipe.steps
    return inside and _crosses(step, recipe.steps, 1 / recipe.rounds)


def _refine(state: State, recipe: Recipe) -> None:
    pull = state.pull_sum / np.maximum(state.pull_count, 1)
    if not finite(state.model):
        raise _exploded(state.step)
    refine(state.model, pull, recipe.split_share, recipe.most_splats, recipe.faintest)
    count = state.model.count
    if not count:
        raise _transparent()
    state.pull_sum, state.pull_count = np.zeros(count), np.zeros(count)


def _visible(model: Model, recipe: Recipe) -> Splats:
    """The result without splats too faint to be seen."""
    splats = model.splats()
    keep = 1 / (1 + np.exp(-splats.opacities)) >= recipe.faintest
    if not keep.any():
        raise _transparent()
    return splats.selected(keep)


def held_out_psnr(model: Model, dataset: Dataset, recipe: Recipe, backend: Backend) -> float | None:
    """Mean PSNR over a few held-out pictures, whole image on black; None if there are none."""
    pictures = dataset.held_out[:: max(1, len(dataset.held_out) // recipe.judges)]
    if not pictures:
        return None
    return float(np.mean([judge(model, p, backend) for p in pictures[: recipe.judges]]))


def judge(model: Model, picture: Picture, backend: Backend) -> float:
    """PSNR of one picture, whole image on black."""
    black = torch.zeros(3, device=backend.device)
    with torch.no_grad():
        image = backend.rasterize(*model.arguments(), picture.view, black).image.clamp(0, 1)
        target = backend.target(picture, black)
    return psnr(image.cpu().numpy(), target.cpu().numpy())
