"""Splats to look at, a splat renderer without any tricks, and Cycles' picture of the same."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix

from gs_diffusion_addon.core.cameras import Camera, look_at
from gs_diffusion_addon.core.ply import SH_C0, Splats, write_splats
from gs_diffusion_addon.scene.splat_display import prepare_scene, sample_centers
from gs_diffusion_addon.scene.splat_import import import_splat

SIZE = 72


def make_ball(count=150, degree=3, seed=0, spread=0.08) -> Splats:
    """Splats on a ball of radius 1, smooth colors, mostly opaque, harmonics that can be seen."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(count, 3))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    sh = rng.normal(size=(count, (degree + 1) ** 2, 3)) * 0.1
    sh[:, 0] = means * 0.9
    return Splats(
        means.astype(np.float32),
        sh.astype(np.float32),
        rng.uniform(0, 4, count).astype(np.float32),
        np.log(rng.uniform(spread / 3, spread * 3, (count, 3))).astype(np.float32),
        (rng.normal(size=(count, 4)) * 3).astype(np.float32),
    )


def rotation_matrices(quats):
    w, x, y, z = (quats / np.linalg.norm(quats, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def harmonic_colors(splats, eye):
    """graphdeco's eval_sh, written out, clamped at 0 from below."""
    d = splats.means - eye
    x, y, z = (d / np.linalg.norm(d, axis=1, keepdims=True)).T
    basis = [
        np.full_like(x, SH_C0),
        -0.48860251 * y,
        0.48860251 * z,
        -0.48860251 * x,
        1.09254843 * x * y,
        -1.09254843 * y * z,
        0.31539157 * (2 * z * z - x * x - y * y),
        -1.09254843 * x * z,
        0.54627422 * (x * x - y * y),
        -0.59004359 * y * (3 * x * x - y * y),
        2.89061144 * x * y * z,
        -0.45704580 * y * (4 * z * z - x * x - y * y),
        0.37317633 * z * (2 * z * z - 3 * x * x - 3 * y * y),
        -0.45704580 * x * (4 * z * z - x * x - y * y),
        1.44530572 * z * (x * x - y * y),
        -0.59004359 * x * (x * x - 3 * y * y),
    ]
    basis = np.stack(basis[: splats.sh.shape[1]], axis=1)
    return np.maximum(0.5 + np.einsum("nk,nkc->nc", basis, splats.sh), 0)


def to_linear(srgb):
    return np.where(srgb > 0.04045, ((srgb + 0.055) / 1.055) ** 2.4, srgb / 12.92)


def to_srgb(linear):
    return np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, linear * 12.92)


def brute_force(splats: Splats, camera: Camera, dilation: float, linear_light=False):
    """3DGS: projected covariances + dilation (px²), blended by depth -> premultiplied rgb, alpha.

    Trainers blend the sRGB numbers, Blender blends light: ``linear_light`` does as Blender.
    """
    view = camera.world_to_opencv()
    local = splats.means @ view[:3, :3].T + view[:3, 3]
    turned = view[:3, :3] @ rotation_matrices(splats.quats) * np.exp(splats.scales)[:, None, :]
    covariance = turned @ turned.transpose(0, 2, 1)
    pixels, depth = camera.project(splats.means)
    jacobian = np.zeros((splats.count, 2, 3))
    jacobian[:, 0, 0] = jacobian[:, 1, 1] = camera.fl_x / depth
    jacobian[:, :, 2] = -camera.fl_x * local[:, :2] / depth[:, None] ** 2
    flat = jacobian @ covariance @ jacobian.transpose(0, 2, 1) + np.eye(2) * dilation
    inverse = np.linalg.inv(flat)
    colors = harmonic_colors(splats, camera.position)
    colors = to_linear(colors) if linear_light else colors
    opacity = 1 / (1 + np.exp(-splats.opacities))
    grid = np.stack(np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5), axis=-1)
    rgb, through = np.zeros((SIZE, SIZE, 3)), np.ones((SIZE, SIZE))
    for k in np.argsort(depth):
        offset = grid - pixels[k]
        power = np.einsum("hwi,ij,hwj->hw", offset, inverse[k], offset)
        alpha = np.minimum(opacity[k] * np.exp(-power / 2), 0.99)
        alpha[alpha < 1 / 255] = 0
        rgb += (alpha * through)[..., None] * colors[k]
        through *= 1 - alpha
    alpha = 1 - through
    if linear_light:
        rgb = to_srgb(rgb / np.maximum(alpha, 1e-9)[..., None]) * alpha[..., None]
    return np.minimum(rgb, 1), alpha


def view_from(azimuth: float) -> Camera:
    eye = np.array([5 * np.sin(azimuth), -5 * np.cos(azimuth), 1.5])
    fl = 50 / 36 * SIZE
    return Camera(SIZE, SIZE, fl, fl, SIZE / 2, SIZE / 2, look_at(eye, (0, 0, 0)))


def cycles_picture(camera: Camera, path, samples=32, exact=False):
    """rgb premultiplied and alpha, floats of 0..1, display-referred, row 0 on top.

    Pixels are box-filtered; with ``exact`` sampled in their centers, blended as trainers do.
    """
    scene = bpy.context.scene
    data = bpy.data.cameras.new("camera")
    item = bpy.data.objects.new("camera", data)
    scene.collection.objects.link(item)
    item.matrix_world = Matrix(camera.matrix.tolist())
    scene.camera = item
    prepare_scene(scene, exact)
    scene.render.engine = "CYCLES"
    scene.cycles.samples = samples
    scene.cycles.use_denoising = False
    scene.cycles.pixel_filter_type = "BOX"
    scene.cycles.filter_width = 1.0
    if exact:
        sample_centers(scene)
    scene.render.film_transparent = True
    scene.render.resolution_x = scene.render.resolution_y = SIZE
    scene.render.resolution_percentage = 100
    scene.render.dither_intensity = 0
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.image_settings.color_depth = "8"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path))
    image.alpha_mode = "CHANNEL_PACKED"
    pixels = np.empty(SIZE * SIZE * 4, np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(SIZE, SIZE, 4)[::-1]
    return pixels[..., :3] * pixels[..., 3:], pixels[..., 3]


def psnr(a, b):
    return -10 * np.log10(np.mean((a - b) ** 2))


def imported(path, splats):
    write_splats(path, splats)
    return import_splat(path)
