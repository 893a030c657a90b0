"""L1 + D-SSIM, value and gradient, fused into two passes over strips of rows.

SSIM (Wang et al. 2004) with an 11 x 11 Gaussian window of sigma 1.5 and zero padding, as 3DGS
trainers use it: with the window's means mu, variances and covariance, S = (2 mu_x mu_y + C1)(2
cov + C2) / ((mu_x^2 + mu_y^2 + C1)(var_x + var_y + C2)). The window is separable; a strip keeps
the 32 + 10 row-filtered rows it needs, so nothing as large as the picture goes through memory
between the horizontal and the vertical filter. The gradient filters three maps in the same way:
dL/dx = w * (dS/dmu_x - 2 mu_x dS/dvar_x - mu_y dS/dcov) + 2 x (w * dS/dvar_x) + y (w * dS/dcov).
"""

from __future__ import annotations

import math

import numpy as np

from .jit import ONE, ZERO, kernel

STRIP = 32
RADIUS = 5
_TAPS = np.exp(-((np.arange(2 * RADIUS + 1) - RADIUS) ** 2) / (2 * 1.5**2))
_W = (_TAPS / _TAPS.sum()).astype(np.float32)
W0, W1, W2, W3, W4, W5 = (np.float32(w) for w in _W[:6])
C1, C2 = np.float32(0.01**2), np.float32(0.03**2)
TWO = np.float32(2.0)


@kernel
def _filter_row(padded, out):  # type: ignore[no-untyped-def]
    """Horizontal window sum; ``padded`` has RADIUS zeros before and behind the row."""
    for i in range(len(out)):
        out[i] = (
            W5 * padded[i + 5]
            + W4 * (padded[i + 4] + padded[i + 6])
            + W3 * (padded[i + 3] + padded[i + 7])
            + W2 * (padded[i + 2] + padded[i + 8])
            + W1 * (padded[i + 1] + padded[i + 9])
            + W0 * (padded[i] + padded[i + 10])
        )


@kernel
def _filter_columns(rows, k, out):  # type: ignore[no-untyped-def]
    """Vertical window sum of ``rows[k:k + 11]``."""
    r0, r1, r2, r3 = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
    r4, r5, r6, r7 = rows[k + 4], rows[k + 5], rows[k + 6], rows[k + 7]
    r8, r9, r10 = rows[k + 8], rows[k + 9], rows[k + 10]
    for i in range(len(out)):
        out[i] = (
            W5 * r5[i]
            + W4 * (r4[i] + r6[i])
            + W3 * (r3[i] + r7[i])
            + W2 * (r2[i] + r8[i])
            + W1 * (r1[i] + r9[i])
            + W0 * (r0[i] + r10[i])
        )


@kernel
def similarity(first, last, x, y, crop, maps, values):  # type: ignore[no-untyped-def]
    """First pass: jobs ``first`` .. ``last - 1``, a job being a channel's strip.

    ``x``, ``y`` (3, H, W) float32: rendering and target; ``crop`` (4,): first and past-the-last
    row, first and past-the-last column. Writes ``maps`` (3, 3, H, W), the maps to filter by
    channel, and ``values`` (jobs,), the sum of S over each strip.
    """
    top, bottom, left, right = crop[0], crop[1], crop[2], crop[3]
    width = right - left
    strips = (bottom - top + STRIP - 1) // STRIP
    rows = np.empty((5, STRIP + 2 * RADIUS, width), np.float32)
    padded = np.zeros((5, width + 2 * RADIUS), np.float32)
    m = np.empty((5, width), np.float32)
    for job in range(first, last):
        channel, start = job // strips, top + job % strips * STRIP
        stop = min(start + STRIP, bottom)
        for r in range(start - RADIUS, stop + RADIUS):
            k = r - start + RADIUS
            if r < top or r >= bottom:
                rows[:, k] = ZERO
                continue
            a, b = x[channel, r, left:right], y[channel, r, left:right]
            p0, p1, p2, p3, p4 = padded[0], padded[1], padded[2], padded[3], padded[4]
            for i in range(width):
                j = i + RADIUS
                p0[j] = a[i]
                p1[j] = b[i]
                p2[j] = a[i] * a[i]
                p3[j] = b[i] * b[i]
                p4[j] = a[i] * b[i]
            for q in range(5):
                _filter_row(padded[q], rows[q, k])
        total = ZERO
        for r in range(start, stop):
            for q in range(5):
                _filter_columns(rows[q], r - start, m[q])
            total += _similarity_row(
                m,
                maps[channel, 0, r, left:right],
                maps[channel, 1, r, left:right],
                maps[channel, 2, r, left:right],
            )
        values[job] = total


@kernel
def _similarity_row(m, by_mean, by_variance, by_covariance):  # type: ignore[no-untyped-def]
    """Sum of S along a row and its derivatives, from the window's raw moments ``m`` (5, width)."""
    total = ZERO
    for i in range(m.shape[1]):
        mx, my = m[0, i], m[1, i]
        variances = m[2, i] + m[3, i] - mx * mx - my * my
        covariance = m[4, i] - mx * my
        a1, a2 = TWO * mx * my + C1, TWO * covariance + C2
        b1, b2 = mx * mx + my * my + C1, variances + C2
        scale = ONE / (b1 * b2)
        s = a1 * a2 * scale
        total += s
        variance_slope = -s * b1 * scale
        covariance_slope = TWO * a1 * scale
        mean_slope = TWO * my * a2 * scale - s * TWO * mx * b2 * scale
        by_mean[i] = mean_slope - TWO * mx * variance_slope - my * covariance_slope
        by_variance[i] = variance_slope
        by_covariance[i] = covariance_slope
    return total


@kernel
def loss_gradient(first, last, x, y, crop, maps, weight, scale, gradient, values):  # type: ignore[no-untyped-def]
    """Second pass, jobs as in :func:`similarity`: L1's value and the gradient of both terms.

    ``weight``: share of D-SSIM; ``scale``: 1 / number of values in the whole picture. Writes
    ``gradient`` (3, H, W) inside the crop and ``values`` (jobs,), the sum of \\|x - y\\| over
    each strip.
    """
    top, bottom, left, right = crop[0], crop[1], crop[2], crop[3]
    width = right - left
    strips = (bottom - top + STRIP - 1) // STRIP
    rows = np.empty((3, STRIP + 2 * RADIUS, width), np.float32)
    padded = np.zeros(width + 2 * RADIUS, np.float32)
    m = np.empty((3, width), np.float32)
    for job in range(first, last):
        channel, start = job // strips, top + job % strips * STRIP
        stop = min(start + STRIP, bottom)
        for r in range(start - RADIUS, stop + RADIUS):
            k = r - start + RADIUS
            for q in range(3):
                if r < top or r >= bottom:
                    rows[q, k] = ZERO
                else:
                    padded[RADIUS : RADIUS + width] = maps[channel, q, r, left:right]
                    _filter_row(padded, rows[q, k])
        total = ZERO
        for r in range(start, stop):
            for q in range(3):
                _filter_columns(rows[q], r - start, m[q])
            a, b = x[channel, r, left:right], y[channel, r, left:right]
            out = gradient[channel, r, left:right]
            for i in range(width):
                d = a[i] - b[i]
                total += abs(d)
                sign = ONE if d > ZERO else (-ONE if d < ZERO else ZERO)
                filtered = m[0, i] + TWO * a[i] * m[1, i] + b[i] * m[2, i]
                out[i] = scale * ((ONE - weight) * sign - weight * filtered)
        values[job] = total


@kernel
def composite(first, last, rgba, background, target):  # type: ignore[no-untyped-def]
    """Rows ``first`` .. ``last - 1`` of ``rgba`` (H, W, 4) uint8, straight alpha, over
    ``background`` (3,).

    Writes ``target`` (3, H, W) float32 of 0..1.
    """
    for y in range(first, last):
        for x in range(rgba.shape[1]):
            alpha = np.float32(rgba[y, x, 3]) * np.float32(1 / 255)
            for channel in range(3):
                color = np.float32(rgba[y, x, channel]) * np.float32(1 / 255)
                target[channel, y, x] = color * alpha + background[channel] * (ONE - alpha)


@kernel
def covered(light, top, bottom, left, right):  # type: ignore[no-untyped-def]
    """The given box grown to hold every pixel where a splat shows (``light`` (H, W) < 0.999)."""
    height, width = light.shape
    for y in range(height):
        for x in range(width):
            if light[y, x] < np.float32(0.999):
                top, bottom = min(top, y), max(bottom, y + 1)
                left, right = min(left, x), max(right, x + 1)
    return top, bottom, left, right


def window() -> np.ndarray:
    """The (11,) float64 taps of the window."""
    return np.array([math.exp(-((k - RADIUS) ** 2) / 4.5) for k in range(11)]) / _TAPS.sum()
