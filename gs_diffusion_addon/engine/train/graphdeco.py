"""graphdeco's gaussian-splatting, in the user's checkout and by the user's Python.

Its research licence forbids to bundle it; see facts in docs/trainers.md. ``run.model/graphdeco``
is its model folder, ``run.model/graphdeco_data`` the data set that it reads right. It has not been
run on a card by the authors of this file, only against a stand-in with the same interface.
"""

from __future__ import annotations

import socket
import zipfile
from dataclasses import replace
from pathlib import Path

from ...core import graphdeco as checkouts
from ...core.errors import StageError
from ...core.events import Emit
from ...core.foreign import Finished
from ...core.graphdeco import Checkout
from ...core.ply import Splats, read_splats
from ...core.programs import known
from ...core.run import Run, read_json, write_json
from ...core.settings import Settings
from . import external, graphdeco_views, layouts, printed
from .graphdeco_job import Job

NAME = "graphdeco"
_ATTEMPTS = 3


def check(settings: Settings) -> None:
    """Raise MissingError for what the checkout lacks, StageError for a layout it cannot read."""
    checkout = checkouts.inspect(settings)
    if settings.graphdeco_layout == "transforms":
        _refuse_transforms(_unreadable(checkout))


def train(run: Run, settings: Settings, emit: Emit) -> Splats:
    """Train in the user's checkout; returns the model in Blender's world.

    Resumes from its newest whole checkpoint. Raises MissingError for what has to be installed and
    StageError when it fails.
    """
    emit("phase", message="Looking at the gaussian-splatting checkout")
    checkout = checkouts.inspect(settings)
    sets = layouts.sets_of(run, centered=True)
    job = Job(run, settings, emit, checkout, _layout(run, settings, checkout, sets), sets)
    if not job.finished.is_file():
        _warn(job)
        job = _train(job)
        write_json(job.finished, {"steps": settings.train_steps, "layout": job.layout})
    job = replace(job, layout=_layout_of(job))
    splats = read_splats(job.result)
    external.require_in_place(run, splats, NAME)
    if settings.graphdeco_renders or settings.graphdeco_metrics:
        graphdeco_views.look(job, splats)
    for path in job.model.glob("chkpnt*.pth"):
        path.unlink()
    return splats


def _layout_of(job: Job) -> str:
    return str(read_json(job.finished).get("layout", job.layout))


def _layout(run: Run, settings: Settings, checkout: Checkout, sets: layouts.Sets) -> str:
    """The layout that this checkout, its Pillow and these cameras need."""
    if settings.graphdeco_layout == "colmap":
        return "colmap"
    square = layouts.is_square(sets.all)
    reason = _unreadable(checkout)
    if not reason and not square:
        reason = "transforms.json holds one camera_angle_x and no non-square pixels"
    if settings.graphdeco_layout == "transforms":
        _refuse_transforms(reason)
        return "transforms"
    if settings.graphdeco_depths and not layouts.depths_fit(run, sets.train):
        reason = "its depth maps do not resolve a model of this size in transforms scenes"
    return "colmap" if reason else "transforms"


def _refuse_transforms(reason: str | None) -> None:
    if reason:
        raise StageError(f"{reason}; use --graphdeco-layout auto or colmap.")


def _unreadable(checkout: Checkout) -> str | None:
    if not checkout.breaks_transforms:
        return None
    return (
        f"{checkout.python} has Pillow {checkout.facts.pillow}, with which graphdeco's reader of "
        f"transforms.json crashes"
    )


def _warn(job: Job) -> None:
    """Say what may go wrong or is not carried over, before it costs time."""
    first = job.sets.train[0].camera
    needed = checkouts.needed_bytes(
        len(job.sets.all), first.width, first.height, job.settings.splats
    )
    sentences = [checkouts.memory_warning(job.checkout.facts, needed)]
    if any(abs(f.camera.cx - f.camera.width / 2) > 0.01 for f in job.sets.all):
        sentences.append(
            "graphdeco ignores the principal point; the frames were padded to bring it to the "
            "middle, but up to a quarter of a pixel of this camera's lens shift is lost."
        )
    _, unknown = known(_wishes(job), job.checkout.options)
    if unknown:
        sentences.append(
            f"This checkout of gaussian-splatting does not know {', '.join(unknown)}; it trains "
            f"without."
        )
    if job.settings.graphdeco_optimizer == "sparse_adam" and not job.checkout.facts.sparse_adam:
        sentences.append(
            "Its rasterizer has no SparseGaussianAdam, so graphdeco trains with its default "
            "optimizer."
        )
    for sentence in sentences:
        if sentence:
            job.emit("warning", message=sentence)


# --- the command --------------------------------------------------------------------------------


def _wishes(job: Job) -> list[tuple[str, ...]]:
    """Options the user asked for, which older checkouts may not know."""
    s = job.settings
    out: list[tuple[str, ...]] = []
    if s.graphdeco_depths:
        out.append(("--depths", "depths"))
    if s.graphdeco_antialiasing:
        out.append(("--antialiasing",))
    if s.graphdeco_optimizer == "sparse_adam" and job.checkout.facts.sparse_adam:
        out.append(("--optimizer_type", "sparse_adam"))
    if s.graphdeco_exposure:
        out += [
            ("--exposure_lr_init", "0.001"),
            ("--exposure_lr_final", "0.0001"),
            ("--exposure_lr_delay_steps", str(min(5000, max(1, s.train_steps // 6)))),
            ("--exposure_lr_delay_mult", "0.001"),
            ("--train_test_exp",),
        ]
    return out


def checkpoint_steps(steps: int) -> list[int]:
    """When to save what a resume needs: about ten times, not more often than every 500 steps, and
    at least at the quarters of a short training.
    """
    every = max(-(-steps // 10), min(500, -(-steps // 4)))
    return list(range(every, steps, every))


def command(job: Job, start: Path | None, port: int | None) -> list[str]:
    """train.py's command line, with only the options that this checkout knows."""
    s, steps = job.settings, job.settings.train_steps
    judged = sorted({max(1, steps * k // 4) for k in range(1, 5)})
    wanted: list[tuple[str, ...]] = [
        ("--source_path", str(job.data)),
        ("--model_path", str(job.model)),
        ("--eval",),
        ("--resolution", "1"),  # -1 would shrink frames wider than 1600 px
        ("--iterations", str(steps)),
        ("--position_lr_max_steps", str(steps)),
        ("--densify_from_iter", str(min(500, steps // 10))),
        ("--densify_until_iter", str(steps // 2)),
        ("--densification_interval", str(min(100, max(10, steps // 30)))),
        ("--sh_degree", str(s.sh_degree)),
        ("--test_iterations", *map(str, judged)),
        ("--save_iterations", str(steps)),
        ("--disable_viewer",),
    ]
    saves = checkpoint_steps(steps)
    if saves:
        wanted.append(("--checkpoint_iterations", *map(str, saves)))
    if job.settings.graphdeco_background == "white":
        wanted.append(("--white_background",))
    if start is not None:
        wanted.append(("--start_checkpoint", str(start)))
    if port is not None and "--disable_viewer" not in job.checkout.options:
        wanted.append(("--port", str(port)))
    arguments, _ = known([*wanted, *_wishes(job)], job.checkout.options)
    return [job.checkout.python, "train.py", *arguments]


def free_port() -> int:
    """A TCP port of this machine that is free now; older checkouts bind one for their viewer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def newest_checkpoint(model: Path) -> tuple[int, Path] | None:
    """(step, file) of the newest whole ``chkpntN.pth``; a torn one, from a kill, is skipped."""
    found = []
    for path in model.glob("chkpnt*.pth"):
        digits = path.stem.removeprefix("chkpnt")
        if digits.isdigit():
            found.append((int(digits), path))
    for step, path in sorted(found, reverse=True):
        # torch.save writes a zip archive, whose directory comes last; a torn one has none.
        if zipfile.is_zipfile(path):
            return step, path
    return None


# --- training -----------------------------------------------------------------------------------


def write_data(job: Job) -> None:
    """The data set in the job's layout."""
    job.emit("phase", message=f"Writing graphdeco's data set ({job.layout})")
    depths = job.settings.graphdeco_depths and "--depths" in job.checkout.options
    if job.layout == "colmap":
        order = layouts.hold_out_order(job.sets.train, job.sets.test)
        layouts.write_colmap_scene(job.run, job.data, order, job.background, depths)
    else:
        sets = job.sets
        layouts.write_transforms_scene(
            job.run, job.data, sets.train, sets.test, job.background, depths
        )


def _train(job: Job) -> Job:
    """Train to the end, resuming where that helps; returns the job as it was finished.

    A layout the reader cannot take, a taken port and a killed process are worth another try; what
    the user has to mend is not.
    """
    for attempt in range(_ATTEMPTS):
        write_data(job)
        start = newest_checkpoint(job.model)
        if start:
            job.emit("phase", message=f"Training goes on from step {start[0]}")
        follower = external.Follower(job.emit, NAME, printed.graphdeco, job.settings.train_steps)
        ended = _once(job, start, follower)
        if ended.code == 0 and job.result.is_file():
            return job
        error = external.failure(
            ended, NAME, follower.step, external.log_of(job.run, NAME), job.settings.silence,
            resumes=True,
        )  # fmt: skip
        if attempt + 1 == _ATTEMPTS:
            raise error
        again = _again(job, ended, start)
        if again is None:
            raise error
        job.emit("warning", message=f"{str(error).split(';')[0]}; trying again.")
        job = again
    raise AssertionError("every attempt returns, raises or is followed by another")


def _once(job: Job, start: tuple[int, Path] | None, follower: external.Follower) -> Finished:
    arguments = command(job, start[1] if start else None, free_port())
    return external.follow(job.run, job.settings, arguments, NAME, follower, cwd=job.checkout.root)


def _again(job: Job, ended: Finished, start: tuple[int, Path] | None) -> Job | None:
    """The job to try next, or None if trying again is pointless."""
    automatic = job.settings.graphdeco_layout == "auto"
    if external.pillow_too_new(ended) and automatic and job.layout == "transforms":
        return replace(job, layout="colmap")
    if external.port_in_use(ended):
        return job
    newer = newest_checkpoint(job.model)
    if ended.signal and newer and (start is None or newer[0] > start[0]):
        return job
    if start is not None and not ended.silent and _refused(ended):
        # A checkpoint of another version of torch or of the checkout: start from the beginning.
        for path in job.model.glob("chkpnt*.pth"):
            path.unlink()
        return job
    return None


def _refused(ended: Finished) -> bool:
    return any("torch.load" in line or "UnpicklingError" in line for line in ended.tail)
