"""Inputs of Geometry Nodes modifiers by name: Blender 5.2 keeps them elsewhere than 4.2 to 5.1."""

from __future__ import annotations

from typing import Any

import bpy


def input_place(modifier: bpy.types.Modifier, name: str) -> tuple[bpy.types.bpy_struct, str] | None:
    """Where the modifier's input ``name`` lives: a struct and its property, as layouts take them.

    None where the modifier's node group has no such input.
    """
    items = modifier.node_group.interface.items_tree if modifier.node_group else ()
    for item in items:
        if item.item_type == "SOCKET" and item.in_out == "INPUT" and item.name == name:
            properties = getattr(modifier, "properties", None)
            if hasattr(properties, "inputs"):
                return getattr(properties.inputs, item.identifier), "value"
            return modifier, f'["{item.identifier}"]'
    return None


def get_input(modifier: bpy.types.Modifier, name: str) -> Any:
    """The value of the modifier's input ``name``; None where there is no such input."""
    place = input_place(modifier, name)
    return place[0].path_resolve(place[1]) if place else None


def set_input(modifier: bpy.types.Modifier, name: str, value: Any) -> bool:
    """Set the modifier's input ``name``; False where there is no such input."""
    place = input_place(modifier, name)
    if place is None:
        return False
    owner, key = place
    if key == "value":
        owner.value = value
    else:
        owner[key[2:-2]] = value
    modifier.id_data.update_tag()
    return True
