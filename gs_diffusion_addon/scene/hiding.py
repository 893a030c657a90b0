"""What a splat stands in place of: its model and earlier results, hidden and brought back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import bpy
from mathutils import Matrix

from ..core.settings import Settings
from ..declarations import Properties
from .snapshot import temporarily


def hide_source(objects: list[bpy.types.Object]) -> list[str]:
    """Hide ``objects`` in viewports and renders; each remembers how it was in a custom property.

    Objects linked from a library get a local override first. Returns the names of those that have
    to stay as they are, because their whole collection is linked.
    """
    stubborn = []
    for item in objects:
        if Properties.SPLAT in item or Properties.HIDDEN in item:
            continue
        own = item if item.library is None else item.override_create(remap_local_usages=True)
        if own is None:
            stubborn.append(item.name)
            continue
        own[Properties.HIDDEN] = [int(own.hide_viewport), int(own.hide_render)]
        own.hide_viewport = own.hide_render = True
    return stubborn


def still_shown(names: list[str]) -> str:
    """What to tell the user about model objects that :func:`hide_source` had to leave."""
    return (
        f"{', '.join(names)}: linked with its whole collection, so it cannot be hidden behind the "
        "splat; exclude that collection in the outliner."
    )


def show_source(scene: bpy.types.Scene) -> int:
    """Undo :func:`hide_source` in the whole scene; returns how many objects came back."""
    hidden = _hidden(scene)
    for item in hidden:
        viewport, render = item[Properties.HIDDEN]
        item.hide_viewport, item.hide_render = bool(viewport), bool(render)
        del item[Properties.HIDDEN]
    return len(hidden)


@contextmanager
def source_shown(scene: bpy.types.Scene) -> Iterator[None]:
    """Models hidden behind their splats are as they were before; afterwards hidden again.

    So a second run in the same scene goes around the model and not around the first one's splat.
    """
    with ExitStack() as stack:
        for item in _hidden(scene):
            viewport, render = item[Properties.HIDDEN]
            as_before = {"hide_viewport": bool(viewport), "hide_render": bool(render)}
            stack.enter_context(temporarily(item, **as_before))
        yield


def _hidden(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    return [o for o in scene.objects if Properties.HIDDEN in o]


def hide_earlier(scene: bpy.types.Scene, splat: bpy.types.Object, settings: Settings) -> None:
    """Hide the results of earlier runs that ``splat`` would be drawn over, and mark them as such
    and it as a result.

    Those made of the same objects or main folder, or of a part where this one's model is all that
    renders; and only where nobody has moved them: a result put aside for a comparison stays.
    """
    folder, names = settings.main_folder, settings.objects.strip()
    for item in (o for o in scene.objects if Properties.RESULT in o):
        where, _, what = item[Properties.RESULT].partition("\n")
        covered = where == folder and (folder or names in ("", what))
        if covered and item.matrix_world == Matrix.Identity(4):
            item.hide_viewport = item.hide_render = True
            item[Properties.EARLIER] = True
    splat[Properties.RESULT] = f"{folder}\n{names}"


def earlier_results(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """What :func:`hide_earlier` has hidden in a scene and nobody has brought back."""
    return [o for o in scene.objects if Properties.EARLIER in o and _is_out_of_sight(o)]


def _is_out_of_sight(item: bpy.types.Object) -> bool:
    return item.hide_viewport and item.hide_render and item.library is None


def remove_earlier(scene: bpy.types.Scene) -> int:
    """Remove :func:`earlier_results` and their meshes from the file; returns how many they were."""
    earlier = earlier_results(scene)
    meshes = {item.data for item in earlier}
    for item in earlier:
        bpy.data.objects.remove(item)
    for mesh in meshes:
        if not mesh.users:
            bpy.data.meshes.remove(mesh)
    return len(earlier)
