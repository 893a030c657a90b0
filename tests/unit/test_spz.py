"""Our .spz files, read back by a decoder written from the format's description, and by
splat-transform.
"""

from __future__ import annotations

import dataclasses
import gzip
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.harmonics import basis, turned
from gs_diffusion_addon.core.ply import Splats, read_splats
from gs_diffusion_addon.core.spz import fraction_bits, morton, spz_bytes, write_spz

TOOL = Path(__file__).parents[2] / ".cache" / "node" / "node_modules" / ".bin" / "splat-transform"
UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # Blender's Z-up to Y-up


def model(count: int = 200, seed: int = 1) -> Splats:
    """Random splats that are all in range of the format."""
    rng = np.random.default_rng(seed)

    def floats(*shape: int, low: float = -1, high: float = 1) -> np.ndarray:
        return rng.uniform(low, high, shape).astype(np.float32)

    return Splats(
        floats(count, 3, low=-2, high=3),
        floats(count, 4, 3),
        floats(count, low=-4, high=4),
        floats(count, 3, low=-8, high=-2),
        floats(count, 4),
    )


def decoded(data: bytes) -> dict[str, np.ndarray]:
    """Y-up values of an .spz file, number by number."""
    raw = gzip.decompress(data)
    magic, version, count, degree, bits, *rest = struct.unpack_from("<IIIBBBB", raw)
    assert raw[:4] == b"NGSP" and magic == 0x5053474E and version == 2
    assert rest == [0, 0]  # not made with anti-aliasing; reserved
    more = (degree + 1) ** 2 - 1
    assert len(raw) == 16 + (19 + 3 * more) * count
    at = 16
    points = np.empty((count, 3))
    for k in range(3 * count):
        points.flat[k] = int.from_bytes(raw[at : at + 3], "little", signed=True) / 2**bits
        at += 3

    def plane(width: int) -> np.ndarray:
        nonlocal at
        out = np.frombuffer(raw, np.uint8, width * count, at).reshape(count, width) / 1.0
        at += width * count
        return out

    alpha, color, scale, xyz = plane(1)[:, 0], plane(3), plane(3), plane(3)
    xyz = xyz / 127.5 - 1
    w = np.sqrt(np.maximum(0, 1 - (xyz**2).sum(1)))
    return {
        "points": points,
        "alpha": alpha / 255,
        "color": (color / 255 - 0.5) / 0.15,
        "scale": scale / 16 - 10,
        "quat": np.column_stack([w, xyz]),
        "more": (plane(3 * more).reshape(count, more, 3) - 128) / 128,
    }


def matrices(quats: np.ndarray) -> np.ndarray:
    """Rotation matrices of w, x, y, z."""
    w, x, y, z = (quats / np.linalg.norm(quats, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1)


def covariances(quats: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Shapes of the splats, scaled to their longest axis."""
    spread = np.exp(scales - scales.max(1, keepdims=True))
    axes = matrices(quats) * spread[:, None, :]
    return axes @ axes.transpose(0, 2, 1)


@pytest.mark.parametrize("size", [1, 2.6])  # the larger one needs all of the 24 bits
def test_a_model_survives_up_to_the_format_s_steps(size):
    splats = model()
    splats = dataclasses.replace(splats, means=splats.means * np.float32(size))
    found, order = decoded(spz_bytes(splats)), np.argsort(morton(splats.means), kind="stable")
    np.testing.assert_allclose(found["points"], splats.means[order] @ UP.T, atol=1e-6)
    np.testing.assert_allclose(
        found["alpha"], 1 / (1 + np.exp(-splats.opacities[order])), atol=2e-3
    )
    np.testing.assert_allclose(found["color"], splats.sh[order, 0], atol=0.0131)
    np.testing.assert_allclose(found["scale"], splats.scales[order], atol=1 / 32 + 1e-6)
    ours = covariances(found["quat"], splats.scales[order].astype(float))
    truth = covariances(splats.quats[order].astype(float), splats.scales[order].astype(float))
    # A byte a component and w from the others: the rotation is off by up to five degrees.
    np.testing.assert_allclose(ours, UP @ truth @ UP.T, atol=0.1)


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_view_dependent_color_is_turned_with_the_model(degree):
    splats, count = model(), (degree + 1) ** 2
    small = np.random.default_rng(3).uniform(-0.35, 0.35, (splats.count, count, 3))
    splats = dataclasses.replace(splats, sh=small.astype(np.float32))
    found, order = decoded(spz_bytes(splats)), np.argsort(morton(splats.means), kind="stable")
    directions = np.random.default_rng(4).normal(size=(20, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    seen = basis(directions @ UP.T, degree)[:, 1:] @ found["more"]
    truth = basis(directions, degree)[:, 1:] @ splats.sh[order, 1:].astype(float)
    # Half a step of each harmonic: 0.5/128 of degree 1, 1/128 of the others.
    worst = [0, 0.0035, None, 0.05][degree]
    np.testing.assert_allclose(seen, truth, atol=worst + 1e-6)
    assert np.sqrt(np.mean((seen - truth) ** 2)) < [1e-6, 0.0018, None, 0.008][degree]


def test_the_same_model_gives_the_same_bytes_and_little_of_them(tmp_path):
    splats = model(5000)
    write_spz(tmp_path / "a.spz", splats)
    data = spz_bytes(splats)
    assert (tmp_path / "a.spz").read_bytes() == data
    assert data[4:8] == bytes(4)  # no time in gzip's header
    plain = dataclasses.replace(splats, sh=splats.sh[:, :1])
    assert len(spz_bytes(plain)) < 20 * splats.count
    assert len(spz_bytes(splats)) < 29 * splats.count


def test_neighbors_in_the_file_are_neighbors_in_space():
    points = model(2000).means
    along = points[np.argsort(morton(points), kind="stable")]
    steps, anyhow = (np.linalg.norm(np.diff(p, axis=0), axis=1).mean() for p in (along, points))
    assert steps < 0.2 * anyhow


def test_unusable_splats_are_left_out():
    splats = model(10)
    means = splats.means.copy()
    means[3] = np.nan
    broken = dataclasses.replace(splats, means=means)
    assert len(decoded(spz_bytes(broken))["alpha"]) == 9
    with pytest.raises(InputError, match="no splat"):
        spz_bytes(dataclasses.replace(splats, means=np.full_like(means, np.nan)))


@given(st.floats(1e-9, 8e6))
def test_every_coordinate_fits(largest):
    whole = round(largest * 2 ** fraction_bits(largest))
    assert whole < 2**23
    assert fraction_bits(largest) in (20, int(np.floor(np.log2((2**23 - 0.5) / largest))))


def test_a_model_too_far_away_is_refused():
    with pytest.raises(InputError, match="too far"):
        fraction_bits(1e8)


@pytest.mark.skipif(
    not TOOL.exists() or shutil.which("node") is None,
    reason="@playcanvas/splat-transform is not installed (needs node; tools/setup.sh --test)",
)
def test_splat_transform_reads_the_same(tmp_path):
    splats = model()
    write_spz(tmp_path / "a.spz", splats)
    command = [str(TOOL), "-q", "a.spz", "b.ply"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    found, order = read_splats(tmp_path / "b.ply"), np.argsort(morton(splats.means), kind="stable")
    down = np.diag([1.0, -1, -1]) @ UP  # a .ply has Y down by the field's custom
    np.testing.assert_allclose(found.means, splats.means[order] @ down.T, atol=1e-5)
    np.testing.assert_allclose(found.scales, splats.scales[order], atol=1 / 32 + 1e-5)
    sh = turned(splats.sh[order], down)
    np.testing.assert_allclose(found.sh[:, 1:], np.clip(sh[:, 1:], -1, 1), atol=1.1 / 128)
    ours = covariances(found.quats.astype(float), splats.scales[order].astype(float))
    truth = covariances(splats.quats[order].astype(float), splats.scales[order].astype(float))
    np.testing.assert_allclose(ours, down @ truth @ down.T, atol=0.1)
