"""Quitting Blender while a run works: Ctrl-Q asks whether to leave it running or to stop it.

Blender lets nobody in between its File menu or the window's close button and the end; there the
panel's switch "Keep Running When Blender Closes" decides, which this dialog sets as well.
"""

from __future__ import annotations

from typing import Any

import bpy

from ..declarations import SCENE_SETTINGS, Operators
from . import running
from .adopted import Adopted
from .text import draw_text

_keys: list[tuple[Any, Any]] = []


class GS_DIFFUSION_OT_quit(bpy.types.Operator):
    """Quit Blender while a run works: leave it running or stop it"""

    bl_idname = Operators.QUIT
    bl_label = "A Run Is Under Way"

    choice: bpy.props.EnumProperty(
        name="The run",
        items=[
            ("leave", "Leave It Running", "It works on by itself; Runs offers to follow it"),
            ("stop", "Stop It", "What is finished stays; Runs offers to resume it"),
        ],
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only while a run works; otherwise Blender's own Ctrl-Q has its turn."""
        return running.is_running() and isinstance(running.current, Adopted)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask."""
        outlive = getattr(context.scene, SCENE_SETTINGS).outlive
        self.choice = "leave" if outlive else "stop"
        return context.window_manager.invoke_props_dialog(self, width=320)

    def draw(self, context: bpy.types.Context) -> None:
        """The two ways."""
        job = running.current
        if job is not None:
            draw_text(self.layout, f"{job.stage} in {job.folder.name}", "TIME", 46)
        self.layout.prop(self, "choice", expand=True)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Note the answer and let Blender quit, which asks about unsaved changes itself."""
        job = running.current
        if isinstance(job, Adopted):
            job.outlive = self.choice == "leave"
            getattr(context.scene, SCENE_SETTINGS).outlive = job.outlive
        bpy.ops.wm.quit_blender("INVOKE_DEFAULT")
        return {"FINISHED"}


def register() -> None:
    """Put Ctrl-Q (Cmd-Q on a Mac) before Blender's own; there are no keys in the background."""
    configuration = bpy.context.window_manager.keyconfigs.addon
    if configuration is None:
        return
    keymap = configuration.keymaps.new(name="Window", space_type="EMPTY")
    for key in ("ctrl", "oskey"):
        _keys.append((keymap, keymap.keymap_items.new(Operators.QUIT, "Q", "PRESS", **{key: True})))


def unregister() -> None:
    """Take the keys out again."""
    for keymap, item in _keys:
        keymap.keymap_items.remove(item)
    _keys.clear()


CLASSES = (GS_DIFFUSION_OT_quit,)
