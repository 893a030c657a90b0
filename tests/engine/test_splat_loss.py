"""L1 + D-SSIM: kernels against torch's convolution and autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from gs_diffusion_addon.engine.splat import loss
from gs_diffusion_addon.engine.splat.backends import builtin, plain
from gs_diffusion_addon.engine.splat.dataset import Picture
from gs_diffusion_addon.engine.splat.loss import crop_of, l1_dssim, l1_dssim_torch, psnr
from gs_diffusion_addon.engine.splat.rasterizer import View
from gs_diffusion_addon.engine.splat.runtime import Workers


def by_convolution(x: torch.Tensor, y: torch.Tensor, weight: float) -> torch.Tensor:
    """The 3DGS field's loss, written anew: 11 x 11 Gaussian of sigma 1.5, zero padding."""
    taps = torch.tensor([np.exp(-((k - 5) ** 2) / (2 * 1.5**2)) for k in range(11)])
    taps = (taps / taps.sum()).to(x)
    window = (taps[:, None] @ taps[None])[None, None].repeat(3, 1, 1, 1)

    def mean(t: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(t[None], window, padding=5, groups=3)[0]

    a, b = mean(x), mean(y)
    cov = mean(x * y) - a * b
    top = (2 * a * b + 0.0001) * (2 * cov + 0.0009)
    bottom = (a**2 + b**2 + 0.0001) * (mean(x**2) - a**2 + mean(y**2) - b**2 + 0.0009)
    return (1 - weight) * (x - y).abs().mean() + weight * (1 - (top / bottom).mean())


def pair(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(height * width)
    x = torch.rand((3, height, width), generator=g)
    y = (x + 0.2 * torch.randn(x.shape, generator=g)).clamp(0, 1)
    return x.requires_grad_(True), y


@pytest.mark.parametrize("size", [(40, 33), (11, 70), (5, 3), (65, 65)])
@pytest.mark.parametrize("weight", [0.2, 1.0])
def test_value_and_gradient_are_the_convolutions(size, weight):
    x, y = pair(*size)
    value = l1_dssim(x, y, None, weight)
    value.backward()
    exact = x.detach().double().requires_grad_(True)
    expected = by_convolution(exact, y.double(), weight)
    expected.backward()
    assert float(value.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    difference = (x.grad.double() - exact.grad).norm() / exact.grad.norm()
    assert difference < 1e-4
    assert float(l1_dssim_torch(x, y, None, weight).detach()) == pytest.approx(
        float(value.detach()), rel=1e-4
    )


def test_cropped_is_the_whole_where_the_rest_is_equal():
    x, y = pair(60, 50)
    with torch.no_grad():
        mask = torch.zeros(60, 50, dtype=torch.bool)
        mask[20:35, 18:30] = True
        x[:, ~mask] = 0.4
        y[:, ~mask] = 0.4
    whole = l1_dssim(x, y)
    whole.backward()
    gradient, x.grad = x.grad, None
    crop = crop_of(mask.float(), (25, 26, 20, 21))
    assert crop == (10, 45, 8, 40)
    part = l1_dssim(x, y, crop)
    part.backward()
    assert float(part.detach()) == pytest.approx(float(whole.detach()), rel=5e-4)
    assert (x.grad - gradient).norm() < 1e-3 * gradient.norm()


def test_loss_of_equal_pictures_is_exactly_zero():
    x, _ = pair(50, 37)
    value = l1_dssim(x, x.detach().clone())
    value.backward()
    assert float(value.detach()) == 0
    assert x.grad.abs().max() < 1e-7


def test_crops_gradient_is_zero_outside_and_follows_the_slope():
    x, y = pair(150, 70)
    crop = (7, 140, 11, 44)
    l1_dssim(x, y, crop).backward()
    gradient, x.grad = x.grad, None
    inside = torch.zeros(150, 70, dtype=torch.bool)
    inside[7:140, 11:44] = True
    assert (gradient[:, ~inside] == 0).all()
    assert (gradient[:, inside] != 0).float().mean() > 0.99
    (l1_dssim(x, y, crop) * 0.5).backward()
    assert torch.equal(x.grad, gradient * 0.5)


def test_threads_do_not_change_the_loss(monkeypatch):
    x, y = pair(200, 90)
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(loss, "workers", lambda threads=threads: Workers(threads))
        x.grad = None
        value = l1_dssim(x, y)
        value.backward()
        results.append((float(value.detach()), x.grad))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


def test_crop_holds_what_the_splats_and_the_target_show():
    alpha = torch.full((90, 80), 0.0009)
    alpha[40, 50], alpha[60, 30] = 0.0011, 0.9
    assert crop_of(alpha, (90, 0, 80, 0)) == (30, 71, 20, 61)
    assert crop_of(alpha, (50, 70, 45, 75)) == (30, 80, 20, 80)


def test_crop_of_nothing_is_everything():
    assert crop_of(torch.zeros(20, 30), (20, 0, 30, 0)) == (0, 20, 0, 30)


@pytest.mark.parametrize("width", [3, 23, 64])
def test_target_composites_straight_alpha(width):
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (17, width, 4)).astype(np.uint8)
    rgba = np.asfortranarray(rgba)  # kernels want C order
    background = torch.tensor([0.2, 0.5, 0.7])
    view = View(width, 17, 20.0, 20.0, width / 2, 8.5, np.eye(3), np.zeros(3))
    picture = Picture(rgba, None, view, (0, 17, 0, width), 0)
    alpha = rgba[..., 3:] / 255
    expected = rgba[..., :3] / 255 * alpha + background.numpy() * (1 - alpha)
    for backend in (builtin(), plain()):
        got = backend.target(picture, background).permute(1, 2, 0).numpy()
        assert np.abs(got - expected).max() < 1e-6
        # At half the size a pixel is the mean of four, and the odd last row and column are cut off.
        got = backend.target(picture.halved(), background).permute(1, 2, 0).numpy()
        halved = expected[:16, : width // 2 * 2].reshape(8, 2, -1, 2, 3).mean((1, 3))
        assert np.abs(got - halved).max() < 1e-6
        if width < 4:
            continue
        got = backend.target(picture.halved().halved(), background).permute(1, 2, 0).numpy()
        quartered = expected[:16, : width // 4 * 4].reshape(4, 4, -1, 4, 3).mean((1, 3))
        assert np.abs(got - quartered).max() < 1e-6


def test_psnr():
    assert psnr(np.zeros((3, 4, 4)), np.full((3, 4, 4), 0.1)) == pytest.approx(20)
    assert psnr(np.ones(5), np.ones(5)) == 100
