"""The list of objects to turn around: names with commas and quotes, as written and as read."""

import bpy
import pytest

from gs_diffusion_addon.core import arguments
from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.scene.selection import chosen_objects
from gs_diffusion_addon.ui import properties
from tests.blender.turntable_helpers import box

pytestmark = pytest.mark.usefixtures("registered")


def group():
    return bpy.context.scene.gs_diffusion


@pytest.mark.parametrize(
    ("selected", "others", "text"),
    [
        (["Bolt, left"], ["Bolt", "left"], '"Bolt, left"'),
        (["Bolt, left", "Nut"], ["left"], '"Bolt, left", Nut'),
        (["A", "B"], ["A, B"], '"A", "B"'),
        (['5" pipe', '"Big" one', " x"], [], '" x", """Big"" one", 5" pipe'),
    ],
)
def test_use_selection_means_what_was_selected_whatever_its_names(selected, others, text):
    for name in (*selected, *others):
        box(name).select_set(name in selected)
    bpy.ops.gs_diffusion.use_selection()
    assert group().objects == text
    word = next(w for w in properties.options(group()) if w.startswith("--objects="))
    given = arguments.given_settings(arguments.parse(["run", "--out=x", word]))["objects"]
    scene = bpy.context.scene
    meant = [o.name for o in chosen_objects(given, scene, bpy.context.view_layer)]
    assert meant == sorted(selected)


def test_a_list_of_objects_as_it_was_written_before_means_the_same():
    """Of a run.json or a script from before names could stand in quotes."""
    for name in ("A, B", "C", "D", '"Big" one'):
        box(name)
    both = bpy.data.collections.new("C, D")
    bpy.context.scene.collection.children.link(both)
    both.objects.link(bpy.data.objects["D"])

    def meant(text):
        scene = bpy.context.scene
        return [o.name for o in chosen_objects(text, scene, bpy.context.view_layer)]

    assert meant("A, B") == ["A, B"] and meant("C, D") == ["C", "D"]
    assert meant('"Big" one,C') == ['"Big" one', "C"] and meant('"C, D"') == ["D"]
    with pytest.raises(InputError, match=r"called 'B' .* \"A, B\", C"):
        meant("C, B")
