"""The live result: the newest checkpoint's splats in the viewport while the training works."""

from __future__ import annotations

import bpy

from ..core.errors import GsdError
from ..core.ply import read_splats
from ..declarations import SCENE_SETTINGS
from ..scene.splat_display import show_splat
from ..scene.splat_import import splat_object
from .job import Job

NAME = "GS Diffusion Preview"
_shown: tuple[str, int] = ("", 0)


def follow(job: Job) -> None:
    """Show the job's newest preview if the user wants it and it is not shown yet."""
    global _shown
    settings = getattr(bpy.context.scene, SCENE_SETTINGS)
    if not job.preview or not settings.live_preview:
        return
    path = job.folder / job.preview
    try:
        state = (str(path), path.stat().st_mtime_ns)
        if state == _shown:
            return
        splats = read_splats(path)
    except (OSError, GsdError):
        return  # it is being replaced or gone with its run: the next one comes
    _shown = state
    show(splats)


def show(splats: object) -> None:
    """Put splats into the scene under :data:`NAME`, in place of the last preview."""
    fresh = splat_object(NAME, splats)
    old = bpy.data.objects.get(NAME)
    if old is None or old.name not in bpy.context.scene.objects:
        bpy.context.scene.collection.objects.link(fresh)
        fresh.hide_render = fresh.hide_select = True
        show_splat(fresh)
        return
    before, old.data = old.data, fresh.data
    bpy.data.objects.remove(fresh)
    bpy.data.meshes.remove(before)


def remove() -> None:
    """Take the preview out of the file."""
    old = bpy.data.objects.get(NAME)
    if old is not None:
        mesh = old.data
        bpy.data.objects.remove(old)
        bpy.data.meshes.remove(mesh)
