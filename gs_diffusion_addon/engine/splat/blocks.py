"""Sixteen splats at a time: their numbers in rows of 16, as projection and its backward pass work
on them.
"""

from __future__ import annotations

from .groups import gather_columns, scatter_columns
from .jit import inlined
from .vectors import WIDTH, load, store

# Rows of a block's parameters (float64).
MEAN, QUATERNION, SCALE, LOGIT = 0, 3, 7, 10
PARAMETERS = 11

# Rows of the colors' work (as the arrays are): viewing direction, color or its gradient, values of
# the basis or their gradients, then the coefficients or theirs.
LOOK, COLOR, BASIS, COEFFICIENTS = 0, 3, 6, 22


@inlined
def get(rows, k):  # type: ignore[no-untyped-def]
    """Row ``k`` of 16 numbers."""
    return load(rows, k * WIDTH)


@inlined
def put(rows, k, vector):  # type: ignore[no-untyped-def]
    """Write row ``k`` of 16 numbers."""
    store(rows, k * WIDTH, vector)


@inlined
def gather_parameters(chosen, means, quats, scales, parameters):  # type: ignore[no-untyped-def]
    """The splats ``chosen`` (16,), parameter by parameter into rows of ``parameters``."""
    for lane in range(WIDTH):
        i = chosen[lane]
        for c in range(3):
            parameters[(MEAN + c) * WIDTH + lane] = means[i, c]
            parameters[(SCALE + c) * WIDTH + lane] = scales[i, c]
        for c in range(4):
            parameters[(QUATERNION + c) * WIDTH + lane] = quats[i, c]


@inlined
def color_work(sh):  # type: ignore[no-untyped-def]
    """Numbers that the colors of a block need as working space."""
    return (COEFFICIENTS + sh.shape[1] * 3) * WIDTH


@inlined
def gather_coefficients(chosen, sh, work):  # type: ignore[no-untyped-def]
    """The coefficients (N, K, 3) of the splats ``chosen``, number by number into rows of
    ``work``.
    """
    numbers, flat = sh.shape[1] * 3, sh.reshape(-1)
    if numbers % WIDTH == 0:
        starts = chosen * numbers
        for k in range(0, numbers, WIDTH):
            gather_columns(flat, starts, k, work, (COEFFICIENTS + k) * WIDTH)
    else:
        for lane in range(WIDTH):
            for k in range(numbers):
                work[(COEFFICIENTS + k) * WIDTH + lane] = flat[chosen[lane] * numbers + k]


@inlined
def scatter_coefficients(work, chosen, sh):  # type: ignore[no-untyped-def]
    """The inverse of :func:`gather_coefficients`."""
    numbers, flat = sh.shape[1] * 3, sh.reshape(-1)
    if numbers % WIDTH == 0:
        starts = chosen * numbers
        for k in range(0, numbers, WIDTH):
            scatter_columns(work, (COEFFICIENTS + k) * WIDTH, flat, starts, k)
    else:
        for lane in range(WIDTH):
            for k in range(numbers):
                flat[chosen[lane] * numbers + k] = work[(COEFFICIENTS + k) * WIDTH + lane]
