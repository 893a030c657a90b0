"""Entries in Blender's own menus: Object (operator search finds only what is in a menu), Import."""

from __future__ import annotations

import bpy

from ..declarations import Operators


def _object_menu(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    self.layout.separator()
    self.layout.operator_context = "INVOKE_DEFAULT"
    self.layout.operator(Operators.RUN_ITERATION)


def _import_menu(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    self.layout.operator(Operators.IMPORT_SPLAT, text="Gaussian Splat (.ply)")


def _export_menu(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    self.layout.operator(Operators.EXPORT_SPLAT, text="Gaussian Splat (.ply)")


def register() -> None:
    """Append the entries."""
    bpy.types.VIEW3D_MT_object.append(_object_menu)
    bpy.types.TOPBAR_MT_file_import.append(_import_menu)
    bpy.types.TOPBAR_MT_file_export.append(_export_menu)


def unregister() -> None:
    """Remove the entries; harmless when they are not there."""
    bpy.types.VIEW3D_MT_object.remove(_object_menu)
    bpy.types.TOPBAR_MT_file_import.remove(_import_menu)
    bpy.types.TOPBAR_MT_file_export.remove(_export_menu)
