"""The kernels' picture against an independent renderer written from the paper's formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gs_diffusion_addon.core.cameras import Camera, look_at
from gs_diffusion_addon.core.ply import Splats
from gs_diffusion_addon.engine.splat import reference
from gs_diffusion_addon.engine.splat.rasterizer import View, draw, rasterize
from gs_diffusion_addon.engine.splat.runtime import Workers
from tests.engine.splat_helpers import random_splats, random_view, tensors


def paper(splats: Splats, view: View, background: np.ndarray) -> np.ndarray:
    """(H, W, 3) float64, splat by splat and pixel by pixel as Kerbl et al. describe it.

    Shares nothing with the program: rotations and harmonics are scipy's. A pixel stops when its
    light is below 1e-4. (Kerbl's code also drops the splat that would take it there, which lets up
    to 1 % of the background through an opaque surface.)
    """
    from scipy.spatial.transform import Rotation

    eye = -view.rotation.T @ view.translation
    local = splats.means.astype(float) @ view.rotation.T + view.translation
    ys, xs = np.mgrid[: view.height, : view.width] + 0.5
    image, light = np.zeros((view.height, view.width, 3)), np.ones((view.height, view.width))
    for i in np.argsort(local[:, 2], kind="stable"):
        x, y, z = local[i]
        opacity = 1 / (1 + np.exp(-float(splats.opacities[i])))
        if z <= view.near:
            continue
        tan = 0.5 * view.width / view.fl_x, 0.5 * view.height / view.fl_y
        mid = (view.cx - view.width / 2) / view.fl_x, (view.cy - view.height / 2) / view.fl_y
        sx = np.clip(x / z, -1.3 * tan[0] - mid[0], 1.3 * tan[0] - mid[0])
        sy = np.clip(y / z, -1.3 * tan[1] - mid[1], 1.3 * tan[1] - mid[1])
        jacobian = np.array(
            [[view.fl_x / z, 0, -view.fl_x * sx / z], [0, view.fl_y / z, -view.fl_y * sy / z]]
        )
        turn = Rotation.from_quat(np.roll(splats.quats[i].astype(float), -1)).as_matrix()
        sigma = turn @ np.diag(np.exp(2 * splats.scales[i].astype(float))) @ turn.T
        across = jacobian @ view.rotation
        flat = across @ sigma @ across.T + 0.3 * np.eye(2)
        d = np.stack([xs - view.fl_x * x / z - view.cx, ys - view.fl_y * y / z - view.cy], -1)
        power = -0.5 * np.einsum("hwi,ij,hwj->hw", d, np.linalg.inv(flat), d)
        alpha = np.minimum(0.99, opacity * np.exp(power))
        alpha[alpha < 1 / 255] = 0
        alpha[light < 1e-4] = 0
        direction = splats.means[i] - eye
        basis = real_harmonics(direction / np.linalg.norm(direction))
        color = np.maximum(0.5 + basis[: splats.sh.shape[1]] @ splats.sh[i].astype(float), 0)
        image += (alpha * light)[..., None] * color
        light *= 1 - alpha
    return image + light[..., None] * background


def real_harmonics(d: np.ndarray) -> np.ndarray:
    """(16,) real spherical harmonics with the Condon-Shortley phase, from scipy's complex ones."""
    from scipy.special import sph_harm_y

    polar, azimuth = np.arccos(np.clip(d[2], -1, 1)), np.arctan2(d[1], d[0])
    out = []
    for degree in range(4):
        for order in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(order), polar, azimuth)
            if order < 0:
                out.append(np.sqrt(2) * value.imag)
            elif order > 0:
                out.append(np.sqrt(2) * value.real)
            else:
                out.append(value.real)
    return np.array(out)


def paper_errors(seed: int) -> np.ndarray:
    """(H, W, 3): how far the kernels' picture of a random scene is from the paper's."""
    splats = random_splats(seed, 12 + 6 * seed, degree=seed % 4, spread=0.4 + 0.03 * seed)
    view = random_view(seed, 45, 37, distance=4 if seed % 5 else 1.2)
    background = np.random.default_rng(seed).random(3)
    expected = paper(splats, view, background)
    arguments = tensors(splats)
    got = rasterize(*arguments, view, torch.tensor(background, dtype=torch.float32))
    return np.abs(got.image.detach().permute(1, 2, 0).numpy() - expected)


def test_pictures_are_the_papers():
    """But for splats that a pixel in thousands sees at exactly 1/255, whichever way that is rounded
    on a processor.
    """
    errors = np.array([paper_errors(seed) for seed in range(50)])
    share = (errors < 1e-4).mean((1, 2, 3))
    assert share.min() >= 0.995, share.argmin()
    assert share.mean() >= 0.9995
    assert errors.max() < 2 / 255


def test_plain_torch_draws_the_same():
    splats, view = random_splats(3, 60, degree=3), random_view(3)
    background = torch.tensor([0.1, 0.2, 0.9])
    fast = rasterize(*tensors(splats), view, background)
    slow = reference.rasterize(*tensors(splats), view, background)
    assert torch.allclose(fast.image, slow.image, atol=2e-4)
    assert torch.allclose(fast.alpha, slow.alpha, atol=2e-4)
    assert (fast.screen.drawn <= slow.screen.drawn).all()


def test_pixel_centers_are_opencvs():
    """A small opaque splat at a pixel's center colors exactly that pixel, on any principal
    point.
    """
    camera = Camera(31, 23, 40.0, 50.0, 11.25, 14.5, look_at((0, -5, 1), (0, 0, 0)))
    place = camera.unproject([20.5, 6.5], 4.0)
    splats = Splats(
        place[None].astype(np.float32),
        np.full((1, 1, 3), 1.7, np.float32),
        np.float32([8]),
        np.full((1, 3), -9, np.float32),
        np.float32([[1, 0, 0, 0]]),
    )
    image = rasterize(*tensors(splats), View.of(camera), torch.zeros(3)).image.detach().numpy()
    assert np.unravel_index(image[0].argmax(), image[0].shape) == (6, 20)
    left, right = image[0, 6, 19], image[0, 6, 21]
    up, down = image[0, 5, 20], image[0, 7, 20]
    assert left == pytest.approx(right, rel=1e-3)
    assert up == pytest.approx(down, rel=1e-3)


def test_threads_change_nothing():
    splats, view = random_splats(1, 3000, spread=0.6), random_view(1, 130, 70)
    parts = [t.detach().numpy() for t in tensors(splats)]
    one, three = (draw(*parts, view, np.zeros(3, np.float32), Workers(n)).image for n in (1, 3))
    assert (one == three).all()


def test_nothing_to_draw_is_the_background():
    splats, view = random_splats(0, 5), random_view(0)
    place = -view.rotation.T @ (view.translation + np.array([0, 0, 3.0]))
    behind = Splats(
        place[None].repeat(5, 0).astype(np.float32),
        splats.sh, splats.opacities, splats.scales, splats.quats,
    )  # fmt: skip
    empty = splats.selected(np.zeros(5, bool))
    for model in (behind, empty):
        result = rasterize(*tensors(model), view, torch.tensor([0.25, 0.5, 0.75]))
        assert (result.alpha == 0).all()
        assert torch.equal(result.image[:, 0, 0], torch.tensor([0.25, 0.5, 0.75]))
        result.image.sum().backward()


def test_numbers_out_of_all_bounds_are_not_drawn():
    splats, view = random_splats(0, 4), random_view(0)
    scales = splats.scales.copy()
    scales[0], scales[1] = 80, -80
    means = splats.means.copy()
    means[2] = 1e30
    model = Splats(means, splats.sh, splats.opacities, scales, splats.quats)
    image = rasterize(*tensors(model), view, torch.zeros(3)).image
    assert torch.isfinite(image).all()
