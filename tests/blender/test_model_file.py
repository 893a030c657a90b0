"""Every kind of model file opens, upright, at scale, in its colors; all else is refused."""

from __future__ import annotations

import bpy
import numpy as np
import pytest

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.exr import read_guide
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.scene.model_file import open_source
from tests.blender.turntable_helpers import add, box, read_png, render, small


def export_glb(path: str) -> None:
    bpy.ops.export_scene.gltf(filepath=path, export_format="GLB")


def export_gltf(path: str) -> None:
    bpy.ops.export_scene.gltf(filepath=path, export_format="GLTF_SEPARATE")


EXPORTERS = {
    "glb": export_glb,
    "gltf": export_gltf,
    "obj": lambda p: bpy.ops.wm.obj_export(filepath=p),
    "fbx": lambda p: bpy.ops.export_scene.fbx(filepath=p),
    "ply": lambda p: bpy.ops.wm.ply_export(filepath=p),
    "stl": lambda p: bpy.ops.wm.stl_export(filepath=p),
    "usdc": lambda p: bpy.ops.wm.usd_export(filepath=p),
    "blend": lambda p: bpy.ops.wm.save_as_mainfile(filepath=p, copy=True),
}


def corners() -> np.ndarray:
    """(2, 3): the open scene's meshes' bounds in the world."""
    bpy.context.view_layer.update()
    points = [
        i.matrix_world @ v.co for i in bpy.data.objects if i.type == "MESH" for v in i.data.vertices
    ]
    return np.array([np.min(points, 0), np.max(points, 0)])


@pytest.mark.parametrize("kind", EXPORTERS)
def test_models_stand_upright_at_scale(tmp_path, kind):
    """A shape unlike itself in any other orientation: long in x, further out in +y, high in +z."""
    box("Post", (0.2, 0.4, 3.0), (0, 0, 1.5))
    box("Arm", (2.0, 0.4, 0.3), (0.7, 0.1, 2.5))
    expected = corners()
    path = tmp_path / f"möbel 1.{kind}"
    EXPORTERS[kind](str(path))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    open_source(Settings(model=str(path)))
    np.testing.assert_allclose(corners(), expected, atol=1e-4)


def test_preferences_survive_an_import(tmp_path):
    """The user's preferences say which graphics card Cycles uses."""
    box()
    EXPORTERS["stl"](str(tmp_path / "m.stl"))
    bpy.context.preferences.view.ui_scale = 1.25
    open_source(Settings(model=str(tmp_path / "m.stl")))
    assert bpy.context.preferences.view.ui_scale == 1.25


@pytest.mark.parametrize("kind", ["glb", "obj"])
def test_textures_are_the_right_way_up(tmp_path, kind):
    """A wall facing the front view: red below, blue above."""
    wall = add("Wall", [(-1, 0, -1), (1, 0, -1), (1, 0, 1), (-1, 0, 1)], [(0, 1, 2, 3)])
    layer = wall.data.uv_layers.new()
    for corner, uv in enumerate([(0, 0), (1, 0), (1, 1), (0, 1)]):
        layer.data[corner].uv = uv
    image = bpy.data.images.new("Paint", 8, 8)
    pixels = np.zeros((8, 8, 4), np.float32)  # Blender's row 0 is the lowest
    pixels[:4, :, 0] = pixels[4:, :, 2] = pixels[..., 3] = 1
    image.pixels.foreach_set(pixels.ravel())
    image.filepath_raw, image.file_format = str(tmp_path / "paint.png"), "PNG"
    image.save()
    material = bpy.data.materials.new("Painted")
    material.use_nodes = True
    nodes = material.node_tree.nodes
    texture = nodes.new("ShaderNodeTexImage")
    texture.image = image
    surface = next(n for n in nodes if n.type == "BSDF_PRINCIPLED")
    material.node_tree.links.new(texture.outputs["Color"], surface.inputs["Base Color"])
    wall.data.materials.append(material)
    path = tmp_path / f"wall.{kind}"
    if kind == "obj":
        bpy.ops.wm.obj_export(filepath=str(path), path_mode="RELATIVE")
    else:
        export_glb(str(path))
    open_source(Settings(model=str(path)))
    run, events = render(tmp_path / "run", small(samples=4, elevation=0.0))
    assert not events.warnings
    picture = read_png(run.frame(0)).astype(float)
    above, below = picture[12:16, 20:28].mean((0, 1)), picture[32:36, 20:28].mean((0, 1))
    assert above[2] > above[0] + 60 and below[0] > below[2] + 60  # blue above, red below


def test_vertex_colors_of_a_scan_show(tmp_path):
    """A .ply with colored vertices and no material renders in its colors."""
    corners = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    faces = ["4 0 1 3 2", "4 4 6 7 5", "4 0 4 5 1", "4 2 3 7 6", "4 0 2 6 4", "4 1 5 7 3"]
    head = "ply\nformat ascii 1.0\nelement vertex 8\nproperty float x\nproperty float y\n"
    head += "property float z\nproperty uchar red\nproperty uchar green\nproperty uchar blue\n"
    head += "element face 6\nproperty list uchar int vertex_indices\nend_header\n"
    body = "".join(f"{x} {y} {z} 230 20 20\n" for x, y, z in corners) + "\n".join(faces) + "\n"
    (tmp_path / "scan.ply").write_text(head + body)
    open_source(Settings(model=str(tmp_path / "scan.ply")))
    run, _ = render(tmp_path / "run", small(samples=4))
    pixels = read_png(run.frame(0))
    color = pixels[pixels[..., 3] == 255][:, :3].astype(int)
    assert color[:, 0].mean() > color[:, 1].mean() + 80


def test_cut_out_leaves_have_holes_in_the_geometry_too(tmp_path):
    """Where a material is transparent, the geometry pass sees what is behind."""
    box("Wall", (2, 0.1, 2), (0, 1, 0))
    pane = box("Pane", (2, 0.1, 2), (0, -1, 0))
    material = bpy.data.materials.new("Clear")
    material.use_nodes = True
    surface = next(n for n in material.node_tree.nodes if n.type == "BSDF_PRINCIPLED")
    surface.inputs["Alpha"].default_value = 0.0
    pane.data.materials.append(material)
    run, _ = render(tmp_path, small(elevation=0.0))
    guide = read_guide(run.guide(0))
    assert guide.mask[24, 24] and abs(guide.position[24, 24, 1] - 0.95) < 1e-3
    assert guide.index[24, 24] == 2  # Wall; Pane is 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.obj", None, "does not exist"),
        ("model.xyz", b"1 2 3", "not a kind of file that can be opened; use one of .blend"),
        ("model", b"1 2 3", "not a kind of file"),
        ("bad.blend", b"nothing of the kind", "cannot open .*bad.blend"),
        ("bad.glb", b"glTF but not really", "cannot import .*bad.glb"),
        ("bad.gltf", b"{", "cannot import .*bad.gltf"),
        ("bad.fbx", b"not fbx", "bad.fbx"),
        ("bad.ply", b"ply\nformat ascii 1.0\nend", "bad.ply"),
        ("bad.stl", b"", "bad.stl"),
        ("bad.usdc", b"PXR-USDC and no more", "bad.usdc"),
        ("bad.obj", b"\x00\x01\x02", "no object in .*bad.obj"),
    ],
)
def test_unreadable_files_are_refused_in_a_sentence(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_source(Settings(model=str(path)))
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(), "Name a Blender scene"),
        (Settings(blend="a.blend", model="b.obj"), "not both"),
        (Settings(blend="/tmp"), "is a folder"),
        (Settings(blend=__file__), "use --model for other files"),
    ],
)
def test_what_to_open_must_be_clear(settings, message):
    with pytest.raises(InputError, match=message):
        open_source(settings)
