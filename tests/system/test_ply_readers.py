"""The result .ply in an independent reader: the same count and the same values.

(``plyfile``, the other one, is asked in tests/engine/test_ply_plyfile.py.)
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from gs_diffusion_addon.core.ply import Splats, read_splats, write_splats

from .program import ROOT

TOOL = ROOT / ".cache" / "node" / "node_modules" / ".bin" / "splat-transform"


@pytest.mark.skipif(
    not TOOL.exists() or shutil.which("node") is None,
    reason="@playcanvas/splat-transform is not installed (needs node; tools/setup.sh --test)",
)
def test_splat_transform_reads_the_same_values(finished, tmp_path):
    table = tmp_path / "splats.csv"
    source = finished / "splat_iter1.ply"
    subprocess.run([str(TOOL), "-q", str(source), str(table)], check=True, capture_output=True)
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    splats = read_splats(source)
    assert len(rows) == splats.count > 0

    def columns(*names: str) -> np.ndarray:
        return np.array([[float(row[n]) for n in names] for row in rows])

    coefficients = splats.sh.shape[1]
    np.testing.assert_allclose(columns("x", "y", "z"), splats.means, rtol=1e-6)
    for k in range(coefficients):
        names = [f"f_dc_{c}" for c in range(3)]
        if k:
            names = [f"f_rest_{c * (coefficients - 1) + k - 1}" for c in range(3)]
        np.testing.assert_allclose(columns(*names), splats.sh[:, k], rtol=1e-6)
    np.testing.assert_allclose(columns("opacity")[:, 0], splats.opacities, rtol=1e-6)
    np.testing.assert_allclose(columns("scale_0", "scale_1", "scale_2"), splats.scales, rtol=1e-6)
    np.testing.assert_allclose(columns("rot_0", "rot_1", "rot_2", "rot_3"), splats.quats, rtol=1e-6)


def _tool() -> str | None:
    """splat-transform: the one named by GSD_SPLAT_TRANSFORM, else the checkout's."""
    return shutil.which(os.environ.get("GSD_SPLAT_TRANSFORM", "")) or shutil.which(str(TOOL))


@pytest.mark.skipif(
    _tool() is None or shutil.which("node") is None, reason="splat-transform is not installed"
)
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_splat_transform_reads_every_degree(degree, tmp_path):
    rng = np.random.default_rng(degree)
    count, coefficients = 37, (degree + 1) ** 2
    shapes = ((count, 3), (count, coefficients, 3), (count,), (count, 3), (count, 4))
    splats = Splats(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))
    source, table = tmp_path / "s.ply", tmp_path / "s.csv"
    write_splats(source, splats)
    subprocess.run([_tool(), "-q", str(source), str(table)], check=True, capture_output=True)
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count
    assert sum(name.startswith("f_rest_") for name in rows[0]) == 3 * (coefficients - 1)
    for c in range(3):
        for k in range(coefficients):
            name = f"f_rest_{c * (coefficients - 1) + k - 1}" if k else f"f_dc_{c}"
            values = [float(row[name]) for row in rows]
            np.testing.assert_allclose(values, splats.sh[:, k, c], rtol=1e-6)
    np.testing.assert_allclose([float(r["scale_2"]) for r in rows], splats.scales[:, 2], rtol=1e-6)
    np.testing.assert_allclose([float(r["rot_0"]) for r in rows], splats.quats[:, 0], rtol=1e-6)


EXPORT = """
import os, sys
from pathlib import Path
import bpy
from gs_diffusion_addon.scene.splat_edit import export_splat
from gs_diffusion_addon.scene.splat_import import import_splat
item = import_splat(Path(sys.argv[1]))
item.location.x = 2
bpy.context.view_layer.update()
export_splat(item, Path(sys.argv[2]))
os._exit(0)
"""


@pytest.mark.skipif(
    _tool() is None or shutil.which("node") is None, reason="splat-transform is not installed"
)
def test_splat_transform_reads_an_export_of_blenders(tmp_path):
    rng = np.random.default_rng(3)
    shapes = ((37, 3), (37, 16, 3), (37,), (37, 3), (37, 4))
    splats = Splats(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))
    source, out, table = (tmp_path / n for n in ("s.ply", "out.ply", "out.csv"))
    write_splats(source, splats)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", EXPORT, source, out], check=True, env=environment)
    subprocess.run([_tool(), "-q", str(out), str(table)], check=True, capture_output=True)
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    xs = [float(r["x"]) for r in rows]
    np.testing.assert_allclose(xs, splats.means[:, 0] + 2, rtol=1e-6, atol=1e-6)
    rest = [float(r["f_rest_44"]) for r in rows]
    np.testing.assert_allclose(rest, splats.sh[:, 15, 2], rtol=1e-5, atol=1e-6)
