"""Stage ``dataset``: the restyled frames as a training set that splat and NeRF trainers read.

Layout of NeRF-synthetic: transforms_{train,test,val}.json beside the folders of RGBA pictures they
name, and points3d.ply, colored samples of the model's surface to start from.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.spatial import cKDTree

from ..core.dataset import Frame, split_frames, write_transforms
from ..core.errors import InputError, StageError
from ..core.events import Emit, Progress
from ..core.ply import Points, read_points, write_points
from ..core.run import Run, atomic
from ..core.settings import Settings, parse_split
from .guides import BACKGROUND, View, cameras, read_view
from .images import read_rgba
from .parallel import in_order, thread_count

MOST_POINTS = 100_000
REACH = 2.0  # a point is seen if the frame's surface lies within so many pixels' world size of it
SQUARE_ENOUGH = (
    0.15  # cosine to the surface below which a frame shows a point too stretched to count
)

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]


def run_stage(run: Run, settings: Settings, emit: Emit) -> None:
    """Write run.gs: frames in train/, test/ and val/, their cameras, and points3d.ply."""
    frames = cameras(run)
    if not frames[0].camera.centered:
        emit(
            "warning",
            message="This camera's lens shift or non-square pixels are lost on readers of the "
            "dataset that only use camera_angle_x; the built-in trainer reads all intrinsics.",
        )
    parts = split_frames([f.ring for f in frames], parse_split(settings.split), settings.seed)
    chosen = {
        name: [frames[k] for k in part]
        for name, part in zip(("train", "val", "test"), parts, strict=True)
    }
    total = len(frames) + 1
    missing = [f for f in frames if not run.stylized_frame(f.frame).is_file()]
    if missing:
        raise InputError(
            f"{run.stylized_frame(missing[0].frame)} is missing; run the propagate stage again."
        )
    progress = Progress(emit, total, "files")
    for name, members in chosen.items():
        for frame in members:
            path = run.gs / name / f"r_{frame.frame}.png"
            if not path.is_file():
                place_file(run.stylized_frame(frame.frame), path)
                emit("frame_done", frame=frame.frame, path=path.relative_to(run.root).as_posix())
            progress.tick()
    if not (run.gs / "points3d.ply").is_file():
        emit("phase", message="Coloring the surface points")
        write_points(run.gs / "points3d.ply", start_points(run, settings, chosen["train"]))
    progress.tick()
    for name, members in chosen.items():
        # Last: where these files are, everything they name is there.
        write_transforms(run.gs / f"transforms_{name}.json", [_entry(name, f) for f in members])


def _entry(part: str, frame: Frame) -> Frame:
    return Frame(f"./{part}/r_{frame.frame}", frame.camera, frame.frame, frame.ring)


def place_file(source: Path, target: Path) -> None:
    """The same file in another folder: a hard link where the file system has them, else a copy."""
    with atomic(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def start_points(run: Run, settings: Settings, train: Sequence[Frame]) -> Points:
    """Surface points with the colors that the training frames show there.

    Positions come from surface.ply, else from the frames' depth. A point's color is the mean over
    all frames that see it, weighted by the cosine to its normal; points that none sees take the
    nearest seen point's. Raises StageError if the model shows in no frame.
    """
    threads = thread_count(settings)
    if run.surface.is_file():
        points = thin(read_points(run.surface), MOST_POINTS, settings.seed)
    else:
        points = back_project(run, train, settings.seed, threads)
    total = np.zeros((len(points.positions), 4))

    def look(frame: Frame) -> Doubles:
        seen = np.zeros((len(points.positions), 4))
        view = read_view(run, frame)
        pose = frame.camera.world_to_opencv()
        picture = read_rgba(run.stylized_frame(frame.frame))
        _look(points.positions, points.normals, pose, view.lens, view.depth, picture, seen)
        return seen

    for _, seen in in_order(look, train, threads):
        total += seen
    return Points(points.positions, points.normals, _settle(points.positions, total))


def _settle(positions: Floats, total: Doubles) -> Bytes:
    """Weighted sums (N, 4) -> colors (N, 3) uint8; unseen points take the nearest seen one's."""
    seen = total[:, 3] > 0
    if not seen.any():
        raise StageError(
            "No training frame sees the model's surface; look at train_main/ and guides/, and "
            "render the turntable again."
        )
    colors = np.zeros((len(total), 3))
    colors[seen] = total[seen, :3] / total[seen, 3:]
    if not seen.all():
        _, nearest = cKDTree(positions[seen]).query(positions[~seen])
        colors[~seen] = colors[seen][nearest]
    return np.clip(colors + 0.5, 0, 255).astype(np.uint8)


def thin(points: Points, count: int, seed: int) -> Points:
    """At most ``count`` of the points, drawn without order or preference."""
    if len(points.positions) <= count:
        return points
    chosen = np.random.default_rng(seed).choice(len(points.positions), count, replace=False)
    chosen.sort()
    return Points(points.positions[chosen], points.normals[chosen], points.colors[chosen])


def back_project(run: Run, frames: Sequence[Frame], seed: int, threads: int) -> Points:
    """Points out of the frames' depth, for models without a mesh (hair, curves, volumes)."""
    share = -(-MOST_POINTS // max(len(frames), 1))

    def draw(frame: Frame) -> tuple[Floats, Floats]:
        rng = np.random.default_rng((seed, frame.frame))
        return surface_sample(read_view(run, frame), share, rng)

    parts = [part for _, part in in_order(draw, frames, threads)]
    positions = np.concatenate([p for p, _ in parts])
    return Points(
        positions, np.concatenate([n for _, n in parts]), np.zeros(positions.shape, np.uint8)
    )


def surface_sample(view: View, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """``count`` (or all) random foreground pixels as world positions and normals, (n, 3) float32
    each.
    """
    rows, columns = np.nonzero(view.mask)
    if len(rows) > count:
        chosen = np.sort(rng.choice(len(rows), count, replace=False))
        rows, columns = rows[chosen], columns[chosen]
    pixels = np.stack([columns + 0.5, rows + 0.5], -1)
    positions = view.camera.unproject(pixels, view.depth[rows, columns])
    return positions.astype(np.float32), view.normal[rows, columns].astype(np.float32)


@njit(nogil=True, cache=True)
def _look(
    positions: Floats,
    normals: Floats,
    pose: Doubles,
    lens: Floats,
    depth: Floats,
    picture: Bytes,
    seen: Doubles,
) -> None:
    """``seen`` (N, 4) = weight * (r, g, b, 1) of every point in one frame, untouched where hidden.

    The point's own pixel must hit the surface at the point's depth; a pixel's footprint on a
    slanted surface spans more depth, so the tolerance grows with the slope.
    """
    h, w = depth.shape
    for n in range(len(positions)):
        px, py, pz = positions[n, 0], positions[n, 1], positions[n, 2]
        qx = pose[0, 0] * px + pose[0, 1] * py + pose[0, 2] * pz + pose[0, 3]
        qy = pose[1, 0] * px + pose[1, 1] * py + pose[1, 2] * pz + pose[1, 3]
        qz = pose[2, 0] * px + pose[2, 1] * py + pose[2, 2] * pz + pose[2, 3]
        if qz <= 0:
            continue
        u, v = lens[0] * qx / qz + lens[2], lens[1] * qy / qz + lens[3]
        if not (u >= 0 and v >= 0 and u < w and v < h):
            continue
        x, y = int(u), int(v)
        if depth[y, x] >= BACKGROUND or picture[y, x, 3] == 0:
            continue
        nx, ny, nz = normals[n, 0], normals[n, 1], normals[n, 2]
        cosine = 1.0  # a point without normal is taken to face everyone
        if nx != 0 or ny != 0 or nz != 0:
            fx = pose[0, 0] * nx + pose[0, 1] * ny + pose[0, 2] * nz
            fy = pose[1, 0] * nx + pose[1, 1] * ny + pose[1, 2] * nz
            fz = pose[2, 0] * nx + pose[2, 1] * ny + pose[2, 2] * nz
            cosine = abs(fx * qx + fy * qy + fz * qz) / np.sqrt(qx * qx + qy * qy + qz * qz)
        if cosine < SQUARE_ENOUGH:
            continue
        if abs(depth[y, x] - qz) > REACH * qz / min(lens[0], lens[1]) / cosine:
            continue
        for c in range(3):
            seen[n, c] = cosine * picture[y, x, c]
        seen[n, 3] = cosine
