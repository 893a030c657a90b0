"""Leaves the user's scene as it was: all work is done in a copy of it that vanishes afterwards.

The copy shares the objects but has its own render settings, view layer, camera and world, so
nothing has to be put back but what lives on the objects themselves, and :func:`temporarily` does
that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import bpy

from ..core.errors import InputError
from ..declarations import Properties


@contextlib.contextmanager
def temporarily(owner: bpy.types.bpy_struct, **values: Any) -> Iterator[None]:
    """Set properties of a Blender struct and put their old values back, whatever happens in
    between.
    """
    old = {name: getattr(owner, name) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in old.items():
            setattr(owner, name, value)


@contextlib.contextmanager
def scratch_scene(
    source: bpy.types.Scene,
    objects: Iterable[bpy.types.Object],
    frame: int,
    like: bpy.types.ViewLayer | None = None,
) -> Iterator[bpy.types.Scene]:
    """A copy of ``source`` that holds just ``objects``, in one fresh view layer with the material
    override of ``like`` (None: the :func:`active_layer`), at animation ``frame``.

    Whatever else is created in Blender's data while it exists (cameras, worlds, pictures) is
    deleted with it.
    """
    before = _everything()
    current, sub = source.frame_current, source.frame_subframe
    layer = like or active_layer(source)
    copy = None
    try:
        copy = source.copy()
        _keep_only(copy, objects, layer)
        copy.animation_data_clear()  # an animated sample count would undo ours
        copy.frame_current, copy.frame_subframe = frame, 0.0 if frame != current else sub
        yield copy
    finally:
        if copy is not None:
            _release(copy)
        _delete_new(before)
        if frame != current:
            # Rendering another frame leaves that frame's values in the animated properties.
            source.frame_set(current, subframe=sub)


def scratch_layer(scene: bpy.types.Scene) -> bpy.types.ViewLayer:
    """The one view layer of a scratch scene."""
    return scene.view_layers[0]


def open_noted_scene() -> None:
    """Open the scene that :func:`layer_noted` noted in a file just loaded: with several windows
    the user's need not be the first, whose scene is open then.
    """
    noted = [scene for scene in bpy.data.scenes if Properties.LAYER in scene]
    if len(noted) == 1:
        for window in bpy.context.window_manager.windows:
            window.scene = noted[0]


def chosen_layer(scene: bpy.types.Scene, name: str) -> bpy.types.ViewLayer:
    """The view layer called ``name``; "" means the :func:`active_layer`. Raises InputError."""
    found = scene.view_layers.get(name)
    if name and found is None:
        raise InputError(
            f"There is no view layer called {name!r} in the scene; its view layers are: "
            f"{', '.join(layer.name for layer in scene.view_layers)}."
        )
    return found or active_layer(scene)


def active_layer(scene: bpy.types.Scene) -> bpy.types.ViewLayer:
    """The view layer the user works in; the first one where the scene is not in a window.

    In the background it is the one that the file was saved with, or that :func:`layer_noted` noted
    in it.
    """
    noted = scene.view_layers.get(str(scene.get(Properties.LAYER, "")))
    if bpy.app.background and noted is not None:
        return noted
    shown = [window.view_layer for window in bpy.context.window_manager.windows]
    if bpy.context.window is not None:  # there is none in a timer
        shown.insert(0, bpy.context.view_layer)
    return next((layer for layer in shown if layer.id_data == scene), scene.view_layers[0])


@contextlib.contextmanager
def layer_noted(scene: bpy.types.Scene) -> Iterator[None]:
    """What is saved in the block knows the user's view layer, whichever of several windows is the
    first when the file is loaded.
    """
    before = scene.get(Properties.LAYER)
    scene[Properties.LAYER] = active_layer(scene).name
    try:
        yield
    finally:
        forget_layer(scene)
        if before is not None:
            scene[Properties.LAYER] = before


def forget_layer(scene: bpy.types.Scene) -> None:
    """Take out what :func:`layer_noted` noted."""
    if Properties.LAYER in scene:
        del scene[Properties.LAYER]


def _keep_only(
    copy: bpy.types.Scene, objects: Iterable[bpy.types.Object], layer: bpy.types.ViewLayer
) -> None:
    root = copy.collection
    for child in list(root.children):
        root.children.unlink(child)
    for item in list(root.objects):
        root.objects.unlink(item)
    for item in objects:
        root.objects.link(item)
    fresh = copy.view_layers.new("GS Diffusion")
    fresh.material_override = layer.material_override
    for other in list(copy.view_layers):
        if other != fresh:
            _release_layer(other)
            copy.view_layers.remove(other)


def _release(scene: bpy.types.Scene) -> None:
    """Let go of everything the copy points to: 4.2 does not count the objects' users down by
    itself.
    """
    for item in list(scene.collection.objects):
        scene.collection.objects.unlink(item)
    for layer in scene.view_layers:
        _release_layer(layer)


def _release_layer(layer: bpy.types.ViewLayer) -> None:
    """Drop what a view layer points to: Blender forgets to count that user down when it goes."""
    for name in ("material_override", "world_override"):
        if hasattr(layer, name):
            setattr(layer, name, None)


def _collections() -> Iterator[bpy.types.bpy_prop_collection]:
    """bpy.data's lists of data-blocks; scenes first, since the others hang on them."""
    names = [p.identifier for p in bpy.data.bl_rna.properties if p.type == "COLLECTION"]
    for name in sorted(names, key=lambda n: n != "scenes"):
        collection = getattr(bpy.data, name)
        if hasattr(collection, "remove"):
            yield collection


def _everything() -> set[bpy.types.ID]:
    return {item for collection in _collections() for item in collection}


def _delete_new(before: set[bpy.types.ID]) -> None:
    for collection in _collections():
        for item in [item for item in collection if item not in before]:
            collection.remove(item)
