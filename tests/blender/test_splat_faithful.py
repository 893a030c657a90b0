"""The faithful display: Cycles' picture is the rasterizer's, from every camera, turned or not."""

import bpy
import numpy as np
import pytest
from mathutils import Euler, Matrix

from gs_diffusion_addon.core.cameras import Camera
from gs_diffusion_addon.scene.modifier_inputs import get_input
from gs_diffusion_addon.scene.splat_display import (
    fit_pixel,
    prepare_scene,
    set_display,
    show_splat,
    shows_exact,
)
from gs_diffusion_addon.scene.splat_edit import apply_transform
from gs_diffusion_addon.scene.splat_faithful import PIXEL
from tests.blender.splat_helpers import (
    SIZE,
    brute_force,
    cycles_picture,
    imported,
    make_ball,
    psnr,
    view_from,
)

PLACED = (
    Matrix.Translation((1, 2, 3))
    @ Euler((0.7, -1.1, 2.2)).to_matrix().to_4x4()
    @ Matrix.Scale(2.5, 4)
)


def faithful(path, splats, camera):
    item = imported(path, splats)
    show_splat(item)
    set_display(item, PIXEL, 1 / camera.fl_x)
    return item


def moved(camera: Camera, matrix: Matrix) -> Camera:
    """``camera`` after a turn, move and even scale of the whole world."""
    place, turn, _ = (matrix @ Matrix(camera.matrix.tolist())).decompose()
    pose = np.array(Matrix.LocRotScale(place, turn, None))
    return Camera(SIZE, SIZE, camera.fl_x, camera.fl_y, SIZE / 2, SIZE / 2, pose)


@pytest.mark.parametrize(("degree", "azimuth"), [(0, 0.3), (2, 2.0), (3, 4.4)])
def test_cycles_shows_the_rasterizers_picture(tmp_path, degree, azimuth):
    splats, camera = make_ball(300, degree, spread=0.05), view_from(azimuth)
    splats.opacities[:2] = np.inf, -np.inf
    faithful(tmp_path / "a.ply", splats, camera)
    rgb, alpha = cycles_picture(camera, tmp_path / "a.png", 1, exact=True)
    expected, expected_alpha = brute_force(splats, camera, 0.3)
    inside = expected_alpha > 0.5
    assert inside.mean() > 0.1
    assert psnr(rgb[inside], expected[inside]) > 48
    assert psnr(alpha, expected_alpha) > 48


@pytest.mark.parametrize("applied", [False, True])
def test_so_it_does_for_a_turned_object(tmp_path, applied):
    splats, camera = make_ball(300, 3, spread=0.05), view_from(1.0)
    item = faithful(tmp_path / "a.ply", splats, camera)
    item.matrix_world = PLACED
    bpy.context.view_layer.update()
    if applied:
        apply_transform(item)
        assert item.matrix_world == Matrix.Identity(4)
    rgb, _ = cycles_picture(moved(camera, PLACED), tmp_path / "a.png", 1, exact=True)
    expected, alpha = brute_force(splats, camera, 0.3)
    assert psnr(rgb[alpha > 0.5], expected[alpha > 0.5]) > 45


def test_in_light_the_order_is_right_and_the_blending_blenders(tmp_path):
    splats, camera = make_ball(300, 3, spread=0.05), view_from(2.5)
    faithful(tmp_path / "a.ply", splats, camera)
    rgb, alpha = cycles_picture(camera, tmp_path / "a.png", 16)
    as_light, expected_alpha = brute_force(splats, camera, 0.3, linear_light=True)
    inside = expected_alpha > 0.5
    assert psnr(rgb[inside], as_light[inside]) > 33  # pixels are areas here
    assert psnr(alpha, expected_alpha) > 36


def test_splats_behind_the_camera_and_without_one_do_no_harm(tmp_path):
    splats, camera = make_ball(300, 1, spread=0.05), view_from(0.3)
    splats.means[:100] = camera.position + camera.matrix[:3, 2] * 0.5
    splats.means[100] = camera.position
    faithful(tmp_path / "a.ply", splats, camera)
    bpy.context.evaluated_depsgraph_get()  # no active camera yet
    rgb, alpha = cycles_picture(camera, tmp_path / "a.png", 1, exact=True)
    expected, expected_alpha = brute_force(
        splats.selected(np.arange(splats.count) > 100), camera, 0.3
    )
    assert psnr(rgb, expected) > 45 and psnr(alpha, expected_alpha) > 45


def test_unknown_pixels_are_the_scene_cameras(tmp_path):
    item = imported(tmp_path / "a.ply", make_ball(5, 0))
    show_splat(item)
    scene = bpy.context.scene
    fit_pixel(item, scene)
    assert get_input(item.modifiers["GS Diffusion Faithful"], PIXEL) == 0
    data = bpy.data.cameras.new("camera")
    data.lens, data.sensor_width = 50, 36
    scene.camera = bpy.data.objects.new("camera", data)
    scene.collection.objects.link(scene.camera)
    scene.render.resolution_x, scene.render.resolution_y = 400, 200
    scene.render.resolution_percentage = 50
    fit_pixel(item, scene)
    assert get_input(item.modifiers["GS Diffusion Faithful"], PIXEL) == pytest.approx(36 / 50 / 200)
    scene.render.resolution_percentage = 100
    fit_pixel(item, scene)  # known now
    assert get_input(item.modifiers["GS Diffusion Faithful"], PIXEL) == pytest.approx(36 / 50 / 200)


def test_colors_follow_the_scene(tmp_path):
    first = imported(tmp_path / "a.ply", make_ball(5, 0))
    second = imported(tmp_path / "b.ply", make_ball(5, 1))
    for item in (first, second):
        show_splat(item)
    scene = bpy.context.scene

    def raw():
        return [get_input(m, "Raw Colors") for item in (first, second) for m in item.modifiers]

    prepare_scene(scene, exact=True)
    assert shows_exact(scene) and raw() == [True] * 4
    show_splat(second, viewport="gaussians")
    assert raw() == [True] * 5
    prepare_scene(scene)
    assert scene.view_settings.view_transform == "Standard" and raw() == [False] * 5
