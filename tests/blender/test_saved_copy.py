"""The copy of an open scene that a run works on renders the same: textures, linked libraries."""

import bpy
import numpy as np
import pytest

from gs_diffusion_addon.scene.result import save_scene

SIZE = 32


def checker(path, color):
    image = bpy.data.images.new(path.stem, 4, 4)
    pixels = np.ones((4, 4, 4), np.float32)
    pixels[::2, ::2, :3] = pixels[1::2, 1::2, :3] = color
    image.pixels.foreach_set(pixels.ravel())
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    return image


def glowing_plane(image, x):
    """A plane that shows the picture whatever the light."""
    bpy.ops.mesh.primitive_plane_add(size=1.8, location=(x, 0, 0))
    material = bpy.data.materials.new(image.name)
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    texture, emission = nodes.new("ShaderNodeTexImage"), nodes.new("ShaderNodeEmission")
    texture.image = image
    links.new(texture.outputs["Color"], emission.inputs["Color"])
    links.new(emission.outputs[0], nodes.new("ShaderNodeOutputMaterial").inputs["Surface"])
    bpy.context.object.data.materials.append(material)
    return bpy.context.object


def save(path):
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.file.make_paths_relative()
    bpy.ops.wm.save_as_mainfile(filepath=str(path))


def rendered(path):
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples = "CYCLES", 1
    scene.cycles.use_denoising = False
    scene.render.resolution_x, scene.render.resolution_y = 2 * SIZE, SIZE
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path))
    pixels = np.empty(2 * SIZE * SIZE * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return pixels.reshape(SIZE, 2 * SIZE, 4)


@pytest.fixture
def scene_file(tmp_path):
    """A scene with a relative texture and a linked object whose texture lies with its library."""
    scenes, assets = tmp_path / "scènes" / "today", tmp_path / "the assets"
    (scenes / "tex").mkdir(parents=True)
    (assets / "maps").mkdir(parents=True)
    glowing_plane(checker(assets / "maps" / "blue.png", (0, 0, 1)), 1).name = "Linked"
    save(assets / "library.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    glowing_plane(checker(scenes / "tex" / "red.png", (1, 0, 0)), -1)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.location, camera.data.type, camera.data.ortho_scale = (0, 0, 5), "ORTHO", 4
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    bpy.ops.wm.save_as_mainfile(filepath=str(scenes / "scene.blend"))
    library = str(assets / "library.blend")
    with bpy.data.libraries.load(library, link=True, relative=True) as (_, into):
        into.objects = ["Linked"]
    bpy.context.scene.collection.objects.link(into.objects[0])
    save(scenes / "scene.blend")
    bpy.ops.wm.open_mainfile(filepath=str(scenes / "scene.blend"))
    return scenes / "scene.blend"


def test_saved_copy_renders_the_same_from_another_folder(scene_file, tmp_path):
    assert bpy.data.libraries[0].filepath.startswith("//")
    assert all(i.filepath.startswith("//") for i in bpy.data.images if not i.library)
    before, file = rendered(tmp_path / "a.png"), scene_file.read_bytes()
    left, right = before[:, :SIZE, :3], before[:, SIZE:, :3]
    assert (left[..., 0] - left[..., 2]).max() > 0.5 and (right[..., 2] - right[..., 0]).max() > 0.5
    copy = tmp_path / "runs" / "deep" / "run 1" / "scene.blend"
    copy.parent.mkdir(parents=True)
    save_scene(copy, compress=False)
    assert bpy.data.filepath == str(scene_file)  # the open file stays what it is
    bpy.ops.wm.open_mainfile(filepath=str(copy), load_ui=False, use_scripts=False)
    assert not any(library.is_missing for library in bpy.data.libraries)
    np.testing.assert_array_equal(rendered(tmp_path / "b.png"), before)
    assert scene_file.read_bytes() == file


def test_the_comparison_can_fail(scene_file, tmp_path):
    before = rendered(tmp_path / "a.png")
    copy = tmp_path / "runs" / "deep" / "scene.blend"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(scene_file.read_bytes())  # a plain copy loses relative paths
    bpy.ops.wm.open_mainfile(filepath=str(copy), load_ui=False, use_scripts=False)
    assert np.abs(rendered(tmp_path / "b.png") - before).max() > 0.5
