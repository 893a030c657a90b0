"""L1 + D-SSIM, value and gradient, fused into one pass over strips of rows.

SSIM (Wang et al. 2004) with an 11 x 11 Gaussian window of sigma 1.5 and zero padding, as 3DGS
trainers use it: with the window's means mu, variances and covariance, S = (2 mu_x mu_y + C1)(2
cov + C2) / ((mu_x^2 + mu_y^2 + C1)(var_x + var_y + C2)). The variances are only needed as a sum,
var_x + var_y = 2 cov + w * (x - y)^2 - (mu_x - mu_y)^2, so four maps are filtered; and written
so, S is 1 to the last bit where the pictures are equal. The gradient filters three more:
dL/dx = w * (dS/dmu_x - 2 mu_x dS/dvar_x - mu_y dS/dcov) + 2 x (w * dS/dvar_x) + y (w * dS/dcov).

The window is separable. Each row is filtered down the columns first, straight from the pictures'
rows, and then across, 16 pixels at a time with the sums in registers. A strip works on 5 rows
more on either side to have its own gradient maps; so all but the pictures stays in the cache.
"""

from __future__ import annotations

import math

import numpy as np

from .groups import load_pixels
from .jit import ONE, TWO, ZERO, inlined, kernel
from .vectors import (
    WIDTH,
    first_of,
    greater,
    load,
    load_some,
    spread,
    store,
    store_some,
    summed,
    take,
    where_below,
)

STRIP = 64
RADIUS = 5
_TAPS = np.exp(-((np.arange(2 * RADIUS + 1) - RADIUS) ** 2) / (2 * 1.5**2))
_W = (_TAPS / _TAPS.sum()).astype(np.float32)
W0, W1, W2, W3, W4, W5 = (np.float32(w) for w in _W[:6])
C1, C2 = np.float32(0.01**2), np.float32(0.03**2)


@kernel
def loss_and_gradient(
    first, last, x, y, height, width, crop, weight, scale, gradient, unlike, absolute
):  # type: ignore[no-untyped-def]
    """Jobs ``first`` .. ``last - 1``, a job being a channel's strip of rows.

    ``x``, ``y`` (3 * height * width,) float32: rendering and target, channel by channel; ``crop``
    (4,): first and past-the-last row, first and past-the-last column. ``weight``: share of
    D-SSIM; ``scale``: 1 / number of values in the whole picture. Writes ``gradient`` (like
    ``x``) in the crop's rows, zero beside the crop, and of each strip (jobs,) the sum of 1 - S,
    ``unlike``, and of \\|x - y\\|, ``absolute``.
    """
    top, bottom, left, right = crop[0], crop[1], crop[2], crop[3]
    columns = right - left
    strips = (bottom - top + STRIP - 1) // STRIP
    padded = (columns + WIDTH - 1) // WIDTH * WIDTH + 2 * WIDTH
    sums = np.zeros(4 * padded, np.float32)
    size = (STRIP + 2 * RADIUS) * padded
    slopes = np.zeros(3 * size, np.float32)
    for job in range(first, last):
        start = top + job % strips * STRIP
        stop = min(start + STRIP, bottom)
        corner = job // strips * height * width + left  # of the channel's crop, in row 0
        above, below = max(start - RADIUS, top), min(stop + RADIUS, bottom)
        unlike[job] = ZERO
        for r in range(above, below):
            inside = ONE if start <= r < stop else ZERO
            low, high = max(r - RADIUS, top), min(r + RADIUS + 1, bottom)
            _moments(x, y, corner, width, columns, r, low, high, sums, padded)
            row = (r - start + RADIUS) * padded
            unlike[job] += inside * _similarity(sums, padded, columns, slopes, row, size)
        absolute[job] = ZERO
        for r in range(start, stop):
            low, high = max(r - RADIUS, above), min(r + RADIUS + 1, below)
            _slopes(slopes, size, start - RADIUS, columns, r, low, high, sums, padded)
            at = corner + r * width
            gradient[at - left : at] = ZERO
            absolute[job] += _gradient(sums, padded, columns, x, y, at, weight, scale, gradient)
            gradient[at + columns : at - left + width] = ZERO


@inlined
def _some(picture, at, count):  # type: ignore[no-untyped-def]
    """The next 16 numbers, or ``count`` if that is fewer."""
    return load(picture, at) if count >= WIDTH else load_some(picture, at, count)


@kernel
def _moments(x, y, corner, stride, columns, r, low, high, sums, padded):  # type: ignore[no-untyped-def]
    """Vertical window sums of x, y, x y and (x - y)^2 about row ``r``, from rows ``low`` ..
    ``high - 1``.
    """
    for c in range(0, columns, WIDTH):
        count = columns - c
        mx, my, products, squares = spread(ZERO), spread(ZERO), spread(ZERO), spread(ZERO)
        for row in range(low, high):
            at = corner + row * stride + c
            a, b = _some(x, at, count), _some(y, at, count)
            w, d = take(_W, row - r + RADIUS), a - b
            mx, my = mx + a * w, my + b * w
            products = products + a * b * w
            squares = squares + d * d * w
        store(sums, WIDTH + c, mx)
        store(sums, padded + WIDTH + c, my)
        store(sums, 2 * padded + WIDTH + c, products)
        store(sums, 3 * padded + WIDTH + c, squares)


@inlined
def _across(sums, at):  # type: ignore[no-untyped-def]
    """Horizontal window sums about ``sums[at : at + 16]``."""
    return (
        load(sums, at) * W5
        + (load(sums, at - 1) + load(sums, at + 1)) * W4
        + (load(sums, at - 2) + load(sums, at + 2)) * W3
        + (load(sums, at - 3) + load(sums, at + 3)) * W2
        + (load(sums, at - 4) + load(sums, at + 4)) * W1
        + (load(sums, at - 5) + load(sums, at + 5)) * W0
    )


@kernel
def _similarity(sums, padded, columns, slopes, row, size):  # type: ignore[no-untyped-def]
    """Sum of 1 - S along a row; S's derivatives by mean, variance and covariance go into row
    ``row`` of each map of ``slopes``.
    """
    total = spread(ZERO)
    for c in range(0, columns, WIDTH):
        mx, my = _across(sums, WIDTH + c), _across(sums, padded + WIDTH + c)
        products = _across(sums, 2 * padded + WIDTH + c)
        squares = _across(sums, 3 * padded + WIDTH + c)
        product, distance = mx * my, mx - my
        a1, a2 = product * TWO + C1, (products - product) * TWO + C2
        more1, more2 = distance * distance, squares - distance * distance
        b1, b2 = a1 + more1, a2 + more2
        scale = ONE / (b1 * b2)
        s = a1 * a2 * scale
        by_variance = ZERO - s * b1 * scale
        by_covariance = a1 * scale * TWO
        by_mean = (my * a2 * scale - mx * s * b2 * scale) * TWO
        by_mean = by_mean - mx * by_variance * TWO - my * by_covariance
        count = columns - c
        total = total + first_of((a1 * more2 + b2 * more1) * scale, count)
        at = row + WIDTH + c
        store(slopes, at, first_of(by_mean, count))
        store(slopes, at + size, first_of(by_variance, count))
        store(slopes, at + 2 * size, first_of(by_covariance, count))
    return summed(total)


@kernel
def _slopes(slopes, size, begin, columns, r, low, high, sums, padded):  # type: ignore[no-untyped-def]
    """Vertical window sums of the three maps about row ``r``; row ``begin`` is their first."""
    for c in range(0, columns, WIDTH):
        m0, m1, m2 = spread(ZERO), spread(ZERO), spread(ZERO)
        for row in range(low, high):
            at = (row - begin) * padded + WIDTH + c
            w = take(_W, row - r + RADIUS)
            m0 = m0 + load(slopes, at) * w
            m1 = m1 + load(slopes, at + size) * w
            m2 = m2 + load(slopes, at + 2 * size) * w
        store(sums, WIDTH + c, m0)
        store(sums, padded + WIDTH + c, m1)
        store(sums, 2 * padded + WIDTH + c, m2)


@kernel
def _gradient(sums, padded, columns, x, y, at, weight, scale, gradient):  # type: ignore[no-untyped-def]
    """One row of the gradient of both terms, from ``at`` on; returns the row's L1."""
    total = spread(ZERO)
    for c in range(0, columns, WIDTH):
        count = columns - c
        a, b = _some(x, at + c, count), _some(y, at + c, count)
        d = a - b
        sign = where_below(spread(ONE), b - a, ZERO) - where_below(spread(ONE), d, ZERO)
        total = total + greater(d, b - a)
        filtered = (
            _across(sums, WIDTH + c)
            + a * _across(sums, padded + WIDTH + c) * TWO
            + b * _across(sums, 2 * padded + WIDTH + c)
        )
        out = (sign * (ONE - weight) - filtered * weight) * scale
        if count >= WIDTH:
            store(gradient, at + c, out)
        else:
            store_some(gradient, at + c, count, out)
    return summed(total)


@kernel
def composite(first, last, rgba, background, target):  # type: ignore[no-untyped-def]
    """Rows ``first`` .. ``last - 1`` of ``rgba`` (H, W, 4) uint8, straight alpha, over
    ``background`` (3,).

    Writes ``target`` (3, H, W) float32 of 0..1.
    """
    bytes_, out = rgba.reshape(-1), target.reshape(-1)
    width, plane = rgba.shape[1], rgba.shape[0] * rgba.shape[1]
    part = np.float32(1 / 255)
    for y in range(first, last):
        whole = y * width + width // WIDTH * WIDTH  # where the row's last whole block ends
        for at in range(y * width, whole, WIDTH):
            red, green, blue, alpha = load_pixels(bytes_, 4 * at)
            alpha = alpha * part
            light, over = ONE - alpha, alpha * part
            store(out, at, red * over + light * background[0])
            store(out, plane + at, green * over + light * background[1])
            store(out, 2 * plane + at, blue * over + light * background[2])
        for at in range(whole, (y + 1) * width):
            alpha = np.float32(bytes_[4 * at + 3]) * part
            for c in range(3):
                color = np.float32(bytes_[4 * at + c]) * (alpha * part)
                out[c * plane + at] = color + (ONE - alpha) * background[c]


@kernel
def composite_blocks(first, last, rgba, block, background, target):  # type: ignore[no-untyped-def]
    """:func:`composite` of a picture whose pixels are means of ``block`` x ``block`` of ``rgba``'s.

    Sums are whole numbers, so their order does not matter.
    """
    scale = np.float32(1 / (255 * 255 * block * block))
    for y in range(first, last):
        for x in range(target.shape[2]):
            red = green = blue = opaque = 0
            for i in range(y * block, (y + 1) * block):
                for j in range(x * block, (x + 1) * block):
                    alpha = np.int64(rgba[i, j, 3])
                    opaque += alpha
                    red += rgba[i, j, 0] * alpha
                    green += rgba[i, j, 1] * alpha
                    blue += rgba[i, j, 2] * alpha
            passing = ONE - np.float32(255 * opaque) * scale
            target[0, y, x] = np.float32(red) * scale + background[0] * passing
            target[1, y, x] = np.float32(green) * scale + background[1] * passing
            target[2, y, x] = np.float32(blue) * scale + background[2] * passing


def window() -> np.ndarray:
    """The (11,) float64 taps of the window."""
    return np.array([math.exp(-((k - RADIUS) ** 2) / 4.5) for k in range(11)]) / _TAPS.sum()
