"""Tiny runs for the installed trainers, and independent readers of the data sets they get."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gs_diffusion_addon.core.cameras import Camera
from gs_diffusion_addon.core.dataset import Frame, read_transforms, write_transforms
from gs_diffusion_addon.core.exr import write_exr
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.engine.dataset import place_file

from .splat_helpers import write_dataset


def make_run(root: Path, views: int = 12, size: tuple[int, int] = (48, 40), **more) -> Run:
    """A run folder as the dataset stage leaves it: a sphere of radius 1, guides with its depth."""
    run = Run(root, 1)
    frames = write_dataset(run.gs, views=views, size=size, points=400, **more)
    write_transforms(run.transforms_main, frames)
    for f in frames:
        place_file(run.gs / f"{f.file_path}.png", run.stylized_frame(f.frame))
        write_exr(run.guide(f.frame), guide_of(f.camera))
    return run


def guide_of(camera: Camera) -> dict[str, np.ndarray]:
    """Channels of a guide: the planar depth of the unit sphere around the origin."""
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    near = camera.unproject(np.stack([x, y], -1), np.ones(x.shape)) - camera.position
    b = near @ camera.position
    a = (near**2).sum(-1)
    root = b * b - a * (camera.position @ camera.position - 1)
    depth = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, 1e10).astype(np.float32)
    zero = np.zeros_like(depth)
    out = {"Depth.Z": depth}
    for kind in ("Normal", "Position"):
        out |= {f"{kind}.{axis}": zero for axis in "XYZ"}
    out["IndexOB.X"] = (depth < 1e9).astype(np.float32)
    return out


def with_cameras(run: Run, change) -> Run:
    """Change all cameras of a run's transforms files with ``change(camera) -> Camera``."""
    for path in [run.transforms_main, *run.gs.glob("transforms_*.json")]:
        frames = read_transforms(path)
        write_transforms(path, [replace(f, camera=change(f.camera)) for f in frames])
    return run


@dataclass
class Posed:
    """An image as an independent reader sees it: name, size, K (3, 3), world-to-camera R, t."""

    name: str
    width: int
    height: int
    k: np.ndarray
    r: np.ndarray
    t: np.ndarray

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """World points (n, 3) -> pixels (n, 2)."""
        p = (points @ self.r.T + self.t) @ self.k.T
        return p[:, :2] / p[:, 2:]


def read_colmap_text(folder: Path) -> list[Posed]:
    """COLMAP's text format, written from its documentation ("Output format"), not from our writer.

    cameras.txt: CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]. images.txt, two lines an image:
    IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME, then POINTS2D[]. Poses map world to
    camera, x right, y down, z forward; comments begin with #.
    """
    cameras = {}
    for line in (folder / "cameras.txt").read_text(encoding="utf-8").split("\n"):
        if line and not line.startswith("#"):
            number, model, width, height, *params = line.split()
            assert model == "PINHOLE" and len(params) == 4
            fx, fy, cx, cy = map(float, params)
            k = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
            cameras[int(number)] = (int(width), int(height), k)
    out = []
    lines = [
        line
        for line in (folder / "images.txt").read_text(encoding="utf-8").split("\n")
        if not line.startswith("#")
    ]
    for head in lines[0 : len(lines) - 1 : 2]:
        _, qw, qx, qy, qz, tx, ty, tz, camera, name = head.split()
        q = np.array([float(qw), float(qx), float(qy), float(qz)])
        assert abs(np.linalg.norm(q) - 1) < 1e-9
        # Rodrigues' form of a unit quaternion: v + 2 w (u x v) + 2 u x (u x v)
        u = np.array([[0, -q[3], q[2]], [q[3], 0, -q[1]], [-q[2], q[1], 0]])
        r = np.eye(3) + 2 * q[0] * u + 2 * u @ u
        width, height, k = cameras[int(camera)]
        out.append(Posed(name, width, height, k, r, np.array([float(tx), float(ty), float(tz)])))
    return out


def frame_numbers(frames: list[Frame]) -> set[int]:
    """Frame numbers of a list of frames."""
    return {f.frame for f in frames}
