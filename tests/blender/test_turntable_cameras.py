"""The cameras we write are Blender's own: to a hundredth of a pixel, for every kind of camera."""

from __future__ import annotations

import math
from pathlib import Path

import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector

from gs_diffusion_addon.core.dataset import read_transforms
from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.exr import read_guide
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.scene.beauty import configure_scene
from gs_diffusion_addon.scene.evaluated import evaluate
from gs_diffusion_addon.scene.framing import bounding_sphere
from gs_diffusion_addon.scene.geometry_pass import geometry_pass
from gs_diffusion_addon.scene.rig import build_rig, camera_of
from gs_diffusion_addon.scene.snapshot import scratch_scene
from gs_diffusion_addon.scene.turntable import render_to, write_cameras
from tests.blender.turntable_helpers import add_camera, box, monkey, render, small

POINTS = np.array([[0.3, -0.4, 0.5], [-0.6, 0.2, 0.1], [0.05, 0.5, -0.7]])


def set_camera(**values) -> bpy.types.Object:
    item = add_camera()
    for name, value in values.items():
        setattr(item.data, name, value)
    return item


CAMERAS = {
    "square": ("64", {}, (1, 1)),
    "portrait": ("48x80", {}, (1, 1)),
    "landscape": ("80x48", {}, (1, 1)),
    "shifted": ("64x48", {"shift_x": 0.13, "shift_y": -0.08}, (1, 1)),
    "vertical": ("80x48", {"sensor_fit": "VERTICAL", "sensor_height": 20.0}, (1, 1)),
    "horizontal portrait": ("48x80", {"sensor_fit": "HORIZONTAL", "sensor_width": 30.0}, (1, 1)),
    "wide pixels": ("64x48", {}, (2, 1)),
    "tall pixels, shifted": ("48x64", {"shift_x": -0.1, "sensor_fit": "VERTICAL"}, (1, 1.5)),
}


def blender_pixels(scene, item, points, width, height) -> np.ndarray:
    """Where Blender's own projection puts points, in pixels from the top left corner."""
    views = [world_to_camera_view(scene, item, Vector(p)) for p in points]
    return np.array([(v.x * width, (1 - v.y) * height) for v in views])


def centers(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y], axis=-1) + 0.5


def worst_reprojection(path: Path, camera) -> float:
    """Largest distance between a rendered position's projection and its pixel's center."""
    guide = read_guide(path)
    assert guide.mask.mean() > 0.03
    pixels, depth = camera.project(guide.position)
    np.testing.assert_allclose(depth[guide.mask], guide.depth[guide.mask], rtol=1e-4)
    away = np.linalg.norm(pixels - centers(*guide.mask.shape), axis=-1)
    return float(away[guide.mask].max())


@pytest.mark.parametrize("kind", CAMERAS)
def test_transforms_land_on_blenders_pixels(tmp_path, kind):
    """Through the written file, against Blender's projection and against rendered positions."""
    size, values, aspect = CAMERAS[kind]
    monkey()
    set_camera(**values)
    source = bpy.context.scene
    source.render.pixel_aspect_x, source.render.pixel_aspect_y = aspect
    settings = small(size=size, camera="scene")
    run = Run(tmp_path)
    with scratch_scene(source, list(source.objects), 1) as scene:
        configure_scene(scene, settings)
        seen = evaluate(scene)
        rig = build_rig(scene, settings, bounding_sphere(seen.parts), seen.lens)
        write_cameras(run, rig)
        frames = read_transforms(run.transforms_main)
        assert len(frames) == 8
        for number in (0, 3):
            camera = frames[number].camera
            rig.place(rig.views[number])
            expected = blender_pixels(scene, rig.item, POINTS, camera.width, camera.height)
            assert np.abs(camera.project(POINTS)[0] - expected).max() < 0.01
            with geometry_pass(scene):
                render_to(scene, run.guide(number))
            assert worst_reprojection(run.guide(number), camera) < 0.01


def test_camera_with_a_scaled_and_turned_parent(tmp_path):
    """Scale in matrix_world must not get into the pose."""
    monkey()
    item = add_camera((0, 0, 0))
    parent = bpy.data.objects.new("Parent", None)
    bpy.context.scene.collection.objects.link(parent)
    parent.location, parent.rotation_euler, parent.scale = (4, -3, 2), (1.1, 0.05, 0.92), (3,) * 3
    item.parent = parent
    item.data.shift_y = 0.1
    bpy.context.view_layer.update()
    assert abs(np.linalg.det(np.array(item.matrix_world)[:3, :3]) - 27) < 1e-3
    source = bpy.context.scene
    with scratch_scene(source, list(source.objects), 1) as scene:
        configure_scene(scene, small(size="64x48"))
        camera = camera_of(item, scene)
        assert np.abs(camera.matrix[:3, :3] @ camera.matrix[:3, :3].T - np.eye(3)).max() < 1e-12
        expected = blender_pixels(scene, item, POINTS, 64, 48)
        assert np.abs(camera.project(POINTS)[0] - expected).max() < 0.01
        with geometry_pass(scene):
            render_to(scene, tmp_path / "g.exr")
        assert worst_reprojection(tmp_path / "g.exr", camera) < 0.01


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_millimeters_and_kilometers(tmp_path, scale):
    """Clipping planes and distances follow the model's size."""
    box(size=(scale, 2 * scale, 3 * scale), location=(5 * scale, 0, 0))
    run, _ = render(tmp_path, small(lighting="scene"))
    for frame in read_transforms(run.transforms_main)[::4]:
        assert worst_reprojection(run.guide(frame.frame), frame.camera) < 0.01


@pytest.mark.parametrize(("side", "warned"), [(1.0, False), (0.12, True)])
def test_ten_kilometers_from_the_origin(tmp_path, side, warned):
    """Blender's places are a millimeter apart there: cameras stand on them, and coarse ones are
    said.
    """
    box(size=(side,) * 3, location=(10_000, -3_000, 500))
    run, events = render(tmp_path, small(lighting="scene", size="256"))
    for frame in read_transforms(run.transforms_main):
        place = frame.camera.position
        assert (place == place.astype(np.float32)).all()
        # What the guides' depth says through our camera lies on the box, as exactly as can be.
        guide = read_guide(run.guide(frame.frame))
        seen = centers(*guide.mask.shape)[guide.mask]
        places = frame.camera.unproject(seen, guide.depth[guide.mask]) - (10_000, -3_000, 500)
        assert np.abs(np.abs(places).max(1) - side / 2).max() < 0.002
    assert any("far from the world's origin" in text for text in events.warnings) == warned


def test_a_model_without_shape_so_far_out_is_refused(tmp_path):
    box(size=(0.002,) * 3, location=(10_000, 0, 0))
    with pytest.raises(InputError, match=r"m apart; move it to the origin\."):
        render(tmp_path, small())


def test_the_sphere_touches_the_border_at_margin_one(tmp_path):
    """A ball fills the picture up to its border with margin 1, and half of it with margin 2."""
    bpy.ops.mesh.primitive_uv_sphere_add(segments=64, ring_count=32, radius=2.5, location=(1, 2, 3))
    for margin, width in ((1.0, 64), (2.0, 32)):
        run, _ = render(
            tmp_path / str(margin), small(size="64x96", margin=margin, lens=20.0, lighting="scene")
        )
        columns = np.nonzero(read_guide(run.guide(2)).mask.any(axis=0))[0]
        assert abs((columns[-1] - columns[0] + 1) - width) <= 1
        assert abs(columns.mean() - 31.5) <= 0.5


def test_scene_camera_keeps_distance_height_side_and_lens(tmp_path):
    box(location=(1, 1, 0))
    item = set_camera(lens=85.0, sensor_width=30.0)
    item.location = (1 + 6 * math.cos(0.5), 1, 6 * math.sin(0.5))
    bpy.context.view_layer.update()
    run, _ = render(tmp_path, small(camera="scene", rings="-25:3", lighting="scene"))
    frames = read_transforms(run.transforms_main)
    assert len(frames) == 11
    np.testing.assert_allclose(frames[0].camera.position, item.location, atol=1e-5)
    for frame in frames:
        away = frame.camera.position - (1, 1, 0)
        assert abs(np.linalg.norm(away) - 6) < 1e-5
        assert abs(frame.camera.fl_x - 48 * 85 / 30) < 1e-3
        elevation = math.degrees(0.5) if frame.ring == 0 else -25
        assert abs(math.degrees(math.asin(away[2] / 6)) - elevation) < 1e-4


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda: None, "has no camera"),
        (lambda: add_camera((0.1, 0, 0.2)), "stands inside the model"),
        (lambda: setattr(add_camera().data, "type", "ORTHO"), "not a perspective camera"),
    ],
)
def test_unusable_scene_cameras_are_refused(tmp_path, prepare, message):
    box()
    prepare()
    with pytest.raises(InputError, match=message):
        render(tmp_path, small(camera="scene"))
    assert not list(tmp_path.iterdir())
