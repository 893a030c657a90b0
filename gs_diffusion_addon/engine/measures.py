"""Measures of pictures, as pure functions of arrays: PSNR, SSIM, sharpness, and the exact warp
error.

Pictures are (h, w, 3) uint8 composited on black, errors in units of the full range 0..1.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import ndimage

from .guides import BACKGROUND, View, relative_pose

BEST_PSNR = 100.0  # dB, what identical pictures get: files cannot hold infinity
REACH = 1.5  # two pixels show the same point if their surfaces are so many pixels' world size apart
TAPS = 11  # SSIM's Gaussian window
SIGMA = 1.5

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def psnr(a: Bytes, b: Bytes, where: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in dB over all pixels or ``where`` (h, w), capped at 100."""
    difference = a.astype(np.float32) - b
    if where is not None:
        difference = difference[where]
    if difference.size == 0:
        return BEST_PSNR
    error = float(np.mean(np.square(difference), dtype=np.float64)) / 255**2
    return BEST_PSNR if error <= 1e-10 else -10 * math.log10(error)


def ssim(a: Bytes, b: Bytes) -> float:
    """Structural similarity (Wang et al. 2004): Gaussian 11 x 11 window, sigma 1.5, mean over
    channels.

    Pixels beyond the border count as 0, as in the code that papers on splatting use.
    """
    x, y = a.astype(np.float32) / 255, b.astype(np.float32) / 255
    return float(np.mean([_ssim(x[..., c].copy(), y[..., c].copy(), _window()) for c in range(3)]))


def _window() -> Floats:
    taps = np.exp(-((np.arange(TAPS) - TAPS // 2) ** 2) / (2 * SIGMA**2))
    return (taps / taps.sum()).astype(np.float32)


@njit(nogil=True, cache=True, fastmath=True)
def _ssim(x: Floats, y: Floats, window: Floats) -> float:
    """SSIM of one channel; the five moments are blurred along x row by row, then along y."""
    h, w = x.shape
    half = len(window) // 2
    rows = np.zeros((5, h + 2 * half, w), np.float32)
    line = np.zeros((5, w + 2 * half), np.float32)
    for r in range(h):
        for i in range(w):
            p, q = x[r, i], y[r, i]
            line[0, i + half], line[1, i + half] = p, q
            line[2, i + half], line[3, i + half], line[4, i + half] = p * p, q * q, p * q
        for m in range(5):
            for k in range(len(window)):
                weight = window[k]
                for i in range(w):
                    rows[m, r + half, i] += weight * line[m, i + k]
    total = 0.0
    c1, c2 = np.float32(0.01**2), np.float32(0.03**2)
    for r in range(h):
        mean = np.zeros((5, w), np.float32)
        for m in range(5):
            for k in range(len(window)):
                weight = window[k]
                for i in range(w):
                    mean[m, i] += weight * rows[m, r + k, i]
        for i in range(w):
            p, q = mean[0, i], mean[1, i]
            pp, qq, pq = mean[2, i] - p * p, mean[3, i] - q * q, mean[4, i] - p * q
            total += ((2 * p * q + c1) * (2 * pq + c2)) / ((p * p + q * q + c1) * (pp + qq + c2))
    return total / (h * w)


def luma(picture: Bytes) -> Floats:
    """(h, w) float32 of 0..1, Rec. 709 weights on the display-referred values."""
    return picture.astype(np.float32) @ np.array([0.2126, 0.7152, 0.0722], np.float32) / 255


def sharpness(picture: Bytes, where: Mask) -> float:
    """RMS of the luma's 4-neighbor Laplacian over ``where``; 0 if that is empty."""
    y = np.pad(luma(picture), 1, mode="edge")
    middle = y[1:-1, 1:-1]
    laplacian = y[:-2, 1:-1] + y[2:, 1:-1] + y[1:-1, :-2] + y[1:-1, 2:] - 4 * middle
    return float(np.sqrt(np.mean(laplacian[where] ** 2))) if where.any() else 0.0


def seam_contrast(
    picture: Bytes, label: npt.NDArray[np.integer], where: Mask
) -> tuple[float, float]:
    """(across, beside): mean steps of the luma between neighboring pixels of two labels, and
    between those of one label 3 to 12 pixels from such a border. Both pixels lie in ``where``.

    Seams that do not show have a ratio of about 1. (0, 0) for a picture without borders.
    """
    y = luma(picture)
    steps, borders = [], np.zeros(label.shape, bool)
    for axis in (0, 1):
        a = (slice(None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, -1))
        b = (slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))
        other = label[a] != label[b]
        borders[a] |= other
        borders[b] |= other
        steps.append((np.abs(y[a] - y[b]), other, where[a] & where[b], a))
    if not borders.any():
        return 0.0, 0.0
    distance = ndimage.distance_transform_edt(~borders)
    across, beside = [], []
    for step, other, inside, a in steps:
        across.append(step[other & inside])
        near = (distance[a] > 3) & (distance[a] <= 12)
        beside.append(step[~other & inside & near])
    means = [
        float(np.concatenate(part).mean()) if any(map(len, part)) else 0.0
        for part in (across, beside)
    ]
    return means[0], means[1]


def intersection_over_union(a: Mask, b: Mask) -> float:
    """|a and b| / |a or b|; 1 for two empty masks."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def warp_error(
    a: View, b: View, inside_a: Mask, inside_b: Mask, image_a: Bytes, image_b: Bytes
) -> float | None:
    """Mean squared difference of what both pictures show of the same surface points.

    Each pixel of ``inside_a`` is carried by its exact geometry into b and compared with b's
    bilinear color, if all four pixels there are ``inside_b`` and one of them hits the same surface.
    Masks are usually the silhouettes less their outermost pixels. None if the two views share no
    point.
    """
    total, count = _warp(
        a.depth,
        a.lens,
        b.depth,
        b.lens,
        relative_pose(a.camera, b.camera),
        inside_a,
        inside_b,
        image_a,
        image_b,
        REACH,
    )
    return total / (3 * count) / 255**2 if count else None


@njit(nogil=True, cache=True, error_model="numpy")
def _warp(
    depth_a: Floats,
    lens_a: Floats,
    depth_b: Floats,
    lens_b: Floats,
    pose: Floats,
    inside_a: Mask,
    inside_b: Mask,
    image_a: Bytes,
    image_b: Bytes,
    reach: float,
) -> tuple[float, int]:
    """Sum of squared differences over channels, and the number of points compared."""
    h, w = depth_a.shape
    rows, columns = depth_b.shape
    total, count = 0.0, 0
    for y in range(h):
        for x in range(w):
            if not inside_a[y, x]:
                continue
            z = depth_a[y, x]
            px = (x + 0.5 - lens_a[2]) / lens_a[0] * z
            py = (y + 0.5 - lens_a[3]) / lens_a[1] * z
            qx = pose[0, 0] * px + pose[0, 1] * py + pose[0, 2] * z + pose[0, 3]
            qy = pose[1, 0] * px + pose[1, 1] * py + pose[1, 2] * z + pose[1, 3]
            qz = pose[2, 0] * px + pose[2, 1] * py + pose[2, 2] * z + pose[2, 3]
            if qz <= 0:
                continue
            u = lens_b[0] * qx / qz + lens_b[2] - 0.5
            v = lens_b[1] * qy / qz + lens_b[3] - 0.5
            if not (u >= 0 and v >= 0 and u < columns - 1 and v < rows - 1):
                continue
            i, j = int(u), int(v)
            limit = (reach * qz / min(lens_b[0], lens_b[1])) ** 2
            same, inside = False, True
            for n in range(4):
                ii, jj = i + (n & 1), j + (n >> 1)
                d = depth_b[jj, ii]
                if d >= BACKGROUND or not inside_b[jj, ii]:
                    inside = False
                    break
                dx = (ii + 0.5 - lens_b[2]) / lens_b[0] * d - qx
                dy = (jj + 0.5 - lens_b[3]) / lens_b[1] * d - qy
                same = same or dx * dx + dy * dy + (d - qz) ** 2 <= limit
            if not (same and inside):
                continue
            s, t = u - i, v - j
            count += 1
            for c in range(3):
                top = (1 - s) * image_b[j, i, c] + s * image_b[j, i + 1, c]
                bottom = (1 - s) * image_b[j + 1, i, c] + s * image_b[j + 1, i + 1, c]
                total += (image_a[y, x, c] - ((1 - t) * top + t * bottom)) ** 2
    return total, count
