"""The vector type of the kernels against numpy."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from gs_diffusion_addon.engine.splat import groups
from gs_diffusion_addon.engine.splat.functions import exponential, logarithm, root, whole_below
from gs_diffusion_addon.engine.splat.groups import (
    all_zero,
    append_marked,
    bits_reached,
    column0,
    column3,
    gather_columns,
    load_block,
    load_pixels,
    quarters_summed,
    scatter_columns,
    store_block,
    transposed,
    widened,
)
from gs_diffusion_addon.engine.splat.jit import kernel
from gs_diffusion_addon.engine.splat.vectors import (
    WIDTH,
    columns,
    first_of,
    greater,
    highest,
    load,
    load_some,
    power_of_two,
    rows,
    smaller,
    spread,
    store,
    store_some,
    summed,
    where_below,
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
def _regroup(x, out, picture):  # type: ignore[no-untyped-def]
    """Everything of several vectors, into rows of ``out``; a block of ``picture`` is copied."""
    vectors = (load(x, 0), load(x, WIDTH), load(x, 2 * WIDTH), load(x, 3 * WIDTH))
    t0, t1, t2, t3 = transposed(vectors)
    store(out, 0, t0)
    store(out, WIDTH, t1)
    store(out, 2 * WIDTH, t2)
    store(out, 3 * WIDTH, t3)
    store(out, 4 * WIDTH, quarters_summed(vectors))
    store(out, 5 * WIDTH, column0(vectors[0]) + column3(vectors[1]))
    store(out, 6 * WIDTH, where_below(vectors[0], vectors[1], x[5]))
    store_block(picture, 2, 9, load_block(picture, 11, 9))


@kernel
def _copy_some(x, count, out):  # type: ignore[no-untyped-def]
    """The last ``count`` numbers of ``x``, and of its first 16 as many and their sum."""
    store_some(out, 0, count, load_some(x, len(x) - count, count))
    store(out, WIDTH, first_of(load(x, 0), count))
    return summed(load(out, WIDTH))


@kernel
def _functions(x, out):  # type: ignore[no-untyped-def]
    """Functions of each vector of ``x``, into four times as much."""
    for k in range(0, len(x), WIDTH):
        a = load(x, k)
        store(out, 4 * k, exponential(a))
        store(out, 4 * k + WIDTH, logarithm(exponential(a)))
        store(out, 4 * k + 2 * WIDTH, root(exponential(a)))
        store(out, 4 * k + 3 * WIDTH, whole_below(a))


@kernel
def _turn(table, starts, offset, out, back):  # type: ignore[no-untyped-def]
    gather_columns(table, starts, offset, out, 3)
    scatter_columns(out, 3, back, starts, offset)


@kernel
def _widen(x, out):  # type: ignore[no-untyped-def]
    store(out, 0, widened(load(x, 0)))
    return all_zero(load(x, 0))


@kernel
def _pixels(x, at, out):  # type: ignore[no-untyped-def]
    r, g, b, a = load_pixels(x, at)
    store(out, 0, r)
    store(out, WIDTH, g)
    store(out, 2 * WIDTH, b)
    store(out, 3 * WIDTH, a)


@kernel
def _list(masks, bit, row):  # type: ignore[no-untyped-def]
    count = 0
    for first in range(0, len(masks), WIDTH):
        count = append_marked(row, count, masks, first, bit, 10)
    return count


@kernel
def _bits(x, bound):  # type: ignore[no-untyped-def]
    return bits_reached(load(x, 0), bound)


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_regrouping_is_numpys(dtype):
    x = np.random.default_rng(1).random((4, 4, 4)).astype(dtype)  # vector, quarter, number
    out, picture = np.empty((7, WIDTH), dtype), np.arange(63).astype(dtype)
    flat, before = x.reshape(4, WIDTH), picture.reshape(7, 9).copy()
    _regroup(x.reshape(-1), out.reshape(-1), picture)
    assert (out[:4].reshape(4, 4, 4) == x.transpose(2, 1, 0)).all()
    assert out[4] == pytest.approx(x.sum(1).ravel(), rel=1e-6)
    assert out[5] == pytest.approx(np.repeat(x[0, :, 0] + x[1, :, 3], 4), rel=1e-6)
    assert (out[6] == np.where(flat[1] < flat[0, 5], flat[0], 0)).all()
    after = picture.reshape(7, 9)
    assert (after[:4, 2:6] == before[1:5, 2:6]).all()
    assert (after[4:] == before[4:]).all() and (after[:, :2] == before[:, :2]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [0, 1, 7, 15, 16])
def test_parts_of_vectors_touch_nothing_else(dtype, count):
    x = np.random.default_rng(4).random(20).astype(dtype)
    out = np.full(2 * WIDTH, 7, dtype)
    total = _copy_some(x, count, out)
    assert out[:WIDTH].tolist() == [*x[20 - count :], *[7] * (WIDTH - count)]
    assert out[WIDTH:].tolist() == [*x[:count], *[0] * (WIDTH - count)]
    assert total == pytest.approx(x[:count].sum(dtype=np.float64), rel=1e-6)


def test_reached_bits_and_marked_places():
    x = np.random.default_rng(2).random(WIDTH).astype(np.float32)
    assert _bits(x, np.float32(x[3])) == sum(1 << k for k in range(WIDTH) if x[k] >= x[3])
    masks = np.random.default_rng(3).integers(-(2**31), 2**31, 3 * WIDTH).astype(np.int32)
    for bit in (0, 7, 31):
        row = np.zeros(4 * WIDTH, np.int32)
        expected = [10 * n for n, mask in enumerate(masks) if int(mask) >> bit & 1]
        assert _list(masks, bit, row) == len(expected)
        assert row[: len(expected)].tolist() == expected


def test_marked_places_without_the_new_instruction(monkeypatch):
    """LLVM before 19 cannot compress; numba compiles ``append_marked`` anew in a new function."""
    monkeypatch.setattr(groups, "_COMPRESSES", False)
    fresh = numba.njit(lambda masks, row: append_marked(row, 0, masks, 0, 3, 10))
    masks, row = np.arange(WIDTH).astype(np.int32), np.zeros(2 * WIDTH, np.int32)
    assert fresh(masks, row) == 8
    assert row[:8].tolist() == [10 * k for k in range(8, 16)]


@kernel
def _visible(x, out):  # type: ignore[no-untyped-def]
    store(out, 0, where_reached(power_of_two(load(x, 0)), load(x, 0), x.dtype.type(-8)))


def _powers(x):
    y = np.zeros_like(x)
    for k in range(0, len(x), WIDTH):
        part, out = x[k : k + WIDTH].copy(), np.empty(6 * WIDTH, np.float32)
        _calculate(part, part, out)
        y[k : k + WIDTH] = out[5 * WIDTH :]
    return y


def test_powers_of_two_from_black_to_opaque():
    x = np.linspace(-125, 0.5, 100 * WIDTH, dtype=np.float32)
    assert np.abs(_powers(x) / np.exp2(x.astype(np.float64)) - 1).max() < 4e-6


def test_powers_too_small_for_a_number_are_not_seen():
    x = -np.geomspace(8.1, 1e30, 64 * WIDTH).astype(np.float32)
    for k in range(0, len(x), WIDTH):
        out = np.ones(WIDTH, np.float32)
        _visible(x[k : k + WIDTH].copy(), out)
        assert (out == 0).all()


def test_functions_are_numpys():
    x = np.concatenate([np.linspace(-150, 150, 1000), np.linspace(-1e-3, 1e-3, 600)])
    out = np.empty((len(x) // WIDTH, 4, WIDTH))
    _functions(x, out.reshape(-1))
    power, back, half, whole = out.transpose(1, 0, 2).reshape(4, -1)
    assert power == pytest.approx(np.exp(x), rel=1e-14)
    assert back == pytest.approx(np.log(power), rel=1e-14, abs=1e-16)
    assert half == pytest.approx(np.sqrt(power), rel=1e-15)
    assert (whole == np.floor(x)).all()


def test_functions_have_limits():
    x, out = np.array([-1e30, -400, 400, 1e30] * 4), np.empty(4 * WIDTH)
    _functions(x, out)
    assert out[:4] == pytest.approx(np.exp([-150, -150, 150, 150]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sixteen_rows_become_columns_and_rows_again(dtype):
    table = np.random.default_rng(5).random(900).astype(dtype)
    starts = np.random.default_rng(6).permutation(20)[:WIDTH] * 40
    out, back = np.full(3 + WIDTH * WIDTH, 7, dtype), np.full(900, 7, dtype)
    _turn(table, starts, 5, out, back)
    places = starts[:, None] + 5 + np.arange(WIDTH)
    assert (table[places] == out[3:].reshape(WIDTH, WIDTH).T).all() and (out[:3] == 7).all()
    assert (back[places] == table[places]).all()
    assert (np.delete(back, places) == 7).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_widened_numbers_are_the_same_and_zeros_are_seen(dtype):
    x, out = np.random.default_rng(7).random(WIDTH).astype(dtype), np.empty(WIDTH)
    assert not _widen(x, out)
    assert (out == x).all()
    x[:] = 0
    assert _widen(x, out)
    x[13] = -1e-30
    assert not _widen(x, out)


def test_pixels_become_their_four_channels():
    x, out = np.arange(256).astype(np.uint8)[::-1].copy(), np.empty((4, WIDTH), np.float32)
    _pixels(x, 190, out.reshape(-1))
    assert (x[190:254].reshape(WIDTH, 4) == out.T).all()
