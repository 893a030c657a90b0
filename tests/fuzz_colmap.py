"""Readers under damage: each file of a COLMAP model, binary and text."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from gs_diffusion_addon.core import colmap
from gs_diffusion_addon.core.cameras import Camera, look_at
from gs_diffusion_addon.core.ply import Points

from .fuzzing import Reader

_NAMES = ("cameras", "images", "points3D")


def _model(text: bool) -> dict[str, bytes]:
    """The files of a small model, by name."""
    cameras = [Camera(40, 30, 50.0, 51.0, 20, 15, look_at((k, 2, 3), (0, 0, 0))) for k in range(3)]
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    with TemporaryDirectory() as name:
        folder = Path(name)
        colmap.write_cameras(folder, [(f"r_{k}.png", c) for k, c in enumerate(cameras)], text)
        colmap.write_points3d(folder, Points(rows, rows, rows.astype(np.uint8)), text)
        return {p.name: p.read_bytes() for p in folder.iterdir()}


def _foreign(files: dict[str, bytes], name: str) -> list[bytes]:
    """A text file as COLMAP itself writes it, with comments, tracks and two-dimensional points."""
    if name == "images.txt":
        return [files[name], b"# Image list\n7 1 0 0 0 .5 0 4 1 a b.jpg\n3.5 4.5 -1 1 2 63\n"]
    if name == "points3D.txt":
        return [files[name], b"# POINT3D_ID\n63 1.6 -2.1e-3 4 115 121 122 0.8 16 652 15 75\n"]
    return [files[name], b"# Camera list\n1 SIMPLE_PINHOLE 40 30 50 20 15\n2 OPENCV 4 3 5 5\n"]


def _read(name: str, files: dict[str, bytes]) -> Callable[[bytes, Path], Any]:
    def from_bytes(data: bytes, path: Path) -> Any:
        folder = path.with_name(path.name + "-model")
        folder.mkdir(exist_ok=True)
        try:
            for other, content in files.items():
                (folder / other).write_bytes(data if other == name else content)
            if name.startswith("points3D"):
                return colmap.read_points3d(folder / name)
            return colmap.read_frames(folder)
        finally:
            shutil.rmtree(folder)

    return from_bytes


def _check_points(points: Points) -> str | None:
    same = points.positions.shape == points.colors.shape == points.normals.shape
    return None if same and points.positions.shape[1:] == (3,) else "its parts differ in length"


def colmap_readers(check_frames: Callable[[Any], str | None]) -> list[Reader]:
    """Readers of cameras, images and points3D, each beside undamaged others."""
    readers = []
    for ending in (".bin", ".txt"):
        files = _model(ending == ".txt")
        for stem in _NAMES:
            name = stem + ending
            seeds = _foreign(files, name) if ending == ".txt" else [files[name]]
            check = _check_points if stem == "points3D" else check_frames
            readers.append(Reader(f"COLMAP's {name}", seeds, _read(name, files), check))
    return readers
