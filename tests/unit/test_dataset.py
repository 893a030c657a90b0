"""transforms*.json and the split."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gs_diffusion_addon.core.cameras import Camera, look_at
from gs_diffusion_addon.core.dataset import Frame, read_transforms, split_frames, write_transforms
from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.orbit import key_frames


def frames(count=3):
    out = []
    for k in range(count):
        pose = look_at((3 * np.cos(k), 3 * np.sin(k), 1.0), (0, 0, 0.5))
        out.append(
            Frame(f"./train_main/r_{k}", Camera(64, 48, 70.0, 80.0, 30.0, 25.0, pose), k, k % 2)
        )
    return out


def test_round_trip_is_exact(tmp_path):
    path = tmp_path / "t.json"
    write_transforms(path, frames())
    for a, b in zip(frames(), read_transforms(path), strict=True):
        assert (a.file_path, a.frame, a.ring) == (b.file_path, b.frame, b.ring)
        assert (a.camera.fl_x, a.camera.cy, a.camera.width) == (
            b.camera.fl_x,
            b.camera.cy,
            b.camera.width,
        )
        np.testing.assert_allclose(a.camera.matrix, b.camera.matrix, atol=1e-15)
    data = json.loads(path.read_text())
    assert data["camera_angle_x"] == pytest.approx(2 * np.arctan(32 / 70))


def test_mixed_intrinsics_are_refused(tmp_path):
    other = Frame("x", Camera(64, 48, 71.0, 80.0, 30.0, 25.0, np.eye(4)))
    with pytest.raises(InputError):
        write_transforms(tmp_path / "t.json", [*frames(1), other])


GOOD = {"camera_angle_x": 0.7, "w": 8, "h": 8}


@pytest.mark.parametrize(
    "data",
    [
        [],
        {},
        {"frames": 3},
        {**GOOD, "frames": [1]},
        {**GOOD, "frames": [{"file_path": "a"}]},
        {**GOOD, "frames": [{"file_path": "a", "transform_matrix": [[1]]}]},
        {**GOOD, "frames": [{"file_path": "a", "transform_matrix": np.zeros((4, 4)).tolist()}]},
        {**GOOD, "frames": [{"file_path": 7, "transform_matrix": np.eye(4).tolist()}]},
        {"frames": [{"file_path": "a", "transform_matrix": np.eye(4).tolist()}]},
        {"w": 8, "h": 8, "frames": [{"file_path": "a", "transform_matrix": np.eye(4).tolist()}]},
        {
            **GOOD,
            "fl_x": "x",
            "frames": [{"file_path": "a", "transform_matrix": np.eye(4).tolist()}],
        },
    ],
)
def test_bad_files_give_a_sentence(tmp_path, data):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"t\.json"):
        read_transforms(path)


@given(st.integers(8, 200), st.lists(st.integers(1, 40), max_size=3), st.integers(0, 99))
def test_the_split_is_a_partition_with_even_test_views(views, more, seed):
    rings = [0] * views + [k + 1 for k, n in enumerate(more) for _ in range(n)]
    train, val, test = split_frames(rings, (0.8, 0.05, 0.15), seed)
    assert sorted(train + val + test) == list(range(len(rings)))
    on_ring = [k for k in test if rings[k] == 0]
    assert len(on_ring) >= min(8, views // 3)
    gaps = np.diff([*on_ring, on_ring[0] + views])
    assert gaps.max() - gaps.min() <= 1
    assert {rings[k] for k in test} == set(rings)
    assert split_frames(rings, (0.8, 0.05, 0.15), seed) == (train, val, test)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 50))
def test_keys_are_evenly_spread_around_the_closed_ring(count, keys, first):
    frames = key_frames(count, keys, first)
    assert len(set(frames)) == min(keys, count)
    gaps = np.diff([*frames, frames[0] + count])
    assert frames[0] == first and gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("shares", [(0.05, 0, 0.95), (0.01, 0.01, 0.98), (0.01, 0.99, 0)])
def test_there_is_always_a_view_to_train_with(shares):
    train, val, test = split_frames([0] * 8 + [1], shares, 0)
    assert train
    assert sorted([*train, *val, *test]) == list(range(9))
