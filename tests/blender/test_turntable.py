"""The turntable stage: its files, its resuming, what stands in the pictures."""

from __future__ import annotations

import ctypes
import math

import bpy
import numpy as np
import pytest

from gs_diffusion_addon.core.dataset import read_transforms
from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.exr import read_guide
from gs_diffusion_addon.core.ply import read_points
from tests.blender.turntable_helpers import (
    add,
    add_light,
    box,
    emission,
    monkey,
    read_png,
    render,
    small,
)


def test_files_events_and_resuming(tmp_path):
    monkey()
    settings = small(rings="40:3", size="48x32")
    run, events = render(tmp_path / "späce {a} #1", settings)
    names = [f"r_{k}" for k in range(11)]
    assert sorted(p.name for p in run.train_main.iterdir()) == sorted(f"{n}.png" for n in names)
    guides = [f"{n}.exr" for n in names]
    assert sorted(p.name for p in run.guides.iterdir()) == sorted([*guides, "surface.ply"])
    frames = read_transforms(run.transforms_main)
    assert [f.file_path for f in frames] == [f"./train_main/{n}" for n in names]
    assert [f.ring for f in frames] == [0] * 8 + [1] * 3
    expected = [f"train_main/{n}.png" for n in names] + [f"guides/{n}" for n in guides]
    assert sorted(events.paths) == sorted(expected)
    assert all((run.root / path).is_file() for path in events.paths)
    assert not events.warnings
    done = events.of("progress")[-1]
    assert (done["done"], done["total"], done["unit"]) == (11, 11, "frames")

    old = {p: p.stat().st_mtime_ns for p in run.root.rglob("r_*")}
    picture, guide = run.frame(4), run.guide(9)
    pixels = read_png(picture)
    picture.unlink()
    guide.unlink()
    _, events = render(run.root, settings)
    assert sorted(events.paths) == ["guides/r_9.exr", "train_main/r_4.png"]
    np.testing.assert_array_equal(read_png(picture), pixels)
    np.testing.assert_array_equal(read_guide(guide).position.shape, (32, 48, 3))
    assert all(p.stat().st_mtime_ns == t for p, t in old.items() if p not in (picture, guide))
    _, events = render(run.root, settings)
    assert not events.paths


def test_frames_are_straight_alpha_standard_srgb(tmp_path):
    """Linear 0.5 is 188 everywhere on the model, on half-covered border pixels too."""
    item = monkey()
    item.data.materials.append(emission((0.5, 0.1, 0.02)))
    bpy.context.scene.view_settings.view_transform = "AgX"
    bpy.context.scene.view_settings.exposure = 2.0
    run, _ = render(tmp_path, small(samples=16, lighting="scene"))
    pixels = read_png(run.frame(1)).astype(int)
    assert pixels.shape == (48, 48, 4)
    alpha = pixels[..., 3]
    assert (alpha == 0).any() and (alpha == 255).any() and ((alpha > 50) & (alpha < 200)).any()
    color = pixels[alpha > 50][:, :3]
    assert np.abs(color - (188, 89, 39)).max() <= 3
    guide = read_guide(run.guide(1))
    assert (guide.mask | (alpha < 255)).all() and (~guide.mask | (alpha > 0)).all()


@pytest.mark.parametrize(
    "engine",
    # A minute without a graphics card: EEVEE compiles its shaders first.
    ["cycles", pytest.param("eevee", marks=pytest.mark.slow), "workbench"],
)
def test_engines_agree_on_the_silhouette(tmp_path, engine):
    if engine != "cycles":
        ctypes.CDLL("libEGL.so.1")  # fails where the set-up left it out
    monkey()
    run, _ = render(tmp_path, small(engine=engine, samples=4))
    solid = read_png(run.frame(0))[..., 3] > 127
    mask = read_guide(run.guide(0)).mask
    assert (solid != mask).mean() < 0.02 and mask.mean() > 0.1


def test_studio_light_is_bright_and_clips_nothing(tmp_path):
    bpy.ops.mesh.primitive_uv_sphere_add(segments=32, ring_count=16)
    bpy.ops.object.shade_smooth()
    run, events = render(tmp_path, small(samples=64))
    assert not events.warnings
    for k in range(0, 8, 2):
        pixels = read_png(run.frame(k))
        color = pixels[pixels[..., 3] == 255][:, :3].astype(float)
        assert 110 < color.mean() < 215
        assert (color >= 255).mean() < 0.01
        assert np.abs(color.mean(0) - color.mean()).max() < 10  # no tint
        assert color.mean(1).std() > 8  # shape can be seen


def test_lighting_auto_takes_the_scenes_lamp(tmp_path):
    """One lamp lights one side only; the studio lights all around; without light, a warning."""
    box()
    add_light()
    run, events = render(tmp_path / "lamp", small())
    means = []
    for k in range(8):
        pixels = read_png(run.frame(k))
        means.append(pixels[pixels[..., 3] == 255][:, :3].mean())
    assert max(means) > 60 and min(means) < 20 and not events.warnings
    run, _ = render(tmp_path / "studio", small(lighting="studio"))
    for k in range(8):
        pixels = read_png(run.frame(k))
        assert pixels[pixels[..., 3] == 255][:, :3].mean() > 60
    bpy.data.objects.remove(bpy.data.objects["Lamp"])
    _, events = render(tmp_path / "dark", small(lighting="scene"))
    assert len(events.warnings) == 1 and "no light" in events.warnings[0]


def test_materials_are_told_apart_and_left_as_they_were(tmp_path):
    named = {name: bpy.data.materials.new(name) for name in ("Alpha", "Beta")}
    for place, name in ((-1.5, "Alpha"), (1.5, "Beta")):
        box(name, location=(place, 0, 0)).data.materials.append(named[name])
        named[name].pass_index = 40
    box("Bare", location=(0, 0, 2))
    add_light()
    run, _ = render(tmp_path, small())
    numbers = {m.name: 1 + k for k, m in enumerate(sorted(bpy.data.materials, key=str))}
    guide = read_guide(run.guide(0))
    east = guide.position[..., 0]
    assert (guide.material[guide.mask & (east < -0.6)] == numbers["Alpha"]).all()
    assert (guide.material[guide.mask & (east > 0.6)] == numbers["Beta"]).all()
    assert (guide.material[guide.mask & (np.abs(east) < 0.4)] == 0).all()
    assert [m.pass_index for m in named.values()] == [40, 40]


def test_only_chosen_objects_appear(tmp_path):
    """Others are neither framed nor seen; the lamp still shines on the chosen one."""
    box("Left", location=(-2, 0, 0))
    box("Right", location=(2, 0, 0))
    add_light()
    run, _ = render(tmp_path, small(objects="Right"))
    frames = read_transforms(run.transforms_main)
    pixels, _ = frames[0].camera.project((2.0, 0.0, 0.0))
    np.testing.assert_allclose(pixels, (24, 24), atol=1e-6)
    guide = read_guide(run.guide(0))
    assert (np.unique(guide.index[guide.mask]) == [2]).all()
    assert guide.position[guide.mask][:, 0].min() > 1
    assert read_png(run.frame(1))[..., :3].max() > 60


@pytest.mark.parametrize(
    ("prepare", "settings", "message"),
    [
        (lambda: None, {}, "no object with geometry"),
        (add_light, {}, "no object with geometry"),
        (lambda: setattr(box(), "hide_render", True), {}, "no object with geometry"),
        (box, {"objects": "Nope"}, "no object or collection called 'Nope'.*Box"),
        (
            lambda: setattr(box(), "hide_render", True),
            {"objects": "Box"},
            "'Box' is switched off for rendering",
        ),
        (lambda: add("Cloud", [(0, 0, 0), (1, 1, 1)], []), {}, "points but no faces"),
        (lambda: add("Void", [], []), {}, "no geometry at this animation frame"),
        (lambda: add("Dot", [(1, 1, 1)] * 3, [(0, 1, 2)]), {}, "has no size"),
        (box, {"lighting": "studio", "hdri": "/nowhere/x.exr"}, "/nowhere/x.exr does not exist"),
    ],
)
def test_bad_scenes_are_refused_in_a_sentence(tmp_path, prepare, settings, message):
    prepare()
    with pytest.raises(InputError, match=message):
        render(tmp_path, small(**settings))
    assert not list(tmp_path.iterdir())


def test_a_flat_face_without_area_warns(tmp_path):
    add("Sliver", [(0, 0, 0), (1, 0, 0), (0.5, 0, 0)], [(0, 1, 2)])
    run, events = render(tmp_path)
    assert any("no area" in message for message in events.warnings)
    assert not run.surface.exists() and run.transforms_main.exists()


def test_surface_points_and_normals_of_a_box(tmp_path):
    box(size=(2, 1, 1), location=(10, 0, 0))
    run, _ = render(tmp_path, small(lighting="scene"))
    points = read_points(run.surface)
    assert len(points.positions) >= 100_000
    local = (points.positions - (10, 0, 0)) / (1, 0.5, 0.5)
    assert np.abs(np.abs(local).max(axis=1) - 1).max() < 1e-5  # on the surface
    # Normals point straight out of the face the point lies on.
    outward = np.sign(local) * (np.abs(local) > 1 - 1e-5)
    inside = outward.astype(bool).sum(1) == 1
    np.testing.assert_allclose(points.normals[inside], outward[inside], atol=1e-5)
    ends = (np.abs(local[:, 0]) > 1 - 1e-6).mean()  # the two 1 x 1 ends of 10 square meters
    assert abs(ends - 0.2) < 0.005
    assert math.isclose(np.linalg.norm(points.normals, axis=1).min(), 1, abs_tol=1e-5)


def test_missing_texture_is_said(tmp_path):
    item = box()
    material = emission((1, 1, 1))
    image = bpy.data.images.new("Lost", 4, 4)
    image.source, image.filepath = "FILE", str(tmp_path / "lost.png")
    node = material.node_tree.nodes.new("ShaderNodeTexImage")
    node.image = image
    item.data.materials.append(material)
    _, events = render(tmp_path / "run", small(lighting="studio"))
    assert any("lost.png" in message for message in events.warnings)
