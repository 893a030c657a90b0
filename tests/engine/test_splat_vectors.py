"""The vector type of the kernels against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from gs_diffusion_addon.engine.splat.jit import kernel
from gs_diffusion_addon.engine.splat.vectors import (
    WIDTH,
    add_sums,
    columns,
    greater,
    highest,
    load,
    power_of_two,
    rows,
    smaller,
    spread,
    store,
    where_reached,
)


@kernel
def _calculate(x, y, out):  # type: ignore[no-untyped-def]
    """Everything once, into rows of ``out``."""
    a, b, two = load(x, 0), load(y, 0), x.dtype.type(2)
    store(out, 0, (a + b) * a - b / (a + two))
    store(out, WIDTH, smaller(a, b) + greater(a, two) + spread(two))
    store(out, 2 * WIDTH, where_reached(a, b, two))
    store(out, 3 * WIDTH, columns(two) * two + rows(two))
    store(out, 4 * WIDTH, spread(highest(a)))
    store(out, 5 * WIDTH, power_of_two(a))


@kernel
def _sums(x, out):  # type: ignore[no-untyped-def]
    a, one = load(x, 0), x.dtype.type(1)
    add_sums(out, 0, (a, a * a, a + one, one - a, a, a * a, a + one, one - a, a))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arithmetic_is_numpys(dtype):
    rng = np.random.default_rng(0)
    x, y = (rng.uniform(-5, 5, WIDTH).astype(dtype) for _ in range(2))
    out = np.empty((6, WIDTH), dtype)
    _calculate(x, y, out.reshape(-1))
    expected = [
        (x + y) * x - y / (x + 2),
        np.minimum(x, y) + np.maximum(x, 2) + 2,
        np.where(y >= 2, x, 0),
        np.arange(WIDTH) % 4 * 2 + np.arange(WIDTH) // 4,
        np.full(WIDTH, x.max()),
        np.exp2(x),
    ]
    assert out == pytest.approx(np.array(expected), rel=6e-6 if dtype == np.float32 else 1e-12)


def test_sums_are_added_in_order():
    x = np.random.default_rng(1).random(WIDTH).astype(np.float32)
    out = np.ones(WIDTH, np.float32)
    _sums(x, out)
    parts = [x, x * x, x + 1, 1 - x] * 2 + [x]
    assert out[:9] == pytest.approx([1 + p.sum() for p in parts], rel=1e-5)


def test_powers_of_two_from_black_to_opaque():
    x = np.linspace(-140, 0.5, 100 * WIDTH, dtype=np.float32)
    y = np.zeros_like(x)
    for k in range(0, len(x), WIDTH):
        part, out = x[k : k + WIDTH].copy(), np.empty(6 * WIDTH, np.float32)
        _calculate(part, part, out)
        y[k : k + WIDTH] = out[5 * WIDTH :]
    exact = np.exp2(np.maximum(x.astype(np.float64), -126))
    assert np.abs(y / exact - 1).max() < 6e-6
