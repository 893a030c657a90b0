"""``gsd splat train | render | prune``: the kernels on folders and files of any origin."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...core.colmap import read_points3d
from ...core.dataset import Frame
from ...core.digests import file_digest
from ...core.errors import InputError, StageError
from ...core.events import Emit, Progress
from ...core.ply import Splats, read_splats, write_splats
from ...core.run import read_json, write_json
from ...core.settings import Settings
from ...core.splat_tools import CHECKPOINTS, visible
from ..images import write_png
from . import checkpoint
from .api import recipe_of
from .backends import Backend, processor
from .dataset import Dataset, Picture, load_any
from .drawing import draw_on_black, drawable, localized, render
from .harmonics import C0
from .initialize import colored, from_points, from_silhouettes, in_picture
from .loss import psnr, ssim_map
from .model import model_of
from .runtime import use_threads
from .sources import frames_of, picture_path, start_file
from .training import Status, train

MODEL, METRICS = "splat.ply", "metrics.json"
DRAWN = ".gsd-drawn.json"
COLORS = {"white": 1.0, "black": 0.0}
_COLORING = 24  # views that colorless points are colored by
_FEW = 4  # times as many splats as points, or more: splitting does not make up for that
_SEEN = 1e-3  # least share of one pixel's light that a kept splat has in some view


def do(job: Mapping[str, Any], settings: Settings, emit: Emit) -> None:
    """Do the tool that ``job`` names."""
    use_threads(settings.threads)
    if job["tool"] == "train":
        train_folder(job, settings, emit)
    elif job["tool"] == "render":
        render_file(job, emit)
    else:
        prune_file(job, emit)


def compiled(emit: Emit) -> tuple[Backend, float]:
    """The backend of this machine and the seconds its kernels took to be ready."""
    emit("phase", message="Compiling the kernels")
    start = time.perf_counter()
    backend, sentence = processor()
    if sentence:
        emit("warning", message=sentence)
    return backend, time.perf_counter() - start


# --- train --------------------------------------------------------------------------------------


def train_folder(job: Mapping[str, Any], settings: Settings, emit: Emit) -> None:
    """Train ``job['data']`` and write splat.ply and metrics.json into ``job['out']``.

    A stopped training goes on from its checkpoint. Raises InputError when the folder already
    holds another training's result.
    """
    out, data = Path(job["out"]), Path(job["data"])
    if not data.is_dir():
        raise InputError(f"{data} is no folder; --data names the folder of a data set.")
    points = Path(job["points"]) if job.get("points") else start_file(data)
    origin = _origin(job, settings, points)
    done = _finished(out, origin)
    if done is not None:
        emit("warning", message="This training is already done.")
        if done.get("background") != job["background"]:
            _judge_again(job, done, emit)
        emit("made", text=str(out / MODEL))
        return
    emit("phase", message="Reading the pictures")
    dataset = load_any(data, str(job.get("images") or ""))
    backend, jit = compiled(emit)
    recipe = replace(recipe_of(settings), exposure=bool(job.get("exposure")))
    folder = out / CHECKPOINTS
    resumed = (folder / checkpoint.FILE).is_file()
    emit("phase", message="Training")
    wall, cpu = time.perf_counter(), time.process_time()
    splats = train(
        dataset,
        lambda: first_splats(dataset, points, bool(job.get("points")), settings, emit),
        recipe,
        backend,
        _Reporter(emit, recipe.steps),
        folder / checkpoint.FILE,
        settings.checkpoint_seconds,
        lambda sentence: emit("warning", message=sentence),
        source=repr(origin),
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    emit("phase", message="Judging the test pictures")
    metrics = judged(splats, dataset.held_out, backend, str(job["background"]))
    metrics |= {
        "splats": splats.count, "steps": recipe.steps, "wall_seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2), "jit_seconds": round(jit, 2), "resumed": resumed,
        "background": job["background"], "train_pictures": len(dataset.train),
        "test_pictures": len(dataset.held_out), "training": origin,
    }  # fmt: skip
    write_splats(out / MODEL, dataset.world.splats_out(splats))
    write_json(out / METRICS, metrics)
    for name in (checkpoint.FILE, "preview", "pause"):
        (folder / name).unlink(missing_ok=True)
    figures = ", ".join(
        f"{name} {metrics[name]}"
        for name in ("psnr_test", "psnr_test_object", "ssim_test", "splats", "cpu_seconds")
        if metrics[name] is not None
    )
    emit("made", text=f"{out / MODEL}\n{figures}")


def _origin(job: Mapping[str, Any], settings: Settings, points: Path) -> dict[str, Any]:
    """What the result depends on beside the pictures."""
    names = ("train_steps", "seed", "splats", "max_splats", "sh_degree")
    return {
        "data": str(job["data"]),
        "points": file_digest(points) if points.is_file() else None,
        "exposure": bool(job.get("exposure")),
        **({"images": str(job["images"])} if job.get("images") else {}),
        **{name: getattr(settings, name) for name in names},
    }


def _finished(out: Path, origin: Mapping[str, Any]) -> dict[str, Any] | None:
    """The metrics of this very training, if it is done."""
    if not (out / METRICS).is_file():
        # One of ours that was killed at its very end has its checkpoints' folder.
        if (out / MODEL).is_file() and not (out / "checkpoints").is_dir():
            raise InputError(f"{out} holds a {MODEL} of another origin; name another --out.")
        return None
    found = read_json(out / METRICS)
    if not isinstance(found, dict) or found.get("training") != origin:
        raise InputError(f"{out} holds the result of another training; name another --out.")
    return found if (out / MODEL).is_file() else None


def _judge_again(job: Mapping[str, Any], done: Mapping[str, Any], emit: Emit) -> None:
    """Write a finished training's metrics anew, on ``job['background']``."""
    out, background = Path(job["out"]), str(job["background"])
    dataset = load_any(Path(job["data"]), str(job.get("images") or ""))
    backend, _ = compiled(emit)
    emit("phase", message=f"Judging the test pictures on {background}")
    splats = dataset.world.splats_in(read_splats(out / MODEL))
    metrics = judged(splats, dataset.held_out, backend, background)
    write_json(out / METRICS, {**done, **metrics, "background": background})


def first_splats(
    dataset: Dataset, points: Path, named: bool, settings: Settings, emit: Emit
) -> Splats:
    """Discs on the points of a file, which the views color where it does not; without one, splats
    inside the silhouettes.

    Raises InputError when a named file is missing or empty, and when no camera sees its points.
    """
    count, degree, seed = settings.first_splats, settings.sh_degree, settings.seed
    if named or points.is_file():
        cloud = read_points3d(points)
        usable = cloud.positions[np.isfinite(cloud.positions).all(1)]
        if len(usable):
            _look_over(points, usable, dataset, count, emit)
            if (cloud.colors == 255).all():  # as read_points answers for a file without colors
                seen = dataset.train[:: max(1, len(dataset.train) // _COLORING)]
                colors = colored(np.nan_to_num(cloud.positions), seen, [None] * len(seen))
                cloud = replace(cloud, colors=colors)
            return from_points(cloud, dataset.world, count, degree, seed)
        if named:
            raise InputError(f"{points} holds no points to start from.")
    emit("phase", message="Looking for the silhouettes' common volume")
    return from_silhouettes(dataset.train, dataset.world, count, degree, seed)


def _look_over(
    file: Path, positions: npt.NDArray[np.float32], dataset: Dataset, count: int, emit: Emit
) -> None:
    """Warn of points that are too few for ``count`` splats; raise InputError if none is in any
    training picture.
    """
    if not any(in_picture(positions, p.camera).any() for p in dataset.train):
        raise InputError(
            f"None of the points of {file} lies in a training picture; they have to be in the data "
            f"set's own world and unit. Give other --points."
        )
    if _FEW * len(positions) < count:
        emit(
            "warning",
            message=f"{file} holds {len(positions)} points and each begins as one splat, so the "
            f"model stays coarser than one of {count} (--splats).",
        )


class _Reporter:
    """Training reports as progress events."""

    def __init__(self, emit: Emit, steps: int) -> None:
        self._emit, self._steps = emit, steps
        self._progress: Progress | None = None

    def __call__(self, status: Status) -> None:
        if self._progress is None:
            self._progress = Progress(self._emit, self._steps, "steps", done=status.step)
        fields: dict[str, Any] = {"loss": round(status.loss, 5), "splats": status.splats}
        if status.psnr is not None:
            fields["psnr"] = round(status.psnr, 2)
        self._progress.tick(status.step - self._progress.done, **fields)


def judged(
    splats: Splats, pictures: Sequence[Picture], backend: Backend, background: str
) -> dict[str, float | None]:
    """Means over ``pictures`` of local splats: PSNR of the whole picture on ``background`` and
    inside the silhouette (alpha above one half; views without any do not count), SSIM of the whole
    picture; None without pictures.
    """
    names = ("psnr_test", "psnr_test_object", "ssim_test")
    if not pictures:
        return dict.fromkeys(names)
    model, rows = model_of(splats, backend.device, 1), []
    color = torch.full((3,), COLORS[background], device=backend.device)
    for picture in pictures:
        with torch.no_grad():
            drawn = backend.rasterize(*model.arguments(), picture.view, color).image.clamp(0, 1)
            # As the field does: compared is the picture that would be stored, in 8 bits.
            drawn = (drawn * 255).round() / 255
            target = backend.target(picture, color)
            likeness = float(ssim_map(drawn, target).mean())
        image, wanted = drawn.cpu().numpy(), target.cpu().numpy()
        inside = picture.rgba[..., 3] > 127
        within = psnr(image[:, inside], wanted[:, inside]) if inside.any() else None
        rows.append((psnr(image, wanted), within, likeness))
    columns = ([v for v in column if v is not None] for column in zip(*rows, strict=True))
    means = (round(float(np.mean(c)), 4) if c else None for c in columns)
    return dict(zip(names, means, strict=True))


# --- render -------------------------------------------------------------------------------------


def render_file(job: Mapping[str, Any], emit: Emit) -> None:
    """Draw ``job['file']`` from every camera of ``job['transforms']`` into ``job['out']``.

    Pictures keep the names of the transforms file (train/r_0.png); those that an earlier call drew
    are kept. Raises InputError where other pictures have these names.
    """
    out, frames = Path(job["out"]), frames_of(Path(job["transforms"]))
    background = str(job["background"])
    splats = drawable(read_splats(Path(job["file"])))
    paths = _planned(out, frames, f"{file_digest(Path(job['file']))} {background}")
    backend, _ = compiled(emit)
    emit("phase", message="Rendering")
    progress = Progress(emit, len(frames), "frames")
    for path, frame in zip(paths, frames, strict=True):
        if not path.is_file():
            write_png(path, _picture(splats, frame, backend, background))
        progress.tick()
    emit("made", text=f"{len(frames)} pictures in {out}")


def _planned(out: Path, frames: Sequence[Frame], look: str) -> list[Path]:
    """Where the frames' pictures go. What each shows (``look`` and its camera) is noted in
    :data:`DRAWN`, so that a later call knows a picture of its own from any other.
    """
    notes = read_json(out / DRAWN) if (out / DRAWN).is_file() else {}
    shown = dict(notes) if isinstance(notes, dict) else {}
    planned: dict[Path, str] = {}
    for frame in frames:
        c = frame.camera
        lens = (c.width, c.height, c.fl_x, c.fl_y, c.cx, c.cy, c.matrix.tolist())
        key = hashlib.blake2b(f"{look} {lens}".encode(), digest_size=12).hexdigest()
        path = _inside(out, frame.file_path)
        name = path.relative_to(out.resolve()).as_posix()
        if planned.setdefault(path, key) != key:
            raise InputError(f"Two frames would be drawn as {name}; give them names of their own.")
        if path.exists() and shown.get(name) != key:
            raise InputError(
                f"{path} is there already and is no picture of this model, view and background; "
                f"name another --out."
            )
        shown[name] = key
    write_json(out / DRAWN, shown)
    return [_inside(out, frame.file_path) for frame in frames]


def _inside(out: Path, file_path: str) -> Path:
    """Where a frame's picture goes, which is never outside ``out``."""
    path = picture_path(out, file_path).with_suffix(".png").resolve()
    if not path.is_relative_to(out.resolve()):
        path = out.resolve() / path.name
    return path


def _picture(
    splats: Splats, frame: Frame, backend: Backend, background: str
) -> npt.NDArray[np.uint8]:
    if background == "transparent":
        return render(splats, frame.camera, backend)
    image, alpha = draw_on_black(splats, frame.camera, backend)
    layers = image + (1 - alpha) * np.float32(COLORS[background])
    pixels: npt.NDArray[np.uint8] = (np.clip(layers, 0, 1) * 255 + 0.5).astype(np.uint8)
    return pixels.transpose(1, 2, 0)


# --- prune --------------------------------------------------------------------------------------


def prune_file(job: Mapping[str, Any], emit: Emit) -> None:
    """Write ``job['file']`` without splats that are faint, not finite, or seen from no camera.

    Raises InputError unless ``job['out']`` is a .ply file's name.
    """
    if Path(job["out"]).suffix.lower() != ".ply" or Path(job["out"]).is_dir():
        raise InputError(f"{job['out']} is no .ply file; name the one to write with --out.")
    splats = read_splats(Path(job["file"]))
    kept = splats.selected(visible(splats, float(job["faintest"])))
    if job.get("transforms") and kept.count:
        backend, _ = compiled(emit)
        frames = frames_of(Path(job["transforms"]))
        emit("phase", message="Looking for what is seen")
        progress = Progress(emit, len(frames), "frames")
        seen = np.zeros(kept.count, bool)
        for frame in frames:
            seen |= contributions(kept, frame, backend) > _SEEN
            progress.tick()
        kept = kept.selected(seen)
    if not kept.count:
        raise StageError("No splat would be left; nothing was written.")
    write_splats(Path(job["out"]), kept)
    emit("made", text=f"{job['out']}: {kept.count} of {splats.count} splats kept")


def contributions(splats: Splats, frame: Frame, backend: Backend) -> npt.NDArray[np.float32]:
    """(N,) the light each splat sends into a view, summed over its pixels, in pixels.

    It is the derivative of the picture's sum by the splat's color, the weight alpha T that
    compositing gives it.
    """
    (means, quats, scales, opacities, sh), view = localized(splats, frame.camera)
    gray = torch.zeros((len(sh), 1, 3), device=backend.device, requires_grad=True)
    arrays = (torch.from_numpy(a).to(backend.device) for a in (means, quats, scales, opacities))
    drawn = backend.rasterize(*arrays, gray, view, torch.zeros(3, device=backend.device))
    drawn.image[0].sum().backward()  # type: ignore[no-untyped-call]
    assert gray.grad is not None
    weights: npt.NDArray[np.float32] = gray.grad[:, 0, 0].cpu().numpy() / np.float32(C0)
    return weights
