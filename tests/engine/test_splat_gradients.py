"""Gradients of the kernels: float64 against finite differences, float32 against plain torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gs_diffusion_addon.core.ply import Splats
from gs_diffusion_addon.engine.splat import reference
from gs_diffusion_addon.engine.splat.rasterizer import View, rasterize
from tests.engine.splat_helpers import random_splats, random_view, tensors

NAMES = ("means", "quats", "scales", "opacities", "sh")


def loss_of(rendering, seed: int = 0) -> torch.Tensor:
    """A random linear functional of picture and alpha: reaches every output with its own weight."""
    g = torch.Generator().manual_seed(seed)
    dtype = rendering.image.dtype
    weights = torch.randn(rendering.image.shape, generator=g, dtype=torch.float64).to(dtype)
    shares = torch.randn(rendering.alpha.shape, generator=g, dtype=torch.float64).to(dtype)
    return (rendering.image * weights).sum() + (rendering.alpha * shares).sum()


def gradients(draw, splats: Splats, view: View, dtype: torch.dtype) -> list[np.ndarray]:
    arguments = tensors(splats, dtype)
    background = torch.tensor([0.3, 0.6, 0.1], dtype=dtype)
    loss_of(draw(*arguments, view, background)).backward()
    return [t.grad.numpy().astype(np.float64) for t in arguments]


def relative(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(got - expected) / max(np.linalg.norm(expected), 1e-12))


def calm_splats(seed: int, degree: int) -> Splats:
    """Splats whose alphas stay between 1/255 and 0.99 all over a small picture: no threshold is
    near, so that differences are derivatives.
    """
    rng = np.random.default_rng(seed)
    count = 6
    return Splats(
        rng.normal(0, 0.25, (count, 3)).astype(np.float32),
        rng.normal(0, 0.15, (count, (degree + 1) ** 2, 3)).astype(np.float32),
        rng.uniform(-2, 1, count).astype(np.float32),
        rng.uniform(0.3, 0.7, (count, 3)).astype(np.float32),
        (rng.normal(size=(count, 4)) * 1.7).astype(np.float32),
    )


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_float64_kernels_match_finite_differences(degree):
    splats, view = calm_splats(degree, degree), random_view(degree, 20, 18)
    analytic = gradients(rasterize, splats, view, torch.float64)
    background = torch.tensor([0.3, 0.6, 0.1], dtype=torch.float64)
    rng = np.random.default_rng(degree)
    for k, name in enumerate(NAMES):
        arguments = [t.detach() for t in tensors(splats, torch.float64)]
        for _ in range(6):
            direction = torch.tensor(rng.normal(size=arguments[k].shape))
            values = []
            for step in (1e-5, -1e-5):
                moved = list(arguments)
                moved[k] = arguments[k] + step * direction
                values.append(float(loss_of(rasterize(*moved, view, background))))
            numeric = (values[0] - values[1]) / 2e-5
            slope = float((analytic[k] * direction.numpy()).sum())
            scale = np.linalg.norm(analytic[k])
            assert abs(numeric - slope) <= 1e-4 * scale, name


SCENES = {
    "all around": (random_splats(0, 80, degree=3), random_view(0)),
    "degree 0": (random_splats(1, 80, degree=0), random_view(1)),
    "degree 1": (random_splats(2, 80, degree=1), random_view(2)),
    "degree 2": (random_splats(3, 80, degree=2), random_view(3)),
    "behind the camera and across its border": (
        random_splats(4, 120, degree=1, spread=2.0),
        random_view(4, distance=1.0),
    ),
    "one pixel wide": (random_splats(5, 60, spread=0.3), random_view(5, 1, 40)),
}


@pytest.mark.parametrize("scene", SCENES)
def test_float32_kernels_match_plain_torch(scene):
    splats, view = SCENES[scene]
    expected = gradients(reference.rasterize, splats, view, torch.float64)
    got = gradients(rasterize, splats, view, torch.float32)
    for name, a, b in zip(NAMES, got, expected, strict=True):
        assert relative(a, b) < 1e-3, name


def test_degenerate_scales_have_finite_gradients():
    splats, view = random_splats(6, 40), random_view(6)
    scales = splats.scales.copy()
    scales[:10, 2] = -30  # infinitely thin
    scales[10:20] = -30  # a point
    scales[20:25, 0] = 4  # larger than the picture
    splats = Splats(splats.means, splats.sh, splats.opacities, scales, splats.quats)
    for name, a, b in zip(
        NAMES,
        gradients(rasterize, splats, view, torch.float32),
        gradients(rasterize, splats, view, torch.float64),
        strict=True,
    ):
        assert np.isfinite(a).all(), name
        assert relative(a, b) < 1e-4, name


def test_screen_gradients_are_those_by_pixel_position():
    splats, view = random_splats(7, 50), random_view(7)
    fast, slow = tensors(splats), tensors(splats, torch.float64)
    background = torch.zeros(3)
    a = rasterize(*fast, view, background)
    loss_of(a).backward()
    b = reference.rasterize(*slow, view, background.double())
    loss_of(b).backward()
    seen = a.screen.drawn
    assert relative(a.screen.gradients[seen], b.screen.gradients[seen]) < 1e-3
    assert (a.screen.gradients[~seen] == 0).all()
