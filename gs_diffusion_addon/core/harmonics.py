"""Real spherical harmonics in 3DGS' order and signs, and how their coefficients turn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DEGREES = 4
"""Highest degree known here."""


def basis(directions: npt.ArrayLike, degree: int) -> Floats:
    """(N, (degree + 1)²) values of the harmonics in unit ``directions`` (N, 3).

    Signs and order are those of the 3DGS rasterizer (degrees 0 to 3) and of PlenOctrees (4).
    """
    x, y, z = np.asarray(directions, np.float64).T
    xx, yy, zz = x * x, y * y, z * z
    xy, yz, xz = x * y, y * z, x * z
    values = [
        np.full_like(x, 0.28209479177387814),
        -0.4886025119029199 * y,
        0.4886025119029199 * z,
        -0.4886025119029199 * x,
        1.0925484305920792 * xy,
        -1.0925484305920792 * yz,
        0.31539156525252005 * (2 * zz - xx - yy),
        -1.0925484305920792 * xz,
        0.5462742152960396 * (xx - yy),
        -0.5900435899266435 * y * (3 * xx - yy),
        2.890611442640554 * xy * z,
        -0.4570457994644658 * y * (4 * zz - xx - yy),
        0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
        -0.4570457994644658 * x * (4 * zz - xx - yy),
        1.445305721320277 * z * (xx - yy),
        -0.5900435899266435 * x * (xx - 3 * yy),
        2.5033429417967046 * xy * (xx - yy),
        -1.7701307697799304 * yz * (3 * xx - yy),
        0.9461746957575601 * xy * (7 * zz - 1),
        -0.6690465435572892 * yz * (7 * zz - 3),
        0.10578554691520431 * (zz * (35 * zz - 30) + 3),
        -0.6690465435572892 * xz * (7 * zz - 3),
        0.47308734787878004 * (xx - yy) * (7 * zz - 1),
        -1.7701307697799304 * xz * (xx - 3 * yy),
        0.6258357354491761 * (xx * (xx - 3 * yy) - yy * (3 * xx - yy)),
    ]
    return np.stack(values[: (degree + 1) ** 2], axis=1)


def turned(
    coefficients: npt.NDArray[np.float32], rotation: npt.ArrayLike
) -> npt.NDArray[np.float32]:
    """Coefficients (N, K, 3) of the same colors after ``rotation`` (3, 3) turned the splats.

    Seen from direction d a turned splat shows what it showed from R⁻¹d before. Each degree's
    harmonics turn among themselves; their matrix is solved from more directions than unknowns.
    """
    count = coefficients.shape[1]
    degree = round(count**0.5) - 1
    matrix = np.asarray(rotation, np.float64)
    spread = np.random.default_rng(1).normal(size=(200, 3))
    directions = spread / np.linalg.norm(spread, axis=1, keepdims=True)
    now, before = basis(directions, degree), basis(directions @ matrix, degree)
    out = np.array(coefficients, np.float32)
    for order in range(1, degree + 1):
        part = slice(order**2, (order + 1) ** 2)
        turn = np.linalg.lstsq(now[:, part], before[:, part], rcond=None)[0]
        out[:, part] = np.einsum("jk,nkc->njc", turn, coefficients[:, part])
    return out
