"""Sentences about damaged or unusual files: each is said when its reason is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gs_diffusion_addon.core import exr, ply, ply_format, splat_tools, upstream
from tests.said import Table
from tests.trainers.standins import write_program
from tests.unit.test_ply import compressed, random_splats

TABLE = Table()
says = TABLE.says


@says("cannot be read: ")
def _(tmp_path, monkeypatch):
    exr.read_exr(tmp_path)


def splat_file(path: Path, old: bytes, new: bytes, degree: int = 1) -> Path:
    """A splat file with some of its bytes changed."""
    ply.write_splats(path, random_splats(4, degree, 0))
    path.write_bytes(path.read_bytes().replace(old, new))
    return path


@says("has 9 f_rest properties but no f_rest_8")
def _(tmp_path, monkeypatch):
    ply.read_splats(splat_file(tmp_path / "a.ply", b"f_rest_8", b"f_rest_9"))


@says("damaged compressed splat file: its 'sh' does not match")
def _(tmp_path, monkeypatch):
    (tmp_path / "c.ply").write_bytes(compressed(10).replace(b"element sh 10", b"element sh 9"))
    ply.read_splats(tmp_path / "c.ply")


@says("could not be read to its end")
def _(tmp_path, monkeypatch):
    monkeypatch.setattr(ply_format.np, "fromfile", lambda file, dtype, count: np.empty(0, dtype))
    ply.read_splats(splat_file(tmp_path / "a.ply", b"", b""))


def ascii_points(path: Path, rows: str, more: str = "") -> Path:
    """Two points as text."""
    head = "ply\nformat ascii 1.0\nelement vertex 2\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz") + more
    path.write_text(f"{head}end_header\n{rows}")
    return path


@says("is cut off: its rows of 'vertex' end early")
def _(tmp_path, monkeypatch):
    ply.read_points(ascii_points(tmp_path / "p.ply", "0 0 0\n0.000000000000 0\n"))


@says("rows of wrong length or words that are no numbers")
def _(tmp_path, monkeypatch):
    ply.read_points(ascii_points(tmp_path / "p.ply", "0 0 0\n0 one 0\n"))


@says("has rows of varying length where splats or points would stand")
def _(tmp_path, monkeypatch):
    more = "property list uchar int who\n"
    ply.read_points(ascii_points(tmp_path / "p.ply", "0 0 0 1 7\n0 0 0 0\n", more))


@says("a.ply does not exist")
def _(tmp_path, monkeypatch):
    splat_tools.convert(tmp_path / "a.ply", tmp_path / "a.sog")


@says("splat-transform failed: no such luck")
def _(tmp_path, monkeypatch):
    tool = write_program(tmp_path / "tool", "echo no such luck >&2; exit 1")
    monkeypatch.setattr(splat_tools, "splat_transform", lambda: [str(tool)])
    source = splat_file(tmp_path / "a.ply", b"", b"")
    splat_tools.convert(source, tmp_path / "a.sog")


@says("splat-transform was not done with a.ply")
def _(tmp_path, monkeypatch):
    tool = write_program(tmp_path / "tool", "exec sleep 300")
    monkeypatch.setattr(splat_tools, "splat_transform", lambda: [str(tool)])
    monkeypatch.setattr(splat_tools, "CONVERT_SECONDS", 0.2)
    splat_tools.convert(splat_file(tmp_path / "a.ply", b"", b""), tmp_path / "a.sog")


def transforms(root: Path, text: str) -> Path:
    """A folder with a transforms.json of these words."""
    (root / "transforms.json").write_text(text)
    return root


@says("cannot be read as JSON")
def _(tmp_path, monkeypatch):
    upstream.find(transforms(tmp_path, "{"))


@says("frame 0 has no file_path")
def _(tmp_path, monkeypatch):
    upstream.find(transforms(tmp_path, '{"frames": [{}]}'))


@says("its frames were taken through different lenses")
def _(tmp_path, monkeypatch):
    data = {"frames": [{"k1": 0.1}, {"k1": 0.2}]}
    upstream.lens_of(tmp_path / "transforms.json", data)


@pytest.mark.parametrize("words", TABLE)
def test_it_is_said(words, tmp_path, monkeypatch):
    TABLE.check(words, tmp_path, monkeypatch)
