"""Which objects of a scene the turntable goes around, and which lights shine on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import bpy

from ..core.errors import InputError
from ..core.values import join_names, split_names
from ..declarations import Properties

LIGHTS = {"LIGHT", "LIGHT_PROBE"}
SOLID = {"MESH", "CURVE", "SURFACE", "META", "FONT"}
"""Object types that have faces when evaluated."""
OTHER_GEOMETRY = {"CURVES", "POINTCLOUD", "VOLUME", "GREASEPENCIL", "GPENCIL"}
"""Object types that render without faces."""


def rendered_objects(layer: bpy.types.ViewLayer) -> list[bpy.types.Object]:
    """The objects of a view layer that a render shows, sorted by name.

    Models hidden behind their splats count as shown (see :mod:`.hiding`). Left out are objects and
    collections switched off for rendering, excluded collections, and shadow catchers: on
    transparent film their shadows would be smears around the model.
    """
    found: dict[str, bpy.types.Object] = {}
    for collection in _rendered_collections(layer.layer_collection):
        found.update((o.name_full, o) for o in collection.objects if _renders(o))
    return [found[name] for name in sorted(found) if not catches_shadows(found[name])]


def _renders(item: bpy.types.Object) -> bool:
    """Whether renders show the object, or would if it were not hidden behind its splat."""
    before = item.get(Properties.HIDDEN)
    return not (item.hide_render if before is None else before[1])


def catches_shadows(item: bpy.types.Object) -> bool:
    """Whether the object is shown by the shadows on it only; lights have the flag set, too."""
    return item.is_shadow_catcher and item.type not in LIGHTS


def _rendered_collections(
    layer: bpy.types.LayerCollection,
) -> Iterator[bpy.types.Collection]:
    if layer.collection.hide_render:
        return
    if not layer.exclude:
        yield layer.collection
    for child in layer.children:
        yield from _rendered_collections(child)


def is_geometry(item: bpy.types.Object) -> bool:
    """Whether the object can show something itself, or instances something."""
    return item.type in SOLID | OTHER_GEOMETRY or item.instance_type != "NONE"


def stands_for_geometry(item: bpy.types.Object) -> bool:
    """Whether its name, as one of :func:`chosen_objects`, means anything that can be seen."""
    return any(is_geometry(o) for o in (item, *_stand_ins(item)))


def chosen_objects(
    names: str, scene: bpy.types.Scene, layer: bpy.types.ViewLayer
) -> list[bpy.types.Object]:
    """The model: what ``names`` (of objects or collections, see :func:`split_names`) mean, or all.

    An object without geometry of its own (an empty, an armature) stands for its children, as does
    one that instances them. Lamps are left out. Splats, results of earlier runs mostly, count only
    where nothing else is meant or where they are named themselves. Raises InputError for a name
    that is not there, is switched off for rendering, or if nothing renders.
    """
    visible = rendered_objects(layer)
    if not names.strip():
        model = _without_splats(visible)
    else:
        wanted = {o.name_full: o for name in _split(names, scene) for o in _named(name, scene)}
        model = [wanted[name] for name in sorted(wanted)]
    model = [o for o in model if o.type not in LIGHTS]  # they are the light's: rendered_lights
    if not any(is_geometry(o) for o in model):
        where = f"Among {names!r}" if names.strip() else "In the scene"
        raise InputError(
            f"{where} there is no object with geometry that renders; add a mesh, or switch its "
            "rendering on."
        )
    return model


def rendered_lights(layer: bpy.types.ViewLayer) -> list[bpy.types.Object]:
    """The lights and light probes that a render uses, sorted by name."""
    return [o for o in rendered_objects(layer) if o.type in LIGHTS]


def list_of(names: Sequence[str], scene: bpy.types.Scene) -> str:
    """The text that means just the objects of these names to :func:`chosen_objects`."""
    text = join_names(names)
    another = len(names) > 1 and text in scene.objects
    return join_names(names, quote=True) if another else text


def _split(names: str, scene: bpy.types.Scene) -> list[str]:
    """Names at the commas, unless the whole is one name with commas in it."""
    return [names] if names in scene.objects else split_names(names)


def _named(name: str, scene: bpy.types.Scene) -> list[bpy.types.Object]:
    found = scene.objects.get(name)
    if found is not None:
        members = [found, *_without_splats(list(_stand_ins(found)))]
    else:
        collection = next((c for c in scene.collection.children_recursive if c.name == name), None)
        if collection is None:
            known = join_names(o.name for o in scene.objects if is_geometry(o)) or "none"
            raise InputError(
                f"There is no object or collection called {name!r} in the scene; its objects are: "
                f"{_short(known)}."
            )
        members = _without_splats(list(collection.all_objects))
    shown = [o for o in members if _renders(o)]
    if not shown:
        raise InputError(f"{name!r} is switched off for rendering; switch it on to turn around it.")
    return shown


def _without_splats(objects: list[bpy.types.Object]) -> list[bpy.types.Object]:
    """The objects that are no splats, or all of them where nothing else has geometry."""
    rest = [o for o in objects if Properties.SPLAT not in o]
    return rest if any(is_geometry(o) and _renders(o) for o in rest) else objects


def _stand_ins(item: bpy.types.Object) -> Iterable[bpy.types.Object]:
    own = item.type in SOLID | OTHER_GEOMETRY and item.instance_type == "NONE"
    return () if own else item.children_recursive


def _short(text: str, most: int = 200) -> str:
    return text if len(text) <= most else text[:most].rsplit(",", 1)[0] + ", …"
