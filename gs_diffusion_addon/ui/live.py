"""The live result: the newest checkpoint's splats in the viewport while the training works.

A thread reads the file and thins it out, so that what is left for the window takes milliseconds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np

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
_read: list[Splats] = []
_building: Iterator[None] = build_displays(0, ("points",))
"""What a preview is drawn by, built a part at each call before it is shown."""


def follow(job: Job) -> None:
    """Show the job's newest preview if the user wants it and it is not shown yet."""
    global _asked, _building
    settings = getattr(bpy.context.scene, SCENE_SETTINGS)
    if not job.preview or not settings.live_preview:
        return
    if _read and next(_building, _building) is _building:  # the nodes are there
        show(_read.pop())
        _read.clear()
        _building = build_displays(0, ("points",))
    path = job.folder / job.preview
    try:
        state = (str(path), path.stat().st_mtime_ns)
    except OSError:
        return  # it is being replaced or gone with its run: the next one comes
    if state != _asked:
        _asked = state
        threading.Thread(target=_load, args=(path,), daemon=True).start()


def _load(path: Path) -> None:
    try:
        _read.append(thinned(read_splats(path)))
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
    """Take the preview out of the file."""
    _read.clear()
    old = bpy.data.objects.get(NAME)
    if old is not None:
        mesh = old.data
        bpy.data.objects.remove(old)
        bpy.data.meshes.remove(mesh)
