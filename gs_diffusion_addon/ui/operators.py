"""Operators around splats and results: import, display, the hidden model, the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
from bpy_extras.io_utils import ExportHelper, ImportHelper

from ..core.errors import GsdError, StageError
from ..core.run import Run
from ..declarations import SCENE_SETTINGS, Attributes, Operators, Properties
from ..scene.color_view import no_plain_view, restore_view
from ..scene.hiding import hide_source, remove_earlier, show_source
from ..scene.selection import is_geometry, list_of, stands_for_geometry
from ..scene.splat_display import (
    adapt_scene,
    fit_pixel,
    follow_view,
    prepare_scene,
    sample_centers,
    show_splat,
    shown_as,
)
from ..scene.splat_edit import apply_transform, export_splat, filtered
from ..scene.splat_import import import_splat
from .text import tell

MODES = (
    ("faithful", "Faithful", "What the trainer drew, seen from the scene's active camera"),
    ("gaussians", "Gaussians", "Each splat as a Gaussian in space, for every side and mirrors"),
    ("points", "Points", "Each splat as a dot; fast"),
    ("none", "Vertices", "Nothing but the bare vertices"),
)


NAMES = {mode: name for mode, name, _ in MODES}


def is_splat(item: bpy.types.Object | None) -> bool:
    """Whether the object is a splat that we imported, and still one: the mark outlives a conversion
    and an applied display.
    """
    if item is None or item.type != "MESH" or Properties.SPLAT not in item:
        return False
    return Attributes.BASE in item.data.attributes


def _can_read(operator: Any, context: bpy.types.Context) -> bool:
    """Whether the active splat's attributes can be read now, for an operator's poll."""
    if not is_splat(context.active_object):
        operator.poll_message_set("The active object is no splat")
        return False
    if context.mode != "OBJECT":  # elsewhere Blender hides what the attributes hold
        operator.poll_message_set("Switch to Object Mode first")
        return False
    return True


def _adapt(operator: Any, scene: bpy.types.Scene, keep_raw: bool = True) -> None:
    """Let the scene show splats in their colors, and say what that changed."""
    try:
        for sentence in adapt_scene(scene, keep_raw):
            tell(operator, "INFO", sentence)
    except StageError as no_view:
        tell(operator, "WARNING", no_view)


class GS_DIFFUSION_OT_import_splat(bpy.types.Operator, ImportHelper):
    """Import a 3D Gaussian Splatting model (.ply)"""

    bl_idname = Operators.IMPORT_SPLAT
    bl_label = "Import Splat"
    bl_options = {"REGISTER", "UNDO"}

    filename_ext = ".ply"
    filter_glob: bpy.props.StringProperty(default="*.ply", options={"HIDDEN"})
    files: bpy.props.CollectionProperty(
        type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"}
    )
    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    colors: bpy.props.EnumProperty(
        name="Colors",
        description="How the scene shall show the splats' own colors",
        items=(
            (
                "STANDARD",
                "Standard",
                "No tone mapping (view transform Standard): blend as light does",
            ),
            ("EXACT", "As Trained", "View transform Raw: splats blend as in the trainer"),
            ("KEEP", "Leave the Scene", "Change nothing in the scene's color management"),
        ),
        default="STANDARD",
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Dropped: ask for the colors only. From a menu: let a file be chosen."""
        return self.invoke_popup(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Import the chosen files and select what came."""
        names = [f.name for f in self.files if f.name]
        paths = [Path(self.directory) / n for n in names] or [Path(self.filepath)]
        imported = []
        for path in paths:
            try:
                imported.append(import_splat(path, context.collection))
            except GsdError as error:
                tell(self, "ERROR", error)
        for item in context.selected_objects if imported else ():
            item.select_set(False)
        for item in imported:
            show_splat(item)
            fit_pixel(item, context.scene)
            item.select_set(True)
            context.view_layer.objects.active = item
        if imported and self.colors == "STANDARD":
            _adapt(self, context.scene, keep_raw=False)
        if imported and self.colors == "EXACT" and not prepare_scene(context.scene, exact=True):
            tell(self, "WARNING", no_plain_view())
        follow_view(context.scene)
        return {"FINISHED"} if imported else {"CANCELLED"}


class GS_DIFFUSION_OT_export_splat(bpy.types.Operator, ExportHelper):
    """Write the active splat, as it stands in the world, to a .ply"""

    bl_idname = Operators.EXPORT_SPLAT
    bl_label = "Export Splat"

    filename_ext = ".ply"
    filter_glob: bpy.props.StringProperty(default="*.ply", options={"HIDDEN"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """The active object has to be a splat, in Object Mode."""
        return _can_read(cls, context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write the file."""
        try:
            count = export_splat(context.active_object, Path(self.filepath))
        except (GsdError, OSError) as error:
            tell(self, "ERROR", error)
            return {"CANCELLED"}
        self.report({"INFO"}, f"{count:,} splats written to {self.filepath}")
        return {"FINISHED"}


class GS_DIFFUSION_OT_apply_splat_transform(bpy.types.Operator):
    """Apply the selected splats' transform: positions, axes and view-dependent colors turn too"""

    bl_idname = Operators.APPLY_SPLAT
    bl_label = "Apply Splat Transform"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """The active object has to be a splat, in Object Mode."""
        return _can_read(cls, context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Apply it to all selected splats."""
        try:
            for item in {context.active_object, *context.selected_objects}:
                if is_splat(item):
                    apply_transform(item)
        except GsdError as error:
            tell(self, "ERROR", error)
            return {"CANCELLED"}
        return {"FINISHED"}


class GS_DIFFUSION_OT_filter_splat(bpy.types.Operator):
    """Leave out splats that are faint, large or outside of a box"""

    bl_idname = Operators.FILTER_SPLAT
    bl_label = "Add Filter"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """The active object has to be a splat."""
        return is_splat(context.active_object)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add the filter's modifier."""
        filtered(context.active_object)
        return {"FINISHED"}


class GS_DIFFUSION_FH_splat(bpy.types.FileHandler):
    """A .ply dropped into the viewport"""

    bl_idname = "GS_DIFFUSION_FH_splat"
    bl_label = "Gaussian Splat"
    bl_import_operator = Operators.IMPORT_SPLAT
    bl_file_extensions = ".ply"

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """In the 3D viewport."""
        return context.area is not None and context.area.type == "VIEW_3D"


class GS_DIFFUSION_OT_splat_display(bpy.types.Operator):
    """Choose how the selected splats are drawn"""

    bl_idname = Operators.SPLAT_DISPLAY
    bl_label = "Splat Display"
    bl_options = {"REGISTER", "UNDO"}

    viewport: bpy.props.EnumProperty(
        name="Viewport", items=MODES, default="points", options={"SKIP_SAVE"}
    )
    render: bpy.props.EnumProperty(
        name="Render", items=MODES, default="faithful", options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """The active object has to be a splat."""
        return is_splat(context.active_object)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Switch the modifiers of all selected splats; what is not asked for stays the active's."""
        now = dict(zip(("viewport", "render"), shown_as(context.active_object), strict=True))
        for where, mode in now.items():
            if not self.properties.is_property_set(where):
                setattr(self, where, mode)
        for item in {context.active_object, *context.selected_objects}:
            if is_splat(item):
                show_splat(item, self.viewport, self.render)
        return {"FINISHED"}


class GS_DIFFUSION_OT_match_colors(bpy.types.Operator):
    """Show splats in their trained colors: exactly as the trainer drew them, or as light"""

    bl_idname = Operators.MATCH_COLORS
    bl_label = "Match the Trainer's Colors"
    bl_options = {"REGISTER", "UNDO"}

    exact: bpy.props.BoolProperty(
        name="Blend as Trained",
        description="View transform Raw, and splats that emit sRGB numbers: the picture is the "
        "trainer's, but other objects look too dark. Off: view transform Standard",
        default=True,
    )
    centers: bpy.props.BoolProperty(
        name="Sample Pixel Centers",
        description="Look through each pixel's center only, as the trainer does; one sample is "
        "then enough, but the edges of other objects get jagged",
        default=False,
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set up the scene and all its splats."""
        if not prepare_scene(context.scene, self.exact):
            tell(self, "WARNING", no_plain_view())
        if self.centers:
            sample_centers(context.scene)
        return {"FINISHED"}


class GS_DIFFUSION_OT_toggle_source(bpy.types.Operator):
    """Show the model that the splat was made from, or hide the selected objects behind the splat"""

    bl_idname = Operators.TOGGLE_SOURCE
    bl_label = "Show or Hide Model"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Show what is hidden; if nothing was, hide the selection. The view comes along: the
        model's own, or one that shows a splat's colors.
        """
        scene = context.scene
        if show_source(scene):
            restore_view(scene)
            return {"FINISHED"}
        chosen = [o for o in context.selected_objects if is_geometry(o) and not is_splat(o)]
        if not chosen:
            self.report({"WARNING"}, "No model is hidden; select the objects to hide.")
            return {"CANCELLED"}
        hide_source(chosen)
        behind = any(Properties.HIDDEN in o for o in scene.objects)
        if behind and any(is_splat(o) for o in scene.objects):
            _adapt(self, scene)
        return {"FINISHED"}


class GS_DIFFUSION_OT_remove_earlier(bpy.types.Operator):
    """Remove the hidden splats of earlier runs from the file; their .ply stay in the run folders"""

    bl_idname = Operators.REMOVE_EARLIER
    bl_label = "Remove Earlier Results"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """In Object Mode, as all that removes objects."""
        cls.poll_message_set("Switch to Object Mode first")
        return context.mode == "OBJECT"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove them; undo brings them back."""
        count = remove_earlier(context.scene)
        plural = "" if count == 1 else "s"
        text = f"{count or 'No'} earlier result{plural} removed"
        self.report({"INFO"}, text)
        return {"FINISHED"} if count else {"CANCELLED"}


class GS_DIFFUSION_OT_use_selection(bpy.types.Operator):
    """Turn around the selected objects only"""

    bl_idname = Operators.USE_SELECTION
    bl_label = "Use Selected Objects"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write the names into the setting "objects"; without any it would mean everything."""
        names = sorted(o.name for o in context.selected_objects if stands_for_geometry(o))
        if not names:
            self.report(
                {"ERROR"},
                "There is nothing with geometry among the selected objects; select a mesh, or what "
                "one hangs on.",
            )
            return {"CANCELLED"}
        getattr(context.scene, SCENE_SETTINGS).objects = list_of(names, context.scene)
        return {"FINISHED"}


class GS_DIFFUSION_OT_open_report(bpy.types.Operator):
    """Open a run's report in the web browser"""

    bl_idname = Operators.OPEN_REPORT
    bl_label = "Open Report"

    folder: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Hand the file to the system."""
        report = Run(Path(self.folder)).report
        if not report.is_file():
            self.report({"ERROR"}, f"{report} does not exist.")
            return {"CANCELLED"}
        bpy.ops.wm.url_open(url=report.as_uri())
        return {"FINISHED"}


CLASSES = (
    GS_DIFFUSION_OT_import_splat,
    GS_DIFFUSION_OT_export_splat,
    GS_DIFFUSION_OT_apply_splat_transform,
    GS_DIFFUSION_OT_filter_splat,
    GS_DIFFUSION_FH_splat,
    GS_DIFFUSION_OT_splat_display,
    GS_DIFFUSION_OT_match_colors,
    GS_DIFFUSION_OT_toggle_source,
    GS_DIFFUSION_OT_remove_earlier,
    GS_DIFFUSION_OT_use_selection,
    GS_DIFFUSION_OT_open_report,
)
