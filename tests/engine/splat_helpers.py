"""Random splats, views and tiny data sets for the trainer's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gs_diffusion_addon.core.cameras import Camera, look_at
from gs_diffusion_addon.core.dataset import Frame, write_transforms
from gs_diffusion_addon.core.ply import Points, Splats, write_points
from gs_diffusion_addon.engine.images import write_png
from gs_diffusion_addon.engine.splat.drawing import render
from gs_diffusion_addon.engine.splat.rasterizer import View


def random_splats(seed: int, count: int, degree: int = 1, spread: float = 1.0) -> Splats:
    """Splats of all sizes and shapes around the origin, quaternions of any length."""
    rng = np.random.default_rng(seed)
    return Splats(
        rng.normal(0, spread, (count, 3)).astype(np.float32),
        rng.normal(0, 0.4, (count, (degree + 1) ** 2, 3)).astype(np.float32),
        rng.normal(0.5, 1.5, count).astype(np.float32),
        rng.uniform(-3.5, -0.8, (count, 3)).astype(np.float32),
        (rng.normal(size=(count, 4)) * rng.uniform(0.3, 3, (count, 1))).astype(np.float32),
    )


def random_view(seed: int, width: int = 45, height: int = 37, distance: float = 4.0) -> View:
    """A view from a random side, with fx != fy and the principal point off the middle."""
    rng = np.random.default_rng((seed, 99))
    place = rng.normal(size=3)
    place *= distance / np.linalg.norm(place)
    fl = 0.9 * width
    camera = Camera(
        width, height, fl, fl * rng.uniform(0.8, 1.25),
        width * rng.uniform(0.35, 0.65), height * rng.uniform(0.35, 0.65),
        look_at(place, rng.normal(0, 0.2, 3)),
    )  # fmt: skip
    return View.of(camera, near=0.2)


def tensors(splats: Splats, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """The five arguments of a rasterizer, each wanting gradients."""
    parts = (splats.means, splats.quats, splats.scales, splats.opacities, splats.sh)
    return [torch.tensor(p, dtype=dtype).requires_grad_(True) for p in parts]


def surface_points(count: int = 700, seed: int = 0) -> Points:
    """Samples of a unit sphere in smooth, strong colors."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    colors = 128 + 110 * np.sin(3 * normals + [0.0, 1.0, 2.0])
    return Points(normals.astype(np.float32), normals.astype(np.float32), colors.astype(np.uint8))


def cameras(views: int, size: tuple[int, int], scale: float, center: np.ndarray) -> list[Camera]:
    """A ring around ``center`` that sees a sphere of radius ``scale`` whole."""
    width, height = size
    fl = 1.2 * min(width, height)
    out = []
    for k in range(views):
        angle = 2 * np.pi * k / views
        place = np.array([np.sin(angle), -np.cos(angle), 0.4 * np.sin(5 * angle)]) * 3.2
        pose = look_at(center + scale * place, center)
        out.append(Camera(width, height, fl, fl, width / 2, height / 2, pose))
    return out


def write_dataset(
    folder: Path,
    views: int = 12,
    size: tuple[int, int] = (48, 40),
    scale: float = 1.0,
    center: tuple[float, float, float] = (0, 0, 0),
    points: int = 700,
) -> list[Frame]:
    """A sphere of discs as transforms_{train,val,test}.json with pictures and pale points3d.ply.

    Pictures come from another, denser set of splats than the points a trainer starts from.
    """
    from gs_diffusion_addon.engine.splat.dataset import World
    from gs_diffusion_addon.engine.splat.initialize import from_points

    middle = np.asarray(center, np.float64)
    truth = surface_points(4000, seed=5)
    unit = from_points(truth, World(np.zeros(3), 1.0), len(truth.positions), 0, 0)
    model = World(middle, scale).splats_out(unit)
    frames = []
    for k, camera in enumerate(cameras(views, size, scale, middle)):
        write_png(folder / "train" / f"r_{k}.png", render(model, camera))
        frames.append(Frame(f"./train/r_{k}", camera, k, 0))
    held = {"val": views // 3, "test": 2 * views // 3}
    for name, k in held.items():
        write_transforms(folder / f"transforms_{name}.json", [frames[k]])
    rest = [f for f in frames if f.frame not in held.values()]
    write_transforms(folder / "transforms_train.json", rest)
    start = surface_points(points, seed=6)
    pale = start.colors // 2 + 64
    places = (start.positions * scale + middle).astype(np.float32)
    write_points(folder / "points3d.ply", Points(places, start.normals, pale))
    return frames
