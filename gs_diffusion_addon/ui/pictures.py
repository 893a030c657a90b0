"""Small pictures in panels, read by Blender's preview machinery, which never blocks drawing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import bpy.utils.previews

_collection: Any = None
MOST = 200
STAY = 1.5  # s
_shown: tuple[Path, float] = (Path(), 0.0)


def icon(path: Path) -> int:
    """An icon id for ``template_icon`` that shows the picture; 0 while there is none.

    A file that is written again is read again.
    """
    global _collection
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return 0
    if _collection is None:
        _collection = bpy.utils.previews.new()
    key = f"{path}|{changed}"
    if key not in _collection:
        if len(_collection) > MOST:
            _collection.clear()
        _collection.load(key, str(path), "IMAGE")
    return int(_collection[key].icon_id)


def newest(path: Path) -> Path:
    """``path``, or the picture shown instead for the while that Blender takes to load one: pictures
    that come too fast would never be seen.
    """
    global _shown
    shown, since = _shown
    if path != shown and (time.monotonic() - since > STAY or not shown.exists()):
        _shown = path, time.monotonic()
    return _shown[0]


def forget() -> None:
    """Free all pictures; for unregistering."""
    global _collection
    if _collection is not None:
        bpy.utils.previews.remove(_collection)
    _collection = None
