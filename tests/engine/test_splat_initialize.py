"""First splats: discs on a surface, points from depth, silhouettes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gs_diffusion_addon.core.cameras import Camera, look_at
from gs_diffusion_addon.core.exr import Guide
from gs_diffusion_addon.core.ply import SH_C0, Points
from gs_diffusion_addon.engine.splat.dataset import Picture, World
from gs_diffusion_addon.engine.splat.initialize import (
    colored,
    from_points,
    from_silhouettes,
    points_of_guides,
    spacing,
    z_to,
)
from tests.engine.splat_helpers import cameras, surface_points


def test_quaternions_turn_z_to_the_normal():
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(200, 3))
    normals[:3] = (0, 0, 1), (0, 0, -1), (1e-9, 0, -1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    quats = z_to(normals.astype(np.float32))
    turned = Rotation.from_quat(np.roll(quats, -1, axis=1)).apply([0, 0, 1])
    assert np.abs(turned - normals).max() < 1e-3


def test_discs_cover_the_surface_once():
    """N discs of the estimated radius have the area of the sphere, within a tenth."""
    points = surface_points(3000)
    radius = spacing(points.positions)
    assert (np.pi * radius**2).sum() == pytest.approx(4 * np.pi, rel=0.15)


def test_points_become_flat_colored_discs_in_the_local_world():
    points = surface_points(500)
    world = World(np.array([10.0, 0, -3]), 4.0)
    moved = Points(
        (points.positions * 4 + world.center).astype(np.float32), points.normals, points.colors
    )
    moved.positions[7] = np.nan
    splats = from_points(moved, world, 400, 2, seed=1)
    assert splats.count == 400
    assert splats.sh.shape == (400, 9, 3)
    assert np.abs(np.linalg.norm(splats.means, axis=1) - 1).max() < 1e-3
    flatness = np.exp(splats.scales[:, 2] - splats.scales[:, 0])
    assert flatness == pytest.approx(0.25, rel=1e-4)
    colors = splats.sh[:, 0] * SH_C0 + 0.5
    assert set(np.unique(np.round(colors * 255))) <= set(np.unique(points.colors))
    again = from_points(moved, world, 400, 2, seed=1)
    assert (again.means == splats.means).all()
    assert (from_points(moved, world, 400, 2, seed=2).means != splats.means).any()


def sphere_picture(camera: Camera, world: World) -> tuple[Picture, Guide]:
    """A red unit sphere, traced analytically."""
    h, w = camera.height, camera.width
    ys, xs = np.mgrid[:h, :w] + 0.5
    ahead = camera.unproject(np.stack([xs, ys], -1), np.ones((h, w))) - camera.position
    o = camera.position
    a, b, c = (ahead**2).sum(-1), ahead @ o, o @ o - 1
    root = b * b - a * c
    hit = root > 0
    t = (-b - np.sqrt(np.maximum(root, 0))) / a
    position = o + t[..., None] * ahead
    depth = np.where(hit, t, 1e10).astype(np.float32)
    normal = np.where(hit[..., None], position, 0).astype(np.float32)
    rgba = np.zeros((h, w, 4), np.uint8)
    rgba[hit] = (200, 20, 10, 255)
    guide = Guide(depth, normal, normal, hit.astype(np.int32))
    return Picture(rgba, camera, world.view(camera), (0, h, 0, w), 0), guide


def test_depth_maps_become_points_on_the_surface():
    ring = cameras(5, (40, 40), 1.0, np.zeros(3))
    world = World.of(ring)
    pictures, guides = zip(*(sphere_picture(c, world) for c in ring), strict=True)
    points = points_of_guides(pictures, [*guides[:4], None], 300, seed=0)
    assert len(points.positions) == 300
    assert np.abs(np.linalg.norm(points.positions, axis=1) - 1).max() < 1e-4
    assert np.abs(points.normals - points.positions).max() < 1e-3
    assert (points.colors == (200, 20, 10)).all()
    assert not len(points_of_guides(pictures, [None] * 5, 300, seed=0).positions)


def test_points_take_the_colors_of_views_that_see_them():
    camera = Camera(40, 40, 40, 40, 20, 20, look_at((0, -4, 0), (0, 0, 0)))
    picture, guide = sphere_picture(camera, World.of([camera]))
    points = np.float32([[0, -1, 0], [0, 1, 0], [0, -9, 0], [5, 0, 0]])  # front, back, behind, off
    assert (colored(points, [picture], [guide])[0] == (200, 20, 10)).all()
    assert (colored(points, [picture], [guide])[1:] == 128).all()


def test_silhouettes_hold_all_first_splats():
    ring = cameras(8, (40, 40), 1.0, np.zeros(3))
    world = World.of(ring)
    pictures = [sphere_picture(c, world)[0] for c in ring]
    splats = from_silhouettes(pictures, world, 500, 1, seed=0)
    assert splats.count == 500
    places = splats.means * world.scale + world.center
    assert np.linalg.norm(places, axis=1).max() < 1.5


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_local_world_is_the_same_at_every_scale(scale):
    """Units and place of the scene change nothing, so float32 and rates always fit."""
    center = np.array([30.0, -20, 5]) * scale
    here = World.of(cameras(9, (40, 30), 1.0, np.zeros(3)))
    there = World.of(cameras(9, (40, 30), scale, center))
    assert there.scale == pytest.approx(here.scale * scale)
    assert there.center == pytest.approx(center + here.center * scale, abs=1e-6 * scale)
    points = surface_points(60)
    moved = (points.positions.astype(float) * scale + center).astype(np.float64)
    assert np.abs(there.localized(moved) - here.localized(points.positions)).max() < 1e-5
