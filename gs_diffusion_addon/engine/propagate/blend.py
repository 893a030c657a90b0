"""Two pictures of one frame, made from the keys on either side, put together.

``crossfade`` is the original experiment's. ``poisson`` follows the video tools built on EbSynth:
each pixel's detail from the picture that matched better, brightness and contrast of both, and the
borders between the pieces closed by a screened Poisson equation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter

SCREEN = 2.5  # how much gradients count against colors
SELECTION_BLUR = 6.0  # pixels over which errors are averaged before the better one is chosen

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def crossfade(left: Bytes, right: Bytes, alpha: float) -> Bytes:
    """(1 - alpha) left + alpha right, in 8 bits, cut off and not rounded, as cv2's and Pillow's
    blends of the original experiment do.
    """
    mixed = (1 - alpha) * left.astype(np.float64) + alpha * right.astype(np.float64)
    return np.clip(mixed, 0, 255).astype(np.uint8)


def select(left_error: Floats, right_error: Floats, alpha: float) -> Floats:
    """(h, w) float32 of 0 or 1: where the right picture matched better, of (h, w) errors.

    The time between the keys tips the balance, from all left at alpha 0 to all right at 1, which
    also makes the choice of a pixel whose errors stay the same change once only.
    """
    left = gaussian_filter(left_error, SELECTION_BLUR) * max(alpha, 1e-6)
    right = gaussian_filter(right_error, SELECTION_BLUR) * max(1 - alpha, 1e-6)
    return (right < left).astype(np.float32)


def histogram_preserving(left: Floats, right: Floats, alpha: float, inside: Floats) -> Floats:
    """The mix of two (h, w, 3) pictures with its contrast restored.

    Averaging unrelated detail lowers its variance by (1 - alpha)^2 + alpha^2; the mean over
    ``inside`` (h, w) of 0..1 is kept and deviations from it are scaled back (Heitz and Neyret,
    "High-performance by-example noise", 2018).
    """
    mixed = (1 - alpha) * left + alpha * right
    total = max(float(inside.sum()), 1.0)
    mean = (mixed * inside[..., None]).sum((0, 1)) / total
    spread = np.sqrt((1 - alpha) ** 2 + alpha**2)

    def deviation(picture: Floats) -> npt.NDArray[np.float64]:
        middle = (picture * inside[..., None]).sum((0, 1)) / total
        return np.sqrt(((picture - middle) ** 2 * inside[..., None]).sum((0, 1)) / total)

    wanted = (1 - alpha) * deviation(left) + alpha * deviation(right)
    have = np.maximum(deviation(mixed), 1e-6)
    scale = np.minimum(wanted / have, 1 / spread)
    return (mean + (mixed - mean) * scale).astype(np.float32)


def screened_poisson(base: Floats, along_y: Floats, along_x: Floats, weight: float) -> Floats:
    """The picture closest to ``base`` in color and to the given differences in gradient.

    Minimizes |x - base|^2 + weight^2 |D x - g|^2 with Neumann ends: (1 + weight^2 D^T D) x = base +
    weight^2 D^T g, which DCT-II diagonalizes. All (h, w); ``along_y[i]`` is x[i + 1] - x[i], its
    last row unused, and so along x.
    """
    h, w = base.shape
    square = weight * weight
    right = base.astype(np.float64)
    right[1:] += square * along_y[:-1]
    right[:-1] -= square * along_y[:-1]
    right[:, 1:] += square * along_x[:, :-1]
    right[:, :-1] -= square * along_x[:, :-1]
    rows = 2 - 2 * np.cos(np.pi * np.arange(h) / h)
    columns = 2 - 2 * np.cos(np.pi * np.arange(w) / w)
    spectrum = dctn(right, type=2, norm="ortho")
    spectrum /= 1 + square * (rows[:, None] + columns)
    return idctn(spectrum, type=2, norm="ortho").astype(np.float32)


def poisson(
    left: Bytes,
    right: Bytes,
    left_error: Floats,
    right_error: Floats,
    alpha: float,
    inside: npt.NDArray[np.bool_],
) -> Bytes:
    """Detail from the better match, contrast of both, no borders; see the module's text."""
    if alpha <= 0:
        return left
    a, b = left.astype(np.float32), right.astype(np.float32)
    choice = select(left_error, right_error, alpha)
    base = histogram_preserving(a, b, alpha, inside.astype(np.float32))
    out = np.empty_like(a)
    for c in range(3):
        gradients = []
        for axis in (0, 1):
            both = [np.diff(p[..., c], axis=axis, append=0) for p in (a, b)]
            gradients.append(np.where(choice > 0, both[1], both[0]))
        out[..., c] = screened_poisson(base[..., c], gradients[0], gradients[1], SCREEN)
    return np.clip(out + 0.5, 0, 255).astype(np.uint8)
