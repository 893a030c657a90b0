"""Studio light: any environment ends at the same brightness; what counts as light in a scene."""

from __future__ import annotations

import bpy
import numpy as np
import pytest

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.scene.lighting import brightest_side, studio_world, world_shines
from tests.blender.turntable_helpers import read_png, render, small


def test_an_even_environment_gives_its_value():
    pixels = np.full((64, 128, 3), 0.3, np.float32)
    pixels[..., 1] = 0.7  # the strongest channel counts
    assert brightest_side(pixels) == pytest.approx(0.7, rel=1e-3)


def test_half_a_sky_lights_the_side_facing_it():
    """A bright upper half gives its value upwards; a lone spot what its area is worth."""
    pixels = np.zeros((256, 512, 3), np.float32)
    pixels[:128] = 2.0
    assert brightest_side(pixels) == pytest.approx(2.0, rel=0.03)
    lone = np.zeros((256, 512, 3), np.float32)
    lone[126:130, 254:258] = 1000.0
    solid_angle = (4 * np.pi / 256) * (4 * 2 * np.pi / 512)
    assert brightest_side(lone) == pytest.approx(1000 * solid_angle / np.pi, rel=0.05)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (7, 13), (300, 1000)])
def test_any_size_of_picture(size):
    assert brightest_side(np.ones((*size, 3), np.float32)) == pytest.approx(1, rel=1e-3)


def environment(path, value: float) -> str:
    image = bpy.data.images.new("sky", 16, 8, float_buffer=True)
    image.pixels.foreach_set(np.full(16 * 8 * 4, value, np.float32))
    image.filepath_raw, image.file_format = str(path), "OPEN_EXR"
    image.save()
    bpy.data.images.remove(image)
    return str(path)


@pytest.mark.parametrize("value", [0.01, 40.0])
def test_pictures_of_any_exposure_light_alike(tmp_path, value):
    bpy.ops.mesh.primitive_uv_sphere_add()
    hdri = environment(tmp_path / "sky.exr", value)
    run, _ = render(tmp_path / "run", small(samples=16, lighting="studio", hdri=hdri))
    pixels = read_png(run.frame(0))
    color = pixels[pixels[..., 3] == 255][:, :3]
    assert 215 < color.mean() < 245  # albedo 0.8 in white light is 231


def test_unusable_environments_are_refused(tmp_path):
    (tmp_path / "text.hdr").write_text("no picture")
    with pytest.raises(InputError, match=r"text\.hdr cannot be read"):
        studio_world(small(hdri=str(tmp_path / "text.hdr")))
    with pytest.raises(InputError, match="black"):
        studio_world(small(hdri=environment(tmp_path / "black.exr", 0.0)))


def test_which_worlds_shine():
    assert not world_shines(None)
    world = bpy.data.worlds.new("W")
    world.use_nodes = True
    assert not world_shines(world)  # Blender's default gray, 0.05
    background = next(n for n in world.node_tree.nodes if n.type == "BACKGROUND")
    background.inputs["Strength"].default_value = 20
    assert world_shines(world)
    background.inputs["Strength"].default_value = 1
    world.node_tree.nodes.new("ShaderNodeTexSky")
    assert world_shines(world)


@pytest.mark.parametrize("names", ["Collection", "Rig", "Cube, Light"])
def test_named_lamps_are_no_model(tmp_path, names):
    """Blender's own first scene, turned around by its collection, an empty's children or names."""
    bpy.ops.wm.read_factory_settings()
    objects = bpy.data.objects
    rig = objects.new("Rig", None)
    bpy.context.scene.collection.objects.link(rig)
    objects["Cube"].parent = objects["Light"].parent = rig
    by_name, _ = render(tmp_path / "names", small(objects=names, lighting="scene"))
    everything, _ = render(tmp_path / "all", small(lighting="scene"))
    np.testing.assert_array_equal(read_png(by_name.frame(0)), read_png(everything.frame(0)))
    dark, _ = render(tmp_path / "studio", small(objects=names, lighting="studio"))
    objects["Light"].hide_render = True
    alone, _ = render(tmp_path / "alone", small(objects="Cube", lighting="studio"))
    np.testing.assert_array_equal(read_png(dark.frame(0)), read_png(alone.frame(0)))
