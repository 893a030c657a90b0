"""core/ply.py against plyfile, an independent reader and writer."""

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from gs_diffusion_addon.core.ply import (
    Points,
    Splats,
    read_points,
    read_splats,
    write_points,
    write_splats,
)

RNG = np.random.default_rng(5)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("degree", range(5))
def test_plyfile_reads_our_splats(tmp_path, degree):
    k = (degree + 1) ** 2
    splats = Splats(normal(50, 3), normal(50, k, 3), normal(50), normal(50, 3), normal(50, 4))
    write_splats(tmp_path / "a.ply", splats)
    data = PlyData.read(tmp_path / "a.ply")
    vertex = data["vertex"]
    assert [e.name for e in data.elements] == ["vertex"] and vertex.count == 50
    np.testing.assert_array_equal(np.stack([vertex[n] for n in "xyz"], 1), splats.means)
    np.testing.assert_array_equal(vertex["opacity"], splats.opacities)
    for c in range(3):
        np.testing.assert_array_equal(vertex[f"f_dc_{c}"], splats.sh[:, 0, c])
        np.testing.assert_array_equal(vertex[f"scale_{c}"], splats.scales[:, c])
        for n in range(k - 1):
            np.testing.assert_array_equal(
                vertex[f"f_rest_{c * (k - 1) + n}"], splats.sh[:, n + 1, c]
            )
    for c in range(4):
        np.testing.assert_array_equal(vertex[f"rot_{c}"], splats.quats[:, c])


@pytest.mark.parametrize(("text", "byte_order"), [(False, "<"), (False, ">"), (True, "<")])
def test_we_read_plyfiles_splats_of_mixed_types(tmp_path, text, byte_order):
    names = [*"zyx", "rot_3", "rot_1", "rot_0", "rot_2", "opacity", "f_dc_2", "f_dc_1", "f_dc_0"]
    names += ["scale_1", "scale_0", "scale_2", *(f"f_rest_{k}" for k in reversed(range(9)))]
    kinds = ["f8" if k % 3 == 0 else "f4" for k in range(len(names))]
    table = np.zeros(20, [*zip(names, kinds, strict=True), ("flag", "u1")])
    for name in names:
        table[name] = normal(20)
    PlyData([PlyElement.describe(table, "vertex")], text=text, byte_order=byte_order).write(
        tmp_path / "a.ply"
    )
    splats = read_splats(tmp_path / "a.ply")
    np.testing.assert_allclose(splats.means[:, 2], table["z"], rtol=1e-6)
    np.testing.assert_allclose(splats.quats[:, 3], table["rot_3"], rtol=1e-6)
    np.testing.assert_allclose(splats.scales[:, 1], table["scale_1"], rtol=1e-6)
    np.testing.assert_allclose(splats.sh[:, 3, 1], table["f_rest_5"], rtol=1e-6)


def test_points_both_ways(tmp_path):
    points = Points(normal(30, 3), normal(30, 3), RNG.integers(0, 256, (30, 3), dtype=np.uint8))
    write_points(tmp_path / "p.ply", points)
    vertex = PlyData.read(tmp_path / "p.ply")["vertex"]
    np.testing.assert_array_equal(vertex["ny"], points.normals[:, 1])
    np.testing.assert_array_equal(vertex["blue"], points.colors[:, 2])
    PlyData.read(tmp_path / "p.ply").write(tmp_path / "q.ply")
    np.testing.assert_array_equal(read_points(tmp_path / "q.ply").positions, points.positions)
