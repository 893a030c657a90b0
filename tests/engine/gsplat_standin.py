"""A stand-in for gsplat 1.5.3 in plain torch on the processor, of identical signature.

Written from gsplat's documentation (docs.gsplat.studio: rasterization, strategies), not from our
own reference: quaternions w x y z, linear scales and opacities, SH colors, world-to-camera matrices
in OpenCV axes, pixel centers at +0.5, a background color. It checks every argument's shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

__version__ = "1.5.3"

SH = (
    lambda x, y, z: 0.28209479177387814 + 0 * x,
    lambda x, y, z: -0.4886025119029199 * y,
    lambda x, y, z: 0.4886025119029199 * z,
    lambda x, y, z: -0.4886025119029199 * x,
    lambda x, y, z: 1.0925484305920792 * x * y,
    lambda x, y, z: -1.0925484305920792 * y * z,
    lambda x, y, z: 0.31539156525252005 * (2 * z * z - x * x - y * y),
    lambda x, y, z: -1.0925484305920792 * x * z,
    lambda x, y, z: 0.5462742152960396 * (x * x - y * y),
    lambda x, y, z: -0.5900435899266435 * y * (3 * x * x - y * y),
    lambda x, y, z: 2.890611442640554 * x * y * z,
    lambda x, y, z: -0.4570457994644658 * y * (4 * z * z - x * x - y * y),
    lambda x, y, z: 0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y),
    lambda x, y, z: -0.4570457994644658 * x * (4 * z * z - x * x - y * y),
    lambda x, y, z: 1.445305721320277 * z * (x * x - y * y),
    lambda x, y, z: -0.5900435899266435 * x * (x * x - 3 * y * y),
)


def rasterization(
    means,
    quats,
    scales,
    opacities,
    colors,
    viewmats,
    Ks,
    width,
    height,
    near_plane=0.01,
    far_plane=1e10,
    radius_clip=0.0,
    eps2d=0.3,
    sh_degree=None,
    packed=True,
    tile_size=16,
    backgrounds=None,
    render_mode="RGB",
    sparse_grad=False,
    absgrad=False,
    rasterize_mode="classic",
    channel_chunk=32,
    distributed=False,
    camera_model="pinhole",
    segmented=False,
    covars=None,
    with_ut=False,
    with_eval3d=False,
    radial_coeffs=None,
    tangential_coeffs=None,
    thin_prism_coeffs=None,
    ftheta_coeffs=None,
    rolling_shutter=None,
    viewmats_rs=None,
):
    """Draw (1, height, width, 3) colors, (1, height, width, 1) alphas, and meta."""
    n = len(means)
    assert means.shape == (n, 3) and quats.shape == (n, 4) and scales.shape == (n, 3)
    assert opacities.shape == (n,) and viewmats.shape == (1, 4, 4) and Ks.shape == (1, 3, 3)
    assert colors.shape == (n, colors.shape[1], 3) and (sh_degree + 1) ** 2 <= colors.shape[1]
    assert (scales > 0).all() and (opacities >= 0).all() and (opacities <= 1).all()
    assert backgrounds.shape == (1, 3) and render_mode == "RGB" and not packed
    assert rasterize_mode == "classic" and camera_model == "pinhole"
    w2c, (fx, fy, cx, cy) = viewmats[0], (Ks[0, 0, 0], Ks[0, 1, 1], Ks[0, 0, 2], Ks[0, 1, 2])
    x, y, z = (means @ w2c[:3, :3].T + w2c[:3, 3]).unbind(1)
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], 1)[None]
    if means2d.requires_grad:
        means2d.retain_grad()
    cov = _covariance2d(quats, scales, w2c, (x, y, z), (fx, fy, cx, cy), width, height, eps2d)
    radii = torch.ceil(3.33 * torch.sqrt(torch.diagonal(cov, dim1=1, dim2=2)))
    inside = (means2d[0] + radii > 0) & (means2d[0] - radii < torch.tensor([width, height]))
    shown = (z > near_plane) & (z < far_plane) & inside.all(1)
    radii = (radii * shown[:, None]).int()[None]
    eye = -w2c[:3, :3].T @ w2c[:3, 3]
    d = torch.nn.functional.normalize(means - eye, dim=1).unbind(1)
    terms = range((sh_degree + 1) ** 2)
    rgb = torch.clamp_min(sum(SH[k](*d)[:, None] * colors[:, k] for k in terms) + 0.5, 0)
    order = [int(k) for k in torch.argsort(z, stable=True) if shown[k]]
    image, light = _blend(means2d[0], cov, opacities, rgb, order, width, height)
    image = image + light[..., None] * backgrounds[0]
    meta = {
        "means2d": means2d,
        "radii": radii,
        "gaussian_ids": None,
        "width": width,
        "height": height,
        "n_cameras": 1,
    }
    return image[None], (1 - light)[None, ..., None], meta


def _covariance2d(quats, scales, w2c, place, lens, width, height, eps2d):
    q = quats / quats.norm(dim=1, keepdim=True)
    w, v = q[:, 0], q[:, 1:]
    # Rodrigues: rotate the three axes by v -> v + 2 w (u x v) + 2 u x (u x v)
    axes = torch.eye(3).to(q)[None].expand(len(q), 3, 3)
    u = v[:, None].expand(-1, 3, 3)
    once = torch.linalg.cross(u, axes)
    turned = axes + 2 * w[:, None, None] * once + 2 * torch.linalg.cross(u, once)
    spread = turned.transpose(1, 2) * scales[:, None]
    (x, y, z), (fx, fy, cx, cy) = place, lens
    tan_x, tan_y = 0.5 * width / fx, 0.5 * height / fy
    tx = z * torch.clamp(x / z, -(cx / fx + 0.3 * tan_x), (width - cx) / fx + 0.3 * tan_x)
    ty = z * torch.clamp(y / z, -(cy / fy + 0.3 * tan_y), (height - cy) / fy + 0.3 * tan_y)
    zero = torch.zeros_like(z)
    rows = [fx / z, zero, -fx * tx / z**2, zero, fy / z, -fy * ty / z**2]
    m = torch.stack(rows, 1).reshape(-1, 2, 3) @ w2c[:3, :3] @ spread
    return m @ m.transpose(1, 2) + eps2d * torch.eye(2).to(q)


def _blend(means2d, cov, opacities, rgb, order, width, height):
    ys, xs = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    image, light = torch.zeros(height, width, 3), torch.ones(height, width)
    open_ = torch.ones(height, width, dtype=torch.bool)
    for k in order:
        a, b, c = cov[k, 0, 0], cov[k, 0, 1], cov[k, 1, 1]
        dx, dy = xs - means2d[k, 0], ys - means2d[k, 1]
        sigma = 0.5 * (c * dx * dx - 2 * b * dx * dy + a * dy * dy) / (a * c - b * b)
        alpha = torch.clamp_max(opacities[k] * torch.exp(-sigma), 0.99)
        alpha = torch.where((alpha >= 1 / 255) & open_, alpha, torch.zeros_like(alpha))
        after = light * (1 - alpha)
        open_ = open_ & (after > 1e-4)
        alpha = torch.where(open_, alpha, torch.zeros_like(alpha))
        image = image + (light * alpha)[..., None] * rgb[k]
        light = light * (1 - alpha)
    return image, light


def _sane(params, optimizers):
    assert set(params) == set(optimizers)
    assert all(len(o.param_groups) == 1 for o in optimizers.values())
    assert {"means", "scales", "quats", "opacities"} <= set(params)
    for name, optimizer in optimizers.items():
        assert optimizer.param_groups[0]["params"][0] is params[name]


def _grow(params, optimizers, chosen):
    """Append copies of the chosen splats, as gsplat.strategy.ops.duplicate does."""
    for name, old in list(params.items()):
        new = torch.nn.Parameter(torch.cat([old.detach(), old.detach()[chosen]]))
        params[name] = new
        state = optimizers[name].state.pop(old)
        for key in [k for k in state if k != "step"]:
            state[key] = torch.cat([state[key], torch.zeros_like(state[key][chosen])])
        optimizers[name].param_groups[0]["params"] = [new]
        optimizers[name].state[new] = state


@dataclass
class DefaultStrategy:
    """The interface of gsplat's; duplicates what is pulled hard."""

    prune_opa: float = 0.005
    grow_grad2d: float = 0.0002
    refine_start_iter: int = 500
    refine_stop_iter: int = 15_000
    reset_every: int = 3000
    refine_every: int = 100
    verbose: bool = False

    def initialize_state(self, scene_scale=1.0):
        return {"grad2d": None, "count": None, "scene_scale": scene_scale}

    check_sanity = staticmethod(_sane)

    def step_pre_backward(self, params, optimizers, state, step, info):
        info["means2d"].retain_grad()

    def step_post_backward(self, params, optimizers, state, step, info, packed=False):
        assert info["means2d"].grad is not None and info["radii"].shape[-1] == 2
        _sane(params, optimizers)
        if self.refine_start_iter < step < self.refine_stop_iter and step % self.refine_every == 0:
            pull = info["means2d"].grad[0].norm(dim=1)
            _grow(params, optimizers, torch.nonzero(pull > pull.quantile(0.95))[:, 0])


@dataclass
class MCMCStrategy:
    """The interface of gsplat's; grows by 5 % up to its cap and adds noise."""

    cap_max: int = 1_000_000
    noise_lr: float = 5e5
    refine_start_iter: int = 500
    refine_stop_iter: int = 25_000
    refine_every: int = 100
    min_opacity: float = 0.005
    verbose: bool = False

    def initialize_state(self):
        return {"binoms": torch.tensor([[math.comb(n, k) for k in range(51)] for n in range(3)])}

    check_sanity = staticmethod(_sane)

    def step_post_backward(self, params, optimizers, state, step, info, lr):
        assert 0 < lr < 1e-2
        _sane(params, optimizers)
        if self.refine_start_iter < step < self.refine_stop_iter and step % self.refine_every == 0:
            count = len(params["means"])
            _grow(params, optimizers, torch.arange(min(self.cap_max, int(1.05 * count)) - count))
