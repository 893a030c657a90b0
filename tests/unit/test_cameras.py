"""core/cameras.py against projections written out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gs_diffusion_addon.core.cameras import Camera, from_projection, look_at, orthonormal

coordinate = st.floats(-5, 5)
point = st.tuples(coordinate, coordinate, coordinate)


def at_origin(**values) -> Camera:
    base = {"width": 100, "height": 80, "fl_x": 90.0, "fl_y": 70.0, "cx": 40.0, "cy": 45.0}
    return Camera(**{**base, "matrix": np.eye(4), **values})


def test_projection_by_hand():
    """Camera at the origin looks along -Z, +Y up: a point up and right of the axis."""
    pixels, depth = at_origin().project((1.0, 2.0, -4.0))
    np.testing.assert_allclose(pixels, (40 + 90 / 4, 45 - 70 * 2 / 4))
    assert depth == 4


def test_behind_the_camera_is_nan():
    pixels, depth = at_origin().project([(0, 0, 1), (0, 0, 0), (0, 0, -1)])
    assert np.isnan(pixels[:2]).all() and np.isfinite(pixels[2]).all()
    assert depth.tolist() == [-1, 0, 1]


@given(eye=point, target=point, pixel=st.tuples(st.floats(0, 100), st.floats(0, 80)))
def test_unproject_is_the_inverse_of_project(eye, target, pixel):
    assume(np.linalg.norm(np.subtract(eye, target)) > 1e-2)
    camera = at_origin(matrix=look_at(eye, target))
    back, depth = camera.project(camera.unproject(pixel, 3.0))
    np.testing.assert_allclose(back, pixel, atol=1e-7)
    assert depth == pytest.approx(3.0)


@given(eye=point, target=point)
def test_look_at_sees_its_target_upright(eye, target):
    assume(np.hypot(eye[0] - target[0], eye[1] - target[1]) > 1e-2)
    camera = at_origin(matrix=look_at(eye, target))
    np.testing.assert_allclose(
        camera.matrix[:3, :3] @ camera.matrix[:3, :3].T, np.eye(3), atol=1e-9
    )
    assert np.linalg.det(camera.matrix[:3, :3]) == pytest.approx(1)
    pixels, depth = camera.project(target)
    np.testing.assert_allclose(pixels, (40, 45), atol=1e-6)
    assert depth == pytest.approx(np.linalg.norm(np.subtract(eye, target)))
    above, _ = camera.project(np.add(target, (0, 0, 1e-3)))
    assert above[1] < pixels[1] and above[0] == pytest.approx(pixels[0], abs=1e-6)


@pytest.mark.parametrize("up", [3.0, -3.0])
def test_look_straight_down_or_up_is_still_a_rotation(up):
    matrix = look_at((1, 1, up), (1, 1, 0))
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
    pixels, _ = at_origin(matrix=matrix).project((1, 1, 0))
    np.testing.assert_allclose(pixels, (40, 45), atol=1e-9)


@given(
    sides=st.tuples(*[st.floats(0.1, 2) for _ in range(4)]),
    size=st.sampled_from([(64, 64), (80, 48)]),
)
def test_from_projection_of_an_off_center_frustum(sides, size):
    """glFrustum's matrix, and the window its corners must land on."""
    left, right, bottom, top = -sides[0], sides[1], -sides[2], sides[3]
    near, far = 0.5, 100.0
    projection = np.array(
        [
            [2 * near / (right - left), 0, (right + left) / (right - left), 0],
            [0, 2 * near / (top - bottom), (top + bottom) / (top - bottom), 0],
            [0, 0, -(far + near) / (far - near), -2 * far * near / (far - near)],
            [0, 0, -1, 0],
        ]
    )
    camera = from_projection(projection, *size, np.eye(4))
    corners = [(left, top, -near), (right, bottom, -near)]
    pixels, _ = camera.project(corners)
    np.testing.assert_allclose(pixels, [(0, 0), size], atol=1e-6)


@given(
    eye=point,
    target=point,
    scale=st.tuples(*[st.floats(0.1, 10) for _ in range(3)]),
)
def test_orthonormal_takes_scale_out(eye, target, scale):
    assume(np.linalg.norm(np.subtract(eye, target)) > 1e-2)
    pose = look_at(eye, target)
    np.testing.assert_allclose(orthonormal(pose @ np.diag([*scale, 1.0])), pose, atol=1e-9)


def test_orthonormal_takes_mirroring_out():
    out = orthonormal(np.diag([1.0, -1.0, 1.0, 1.0]))
    assert np.linalg.det(out[:3, :3]) == pytest.approx(1)
    np.testing.assert_allclose(out[:3, 2], (0, 0, 1))


def test_angle_and_centered():
    camera = at_origin(fl_x=50.0, fl_y=50.0, cx=50.0, cy=40.0)
    assert camera.angle_x == pytest.approx(math.pi / 2)
    assert camera.centered
    assert not at_origin(fl_x=50.0, fl_y=50.0, cx=51.0, cy=40.0).centered
    assert not at_origin(fl_x=50.0, fl_y=51.0, cx=50.0, cy=40.0).centered
