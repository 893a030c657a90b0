"""An analytic scene for tests: two textured balls on a slab, ray-traced in numpy, so that geometry
and colors are exact. Independent of the package's own projection: it only uses a camera's numbers.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from gs_diffusion_addon.core.cameras import Camera
from gs_diffusion_addon.core.dataset import Frame, write_transforms
from gs_diffusion_addon.core.exr import write_exr
from gs_diffusion_addon.core.orbit import turntable
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Ring, Settings, all_rings
from gs_diffusion_addon.engine.guides import View
from gs_diffusion_addon.engine.images import to_bytes, write_png

BALLS = ((0.0, 0.0, 0.0, 1.0), (0.3, -1.3, 0.35, 0.3))  # x, y, z, radius
SLAB = ((-1.1, -1.1, -1.25), (1.1, 1.1, -1.0))  # lowest and highest corner


def camera(size=(96, 96), focal=1.35, pose=None, shift=(0.0, 0.0), aspect=1.0) -> Camera:
    """A camera ``size`` pixels big, focal length in picture widths, ``shift`` in pixels."""
    w, h = size
    fl = focal * min(w, h)
    center = (w / 2 + shift[0], h / 2 + shift[1])
    return Camera(w, h, fl, fl * aspect, *center, np.eye(4) if pose is None else pose)


def orbit(rings, distance=5.0, scale=1.0, **lens) -> list[Frame]:
    """Frames of a turntable around the scene, which is ``scale`` times bigger than meters."""
    views = turntable(rings, np.array([0.0, 0.0, -0.15]) * scale, distance * scale)
    return [
        Frame(f"./train_main/r_{v.frame}", camera(pose=v.matrix, **lens), v.frame, v.ring)
        for v in views
    ]


def trace(cam: Camera, scale: float = 1.0) -> tuple[View, np.ndarray, np.ndarray]:
    """(view, colors (h, w, 3) of 0..1, which object (h, w); -1 for none) at pixel centers."""
    h, w = cam.height, cam.width
    y, x = np.mgrid[0:h, 0:w] + 0.5
    local = np.stack([(x - cam.cx) / cam.fl_x, -(y - cam.cy) / cam.fl_y, -np.ones((h, w))], -1)
    rays = local @ cam.matrix[:3, :3].T  # planar depth 1
    eye = cam.matrix[:3, 3] / scale
    best = np.full((h, w), np.inf)
    normal, which = np.zeros((h, w, 3)), np.full((h, w), -1)
    for number, (*center, radius) in enumerate(BALLS):
        o = eye - center
        a, b, c = (rays**2).sum(-1), (rays * o).sum(-1), o @ o - radius**2
        root = b * b - a * c
        t = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
        hit = (t > 0) & (t < best)
        best, which = np.where(hit, t, best), np.where(hit, number, which)
        normal = np.where(
            hit[..., None], (eye + np.where(hit, t, 0)[..., None] * rays - center), normal
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (np.array(SLAB[0]) - eye) / rays, (np.array(SLAB[1]) - eye) / rays
    near, far = np.minimum(low, high), np.maximum(low, high)
    t, axis = near.max(-1), near.argmax(-1)
    hit = (t < far.min(-1)) & (t > 0) & (t < best)
    best, which = np.where(hit, t, best), np.where(hit, len(BALLS), which)
    side = np.take_along_axis(-np.sign(rays), axis[..., None], -1) * np.eye(3)[axis]
    normal = np.where(hit[..., None], side, normal)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    mask = which >= 0
    points = eye + np.where(mask, best, 0)[..., None] * rays
    depth = np.where(mask, best * scale, 1e10).astype(np.float32)
    view = View(cam, depth, normal.astype(np.float32))
    return view, np.where(mask[..., None], texture(points, which), 0), which


def texture(points: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Smooth colors on the surface; the small ball is red, so that bleeding shows."""
    waves = 0.45 + 0.25 * np.sin(3.0 * points + np.array([0.0, 1.0, 2.0]))
    red = np.array([0.95, 0.05, 0.05])
    return np.where((which == 1)[..., None], red, np.clip(waves, 0, 1))


def surface_points(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(positions, normals, which) spread over both balls."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    which = np.arange(count) % 2
    balls = np.array(BALLS)[which]
    return balls[:, :3] + normals * balls[:, 3:], normals, which


def write_run(root: Path, settings: Settings, size=(96, 96), **lens) -> tuple[Run, list[Frame]]:
    """A run folder after the turntable stage: frames, guides and cameras of the scene."""
    run = Run(root, 1)
    rings = [Ring(r.elevation, r.count) for r in all_rings(settings)]
    frames = orbit(rings, size=size, **lens)
    for frame in frames:
        view, colors, which = trace(frame.camera)
        alpha = np.where(view.mask, 255, 0).astype(np.uint8)
        write_png(run.frame(frame.frame), np.dstack([to_bytes(colors), alpha]))
        write_guide(run.guide(frame.frame), view, which)
    write_transforms(run.transforms_main, frames)
    return run, frames


def write_guide(path: Path, view: View, which: np.ndarray) -> None:
    """The view as Blender's multilayer EXR."""
    cam = view.camera
    h, w = view.depth.shape
    y, x = np.mgrid[0:h, 0:w] + 0.5
    world = cam.unproject(np.stack([x, y], -1), np.where(view.mask, view.depth, 0))
    channels = {
        "ViewLayer.Depth.Z": view.depth,
        "ViewLayer.IndexOB.X": which.astype(np.float32) + 1,
        "ViewLayer.IndexMA.X": np.where(which == 0, 2, 0).astype(np.float32),
    }
    for k, letter in enumerate("XYZ"):
        channels[f"ViewLayer.Normal.{letter}"] = view.normal[..., k]
        channels[f"ViewLayer.Position.{letter}"] = world[..., k].astype(np.float32)
    write_exr(path, channels)


def with_settings(**values) -> Settings:
    """Small settings for tests."""
    small = {"views": 12, "rings": "35:4", "keys": 6, "ring_keys": 2, "size": "96", "threads": 2}
    small |= {"propagator": "reproject", "stylizer": "preview"}
    return dataclasses.replace(Settings(), **(small | values))
