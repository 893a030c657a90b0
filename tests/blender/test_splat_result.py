"""The import stage: result.blend reopened, the splat shown, the model hidden, paths working."""

import bpy
import numpy as np
import pytest
from mathutils import Matrix

from gs_diffusion_addon.core.cameras import Camera, look_at
from gs_diffusion_addon.core.dataset import Frame, write_transforms
from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.ply import Splats, write_splats
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.scene import result
from gs_diffusion_addon.scene.hiding import show_source
from gs_diffusion_addon.scene.modifier_inputs import get_input
from gs_diffusion_addon.scene.splat_import import SCALAR, get_attribute


@pytest.fixture(autouse=True)
def empty_scene():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    yield
    bpy.ops.wm.read_factory_settings(use_empty=True)


def few_splats() -> Splats:
    rng = np.random.default_rng(1)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    return Splats(normal(9, 3), normal(9, 4, 3), normal(9), normal(9, 3), normal(9, 4))


def save(path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(path))


@pytest.fixture
def run(tmp_path) -> Run:
    """A run folder with a splat and cameras, beside a scene in its own folder with a texture."""
    folder = tmp_path / "the scene"
    folder.mkdir()
    image = bpy.data.images.new("wood", 4, 4)
    image.filepath_raw, image.file_format = str(folder / "wood.png"), "PNG"
    image.save()
    image.filepath = str(folder / "wood.png")
    bpy.ops.mesh.primitive_cube_add(location=(1, 2, 3))
    material = bpy.data.materials.new("wood")
    material.use_nodes = True
    material.node_tree.nodes.new("ShaderNodeTexImage").image = image
    bpy.context.object.data.materials.append(material)
    bpy.ops.mesh.primitive_monkey_add()
    bpy.ops.object.light_add(type="SUN")
    save(folder / "scene.blend")
    bpy.ops.file.make_paths_relative()
    save(folder / "scene.blend")
    made = Run(tmp_path / "run")
    write_splats(made.splat, few_splats())
    camera = Camera(64, 64, 80.0, 80.0, 32, 32, look_at((0, -5, 0), (0, 0, 0)))
    write_transforms(made.transforms_main, [Frame("./train_main/r_0", camera, 0)])
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return made


def do_stage(run: Run, **settings) -> list[dict]:
    events = []
    blend = str(run.root.parent / "the scene" / "scene.blend")
    result.run_stage(
        run,
        Settings(blend=blend, **settings),
        lambda event, **fields: events.append({"event": event, **fields}),
    )
    return events


def reopen(run: Run) -> dict[str, bpy.types.Object]:
    bpy.ops.wm.open_mainfile(filepath=str(run.result))
    return dict(bpy.context.scene.objects.items())


def test_result_holds_the_splat_in_place_and_hides_the_model(run):
    do_stage(run)
    objects = reopen(run)
    splat = objects["splat_iter1"]
    assert splat.matrix_world == Matrix.Identity(4) and len(splat.data.vertices) == 9
    assert {m.name: m.show_render for m in splat.modifiers} == {
        "GS Diffusion Faithful": True,
        "GS Diffusion Points": False,
    }
    assert not splat.hide_render
    for name in ("Cube", "Suzanne"):
        assert objects[name].hide_render and objects[name].hide_viewport
    assert not objects["Sun"].hide_render
    assert bpy.context.scene.view_settings.view_transform == "Standard"
    assert bpy.context.scene.cycles.transparent_max_bounces >= 64
    width = get_attribute(splat.data, "gs_diffusion:filter", SCALAR)
    middle = np.median(few_splats().means, axis=0)
    distance = np.linalg.norm(np.array([0, -5, 0]) - middle)
    np.testing.assert_allclose(width, 0.3**0.5 * distance / 80, rtol=1e-5)
    assert get_input(splat.modifiers["GS Diffusion Faithful"], "Pixel") == pytest.approx(1 / 80)


def test_textures_still_load_and_nothing_else_is_left(run):
    do_stage(run)
    source = run.root.parent / "the scene" / "scene.blend"
    before = source.read_bytes()
    reopen(run)
    image = bpy.data.images["wood"]
    assert image.filepath.startswith("//") and list(image.size) == [4, 4]
    assert source.read_bytes() == before
    names = sorted(p.name for p in run.root.iterdir())
    assert names == ["result.blend", "splat_iter1.ply", "transforms_train_main.json"]


def test_hidden_model_comes_back_as_it_was(run):
    do_stage(run, objects="Suzanne")
    objects = reopen(run)
    assert not objects["Cube"].hide_render and objects["Suzanne"].hide_render
    assert show_source(bpy.context.scene) == 1
    assert not objects["Suzanne"].hide_render and not objects["Suzanne"].hide_viewport
    assert show_source(bpy.context.scene) == 0


def test_doing_it_again_replaces_the_result(run):
    do_stage(run)
    do_stage(run)
    assert [n for n in reopen(run) if "splat" in n] == ["splat_iter1"]


def test_model_linked_with_its_collection_is_named(run, tmp_path):
    bpy.ops.mesh.primitive_monkey_add()
    collection = bpy.data.collections.new("linked")
    collection.objects.link(bpy.context.object)
    bpy.context.scene.collection.children.link(collection)
    save(tmp_path / "library.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, into):
        into.collections = ["linked"]
    bpy.context.scene.collection.children.link(into.collections[0])
    save(run.root.parent / "the scene" / "scene.blend")
    warnings = [e["message"] for e in do_stage(run) if e["event"] == "warning"]
    assert len(warnings) == 1 and warnings[0].startswith("Suzanne: linked")


def test_without_a_splat_one_sentence_and_no_result(run):
    run.splat.unlink()
    with pytest.raises(InputError, match=r"splat_iter1.ply does not exist; run the stages"):
        do_stage(run)
    assert not run.result.exists()
