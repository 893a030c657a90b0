"""Stage ``turntable`` without a Blender scene: frames and cameras out of ``--main-folder``.

Such a folder has no geometry. A first splat is trained on its frames, and depth and normals of that
become the guides, so that everything after works as with Blender's passes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..core import upstream
from ..core.cameras import Camera
from ..core.dataset import Frame, split_frames, write_transforms
from ..core.errors import InputError
from ..core.events import Emit, Progress
from ..core.exr import BACKGROUND_DEPTH
from ..core.ply import Splats, read_splats, write_splats
from ..core.run import Run
from ..core.settings import Settings, parse_split
from .images import Bytes, read_rgba, resized, size_of, write_png
from .splat import checkpoint
from .splat.backends import processor
from .splat.dataset import Dataset, World, load_picture
from .splat.drawing import drawable
from .splat.initialize import from_silhouettes
from .splat.runtime import use_threads
from .splat.training import Status, train
from .splat_guides import draw_depth, filled, normals_of, write_guide
from .train.session import recipe_of

FLAT = 6  # levels by which a video's border may vary and still be a plain background
FADE = 24  # levels of difference from that background over which a pixel becomes opaque
FIRST = "first_splat.ply"


def run_stage(run: Run, settings: Settings, emit: Emit) -> None:
    """Write train_main/, transforms_train_main.json and guides/ from the folder's frames.

    Resumes where it was stopped. Raises InputError for what cannot be used.
    """
    use_threads(settings.threads)
    source = upstream.find(Path(settings.main_folder), settings.main_frames)
    if source.missing:
        emit(
            "warning",
            message=f"{source.transforms} names {len(source.missing)} pictures that are missing "
            f"(the first is {source.missing[0]!r}); the run goes on without these frames.",
        )
    frames = take_frames(run, source, settings, emit)
    if not on_a_ring([f.camera for f in frames]):
        emit(
            "warning",
            message="The cameras do not stand on one closed ring in the file's order, so distances "
            "between views are only counted in frames.",
        )
    splats = first_splat(run, settings, frames, emit)
    make_guides(run, frames, splats, emit)
    # Last: the stage's proof.
    write_transforms(run.transforms_main, frames)
    shutil.rmtree(run.at(0).checkpoints, ignore_errors=True)


# --- frames ---------------------------------------------------------------------------------------


def take_some(run: Run, settings: Settings, numbers: Sequence[int], emit: Emit) -> None:
    """Write the frames ``numbers`` alone, as the run's turntable would have them."""
    source = upstream.find(Path(settings.main_folder), settings.main_frames)
    take_frames(run, source, settings, emit, numbers)


def take_frames(
    run: Run,
    source: upstream.Source,
    settings: Settings,
    emit: Emit,
    only: Sequence[int] | None = None,
) -> list[Frame]:
    """Write the frames, or ``only`` some, as RGBA with straight alpha, undistorted and scaled;
    give all cameras.
    """
    pictures, size = _pictures(source, emit)
    original = upstream.frames_of(source, lambda name: size)
    if not source.lens.straight:
        emit("warning", message="The lens distortion is taken out of the frames.")
    frames = [replace(f, camera=scaled(f.camera, settings.main_size)) for f in original]
    numbers = range(len(frames)) if only is None else only
    progress = Progress(emit, len(numbers), "frames")
    seen_through = 0
    for k in numbers:
        old, new = original[k], frames[k]
        path = run.frame(new.frame)
        if not path.is_file():
            rgba = pictures(k)
            wanted = (old.camera.height, old.camera.width)
            if rgba.shape[:2] != wanted:
                raise InputError(
                    f"The picture of frame {k} is {rgba.shape[1]}x{rgba.shape[0]} pixels, but "
                    f"{source.transforms} says {wanted[1]}x{wanted[0]}."
                )
            if not source.lens.straight:
                rgba = undistorted(rgba, old.camera, source.lens)
            write_png(path, resized(rgba, new.camera.width, new.camera.height))
            emit("frame_done", frame=k, path=path.relative_to(run.root).as_posix())
        seen_through += int((read_rgba(path)[..., 3] < 128).any())
        progress.tick()
    if not seen_through:
        emit(
            "warning",
            message="The frames have no transparency, so all that is in them is taken for the "
            "model; give RGBA pictures to single it out.",
        )
    return frames


def _pictures(
    source: upstream.Source, emit: Emit
) -> tuple[Callable[[int], Bytes], tuple[int, int]]:
    """A function that gives shot k's picture, and the width and height of the first."""
    if source.from_video:
        assert source.video is not None
        decoded = video_frames(source.video, 1 + max(shot.place for shot in source.shots))
        if any(shot.place >= len(decoded) for shot in source.shots):
            raise InputError(
                f"{source.video} has {len(decoded)} frames, but {source.transforms} names more; "
                "put the pictures into train_main/."
            )
        emit(
            "warning",
            message=f"There are no pictures beside {source.transforms.name}, so the frames are "
            f"taken from {source.video.name}; a plain background in it becomes transparent.",
        )
        height, width = decoded[0].shape[:2]
        return lambda k: keyed(decoded[source.shots[k].place]), (width, height)
    first = source.shots[0].picture
    assert first is not None

    def picture(k: int) -> Bytes:
        path = source.shots[k].picture
        assert path is not None
        return read_rgba(path)

    return picture, size_of(first)


def video_frames(path: Path, count: int) -> list[Bytes]:
    """The first ``count`` frames of a video, (h, w, 3) uint8; raises InputError."""
    frames: list[Bytes] = []
    reader = imageio_ffmpeg.read_frames(str(path))
    try:
        width, height = next(reader)["size"]
        for raw in reader:
            frames.append(np.frombuffer(raw, np.uint8).reshape(height, width, 3).copy())
            if len(frames) == count:
                break
    except (OSError, RuntimeError, KeyError, StopIteration) as error:
        lines = str(error).strip().splitlines() or ["it holds no pictures"]
        raise InputError(f"The video {path} cannot be read: {lines[-1].rstrip('.')}.") from None
    finally:
        reader.close()
    if not frames:
        raise InputError(f"The video {path} holds no frames.")
    return frames


def keyed(color: Bytes) -> Bytes:
    """(h, w, 4) uint8: transparent where a picture shows the plain color of its border.

    Opaque all over if the border is not plain. Only what is connected to the border counts, so the
    model may have that color inside.
    """
    border = np.concatenate([color[0], color[-1], color[:, 0], color[:, -1]]).astype(np.int16)
    plain = np.median(border, axis=0)
    opaque = np.full(color.shape[:2], 255, np.uint8)
    if (np.abs(border - plain).max(1) > FLAT).mean() > 0.02:
        return np.dstack([color, opaque])
    away = np.abs(color.astype(np.int16) - plain).max(-1)
    labels, _ = ndimage.label(away < FADE)
    rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    outside = np.isin(labels, rim[rim > 0])
    soft = np.clip(away * (255.0 / FADE), 0, 255).astype(np.uint8)
    return np.dstack([color, np.where(outside, soft, opaque)])


def scaled(camera: Camera, longest: int) -> Camera:
    """The camera of a picture scaled so that its longer side has ``longest`` pixels (0: as is)."""
    if not longest or longest == max(camera.width, camera.height):
        return camera
    factor = longest / max(camera.width, camera.height)
    width, height = (max(1, round(s * factor)) for s in (camera.width, camera.height))
    x, y = width / camera.width, height / camera.height
    return replace(
        camera, width=width, height=height, fl_x=camera.fl_x * x, fl_y=camera.fl_y * y,
        cx=camera.cx * x, cy=camera.cy * y,
    )  # fmt: skip


def undistorted(rgba: Bytes, camera: Camera, lens: upstream.Lens) -> Bytes:
    """The picture as a pinhole camera of the same intrinsics would have taken it.

    Each pixel looks up where OpenCV's model bends its ray to; outside the picture is transparent.
    """
    h, w = rgba.shape[:2]
    row, column = np.mgrid[0:h, 0:w] + 0.5
    x, y = (column - camera.cx) / camera.fl_x, (row - camera.cy) / camera.fl_y
    bent_x, bent_y = lens.bent(x, y)
    at = np.stack([bent_y * camera.fl_y + camera.cy - 0.5, bent_x * camera.fl_x + camera.cx - 0.5])
    alpha = rgba[..., 3].astype(np.float32)
    layers = [rgba[..., c] * (alpha / 255) for c in range(3)]
    sampled = [ndimage.map_coordinates(m, at, order=1, cval=0.0) for m in (*layers, alpha)]
    weight = np.maximum(sampled[3] / 255, 1e-6)
    out = np.stack([*(s / weight for s in sampled[:3]), sampled[3]], axis=-1)
    return np.clip(out + 0.5, 0, 255).astype(np.uint8)


def on_a_ring(cameras: Sequence[Camera]) -> bool:
    """Whether the cameras go once around what they look at, in their order."""
    center = World.of(cameras).center
    places = np.array([c.position for c in cameras]) - center
    axes = np.linalg.svd(places - places.mean(0), full_matrices=False)[2]
    angles = np.unwrap(np.arctan2(places @ axes[1], places @ axes[0]))
    steps: npt.NDArray[np.float64] = np.diff(np.append(angles, angles[0] + 2 * np.pi * np.sign(
        angles[-1] - angles[0])))  # fmt: skip
    return bool((np.sign(steps) == np.sign(steps[0])).all() and np.abs(steps).max() < np.pi / 2)


# --- geometry -------------------------------------------------------------------------------------


def first_splat(run: Run, settings: Settings, frames: Sequence[Frame], emit: Emit) -> Splats:
    """A splat of the frames as they are, kept as guides/first_splat.ply."""
    path = run.guides / FIRST
    if path.is_file():
        return read_splats(path)
    emit("phase", message="Compiling the kernels")
    backend, sentence = processor()
    if sentence:
        emit("warning", message=sentence)
    emit("phase", message="Training a first splat for the geometry")
    world = World.of([f.camera for f in frames])
    _, _, test = split_frames([0] * len(frames), parse_split(settings.split), settings.seed)
    pictures = [load_picture(run.root, f, world) for f in frames]
    held = [pictures[k] for k in test[:4]]
    dataset = Dataset(pictures, held, world)
    progress: list[Progress] = []

    def report(status: Status) -> None:
        if not progress:
            progress.append(Progress(emit, status.steps, "steps", done=status.step))
        fields = {} if status.psnr is None else {"psnr": round(status.psnr, 2)}
        progress[0].tick(status.step - progress[0].done, loss=round(status.loss, 5), **fields)

    def start() -> Splats:
        return from_silhouettes(
            pictures, world, settings.first_splats, settings.sh_degree, settings.seed
        )

    local = train(
        dataset, start, recipe_of(settings), backend, report,
        run.at(0).checkpoints / checkpoint.FILE, settings.checkpoint_seconds,
        lambda sentence: emit("warning", message=sentence), source="first splat",
    )  # fmt: skip
    splats = world.splats_out(local)
    write_splats(path, splats)
    return splats


def make_guides(run: Run, frames: Sequence[Frame], splats: Splats, emit: Emit) -> None:
    """Write each frame's guide: the splat's depth and normals inside the frame's silhouette."""
    backend, _ = processor()
    usable = drawable(splats)
    emit("phase", message="Drawing depth and normals")
    progress = Progress(emit, len(frames), "frames")
    for frame in frames:
        path = run.guide(frame.frame)
        if not path.is_file():
            drawn = draw_depth(usable, frame.camera, backend)
            inside = read_rgba(run.frame(frame.frame))[..., 3] >= 128
            known = drawn.mask & inside
            depth = filled(drawn.depth, known, inside)
            depth = np.where(inside & (depth < BACKGROUND_DEPTH / 10), depth, BACKGROUND_DEPTH)
            mask = depth < BACKGROUND_DEPTH / 10
            normal = normals_of(frame.camera, depth, mask)
            write_guide(path, frame.camera, depth.astype(np.float32), normal, mask.astype(np.int32))
            emit("frame_done", frame=frame.frame, path=path.relative_to(run.root).as_posix())
        progress.tick()
