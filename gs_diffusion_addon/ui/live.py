"""The live result: the newest checkpoint's splats in the viewport while the training works.

A thread reads the file and thins it out, so that what is left for the window takes milliseconds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy.app.handlers import persistent

from ..core.errors import GsdError
from ..core.ply import Splats, read_splats
from ..declarations import SCENE_SETTINGS
from ..scene.splat_display import build_displays, show_splat
from ..scene.splat_import import splat_object
from .job import Job

NAME = "GS Diffusion Preview"
MOST = 40_000
"""Splats that are shown; a preview is drawn as points, of which more would hide each other."""

_asked: tuple[str, int] = ("", 0)
_read: list[tuple[Path, Splats]] = []
_building: Iterator[None] = build_displays(0, ("points",))
"""What a preview is drawn by, built a part at each call before it is shown."""


def follow(job: Job) -> None:
    """Show the job's newest preview if the user wants it and it is not shown yet; only in the scene
    that the result goes to.
    """
    global _asked, _building
    settings = getattr(bpy.context.scene, SCENE_SETTINGS)
    if job.origin is None or not job.origin.is_open:
        return
    if not job.preview or not settings.live_preview:
        return
    path = job.folder / job.preview
    if _read and next(_building, _building) is _building:  # the nodes are there
        source, splats = _read.pop()
        _read.clear()
        _building = build_displays(0, ("points",))
        if source == path:
            show(splats)
    try:
        state = (str(path), path.stat().st_mtime_ns)
    except OSError:
        return  # it is being replaced or gone with its run: the next one comes
    if state != _asked:
        _asked = state
        threading.Thread(target=_load, args=(path,), daemon=True).start()


def _load(path: Path) -> None:
    try:
        _read.append((path, thinned(read_splats(path))))
    except (OSError, GsdError):
        return  # replaced while it was read: the next one comes


def thinned(splats: Splats) -> Splats:
    """At most MOST of the splats, evenly chosen, without view-dependent color."""
    step = -(-splats.count // MOST)
    parts = (splats.means, splats.sh[:, :1], splats.opacities, splats.scales, splats.quats)
    return Splats(*(np.ascontiguousarray(part[::step]) for part in parts))


def show(splats: Splats) -> None:
    """Put splats into the scene under :data:`NAME`, in place of the last preview.

    They are drawn in front: they stand where the model does, which would hide them.
    """
    old = bpy.data.objects.get(NAME)
    if old is not None and old.name not in bpy.context.scene.objects:
        remove()  # it was left in another scene
        old = None
    fresh = splat_object(NAME, splats)
    if old is None:
        bpy.context.scene.collection.objects.link(fresh)
        fresh.hide_render = fresh.hide_select = fresh.show_in_front = True
        show_splat(fresh)
        return
    before, old.data = old.data, fresh.data
    bpy.data.objects.remove(fresh)
    bpy.data.meshes.remove(before)


def remove() -> None:
    """Take the preview out of the file; while its job works :func:`follow` shows it again."""
    global _asked
    _asked = ("", 0)
    _read.clear()
    old = bpy.data.objects.get(NAME)
    if old is not None:
        mesh = old.data
        bpy.data.objects.remove(old)
        bpy.data.meshes.remove(mesh)


@persistent
def _clean(_file: Any = None, _more: Any = None) -> None:
    """No file is saved with a preview, and none that undo or a file from a crash brings stays."""
    remove()


_HANDLERS = ("save_pre", "load_post", "undo_post", "redo_post")


def register() -> None:
    """Keep the preview out of files and of undo's steps."""
    for name in _HANDLERS:
        getattr(bpy.app.handlers, name).append(_clean)


def unregister() -> None:
    """Harmless when nothing is registered."""
    for name in _HANDLERS:
        handlers = getattr(bpy.app.handlers, name)
        if _clean in handlers:
            handlers.remove(_clean)
