"""Geometry shared by projection and its backward pass: camera space, rotations, the local affine
map. All but the camera are vectors: 16 splats at once.

Notation of Zwicker et al., "EWA Splatting" (2002), as used by Kerbl et al. (2023): a splat with
rotation R and scales S has the covariance R S S^T R^T; seen through the Jacobian J of the
perspective projection and the camera's rotation W it becomes J W R S (J W R S)^T on the screen.
"""

from __future__ import annotations

from .functions import root
from .jit import CX, CY, FX, FY, JACOBIAN_LIMIT, POSITION, ROTATION, TRANSLATION, inlined
from .vectors import greater, smaller, spread, where_below


@inlined
def to_camera(camera, x, y, z):  # type: ignore[no-untyped-def]
    """World point -> camera space in OpenCV axes (x right, y down, z forward)."""
    r, t = ROTATION, TRANSLATION
    return (
        camera[r + 0] * x + camera[r + 1] * y + camera[r + 2] * z + camera[t + 0],
        camera[r + 3] * x + camera[r + 4] * y + camera[r + 5] * z + camera[t + 1],
        camera[r + 6] * x + camera[r + 7] * y + camera[r + 8] * z + camera[t + 2],
    )


@inlined
def rotate_back(camera, x, y, z):  # type: ignore[no-untyped-def]
    """A gradient by camera-space position -> by world position (the rotation's transpose)."""
    r = ROTATION
    return (
        camera[r + 0] * x + camera[r + 3] * y + camera[r + 6] * z,
        camera[r + 1] * x + camera[r + 4] * y + camera[r + 7] * z,
        camera[r + 2] * x + camera[r + 5] * y + camera[r + 8] * z,
    )


@inlined
def rotation_matrix(w, x, y, z):  # type: ignore[no-untyped-def]
    """Rotation of the unit quaternion w, x, y, z, row by row."""
    return (
        1.0 - 2.0 * (y * y + z * z),
        2.0 * (x * y - w * z),
        2.0 * (x * z + w * y),
        2.0 * (x * y + w * z),
        1.0 - 2.0 * (x * x + z * z),
        2.0 * (y * z - w * x),
        2.0 * (x * z - w * y),
        2.0 * (y * z + w * x),
        1.0 - 2.0 * (x * x + y * y),
    )


@inlined
def inverse_norm4(w, x, y, z):  # type: ignore[no-untyped-def]
    """1 / length of a quaternion; a zero quaternion counts as one of length 1e-12."""
    return 1.0 / root(greater(w * w + x * x + y * y + z * z, 1e-24))


@inlined
def clamped_slope(slope, focal, principal, size):  # type: ignore[no-untyped-def]
    """x/z (or y/z) limited to the picture plus 0.3 tan(fov/2), and 1 where it was not limited.

    The limit is gsplat's, which is Kerbl et al.'s 1.3 tan(fov/2) when the principal point lies
    in the middle. Beyond it the affine map of a splat near the camera plane would grow without
    bounds. ``principal`` is a pixel index: the border lies at -0.5 and size - 0.5.
    """
    extra = JACOBIAN_LIMIT * 0.5 * size / focal
    low = -(principal + 0.5) / focal - extra
    high = (size - 0.5 - principal) / focal + extra
    free = where_below(where_below(spread(1.0), slope, high), spread(low), slope)
    return smaller(greater(slope, low), high), free


@inlined
def screen_map(camera, slope_x, slope_y, depth):  # type: ignore[no-untyped-def]
    """J W, the (2, 3) affine map from a world offset at ``depth`` to pixels, row by row."""
    r = ROTATION
    xx, xz = camera[FX] / depth, -camera[FX] * slope_x / depth
    yy, yz = camera[FY] / depth, -camera[FY] * slope_y / depth
    return (
        xx * camera[r + 0] + xz * camera[r + 6],
        xx * camera[r + 1] + xz * camera[r + 7],
        xx * camera[r + 2] + xz * camera[r + 8],
        yy * camera[r + 3] + yz * camera[r + 6],
        yy * camera[r + 4] + yz * camera[r + 7],
        yy * camera[r + 5] + yz * camera[r + 8],
    )


@inlined
def to_pixel(camera, x, y, z):  # type: ignore[no-untyped-def]
    """Camera-space point -> pixel index coordinates (a pixel's center has whole numbers)."""
    return camera[FX] * x / z + camera[CX], camera[FY] * y / z + camera[CY]


@inlined
def direction_from(camera, x, y, z):  # type: ignore[no-untyped-def]
    """Unit vector from the camera to a world point, and 1 / the distance."""
    x, y, z = x - camera[POSITION], y - camera[POSITION + 1], z - camera[POSITION + 2]
    length = 1.0 / root(greater(x * x + y * y + z * z, 1e-24))
    return x * length, y * length, z * length, length
