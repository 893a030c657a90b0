"""core/orbit.py: closed rings, framing that just fits, keyframes timed right for any pair of
numbers.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gs_diffusion_addon.core.cameras import Camera
from gs_diffusion_addon.core.orbit import framing_distance, key_frames, plan_keys, turntable
from gs_diffusion_addon.core.settings import Ring, Settings

CENTER = np.array([1.0, -2.0, 0.5])


@given(
    count=st.integers(1, 60),
    elevation=st.floats(-85, 85),
    distance=st.floats(0.01, 1000),
    start=st.floats(-180, 180),
)
def test_a_ring_is_closed_and_even(count, elevation, distance, start):
    views = turntable([Ring(elevation, count)], CENTER, distance, start)
    assert [v.frame for v in views] == list(range(count))
    places = np.array([v.matrix[:3, 3] for v in views]) - CENTER
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), distance, rtol=1e-9)
    heights = distance * math.sin(math.radians(elevation))
    np.testing.assert_allclose(places[:, 2], heights, atol=1e-9 * distance)
    steps = np.linalg.norm(np.roll(places, -1, axis=0) - places, axis=1)
    np.testing.assert_allclose(steps, steps[0], atol=1e-9 * distance)  # the last to the first, too


def test_front_view_first_then_counterclockwise():
    views = turntable([Ring(0.0, 4)], np.zeros(3), 2.0)
    places = np.array([v.matrix[:3, 3] for v in views])
    np.testing.assert_allclose(places, [(0, -2, 0), (2, 0, 0), (0, 2, 0), (-2, 0, 0)], atol=1e-12)


def test_start_turns_all_rings():
    plain = turntable([Ring(0.0, 6), Ring(30.0, 3)], CENTER, 2.0)
    turned = turntable([Ring(0.0, 6), Ring(30.0, 3)], CENTER, 2.0, start=40.0)
    for a, b in zip(plain, turned, strict=True):
        assert b.azimuth == pytest.approx(a.azimuth + 40)


def test_neighboring_rings_interleave():
    views = turntable([Ring(0.0, 6), Ring(30.0, 6)], CENTER, 2.0)
    assert [v.ring for v in views] == [0] * 6 + [1] * 6
    assert [v.frame for v in views] == list(range(12))
    assert views[6].azimuth == pytest.approx(30)


@given(
    seed=st.integers(0, 10_000),
    fl=st.floats(20, 500),
    shift=st.floats(-0.3, 0.3),
    margin=st.floats(1.0, 2.0),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_the_model_just_fits_all_views(seed, fl, shift, margin, scale):
    """Every point lands inside the picture's middle part, and one touches its border."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(40, 3)) * rng.uniform(0.1, 2, 3) * scale
    camera = Camera(96, 64, fl, 1.3 * fl, 96 * (0.5 + shift), 32, np.eye(4))
    rings = (Ring(5, 8), Ring(60, 3))
    rotations = [v.matrix[:3, :3] for v in turntable(rings, np.zeros(3), 1.0)]
    distance = framing_distance(points, rotations, camera, margin)
    worst = 0.0
    for view in turntable(rings, np.zeros(3), distance):
        pixels, depth = dataclasses.replace(camera, matrix=view.matrix).project(points)
        assert (depth > 0).all()
        room = (min(camera.cx, 96 - camera.cx), 32)
        worst = max(worst, float((np.abs(pixels - (camera.cx, 32)) / room).max()))
    assert worst == pytest.approx(1 / margin, rel=1e-6)


@given(count=st.integers(1, 500), keys=st.integers(1, 500), first=st.integers(0, 1000))
def test_keys_are_evenly_spread_over_the_loop(count, keys, first):
    frames = key_frames(count, keys, first)
    assert len(frames) == len(set(frames)) == min(keys, count)
    assert frames[0] == first and all(first <= f < first + count for f in frames)
    gaps = np.diff([*frames, first + count])
    assert gaps.max() - gaps.min() <= 1


def test_no_keys_on_a_ring():
    assert key_frames(12, 0, 30) == []


def test_plan_of_all_rings():
    settings = Settings(views=8, rings="30:4,-20:2", keys=4, ring_keys=2)
    assert plan_keys(settings) == [0, 2, 4, 6, 8, 10, 12, 13]
    none = Settings(views=8, rings="30:4", propagator="none")
    assert plan_keys(none) == list(range(12))
