"""Where a run began: its .blend, its scene and its model, so that its splat arrives there alone.

This Blender knows the scene by its session number, which undo, Save As and a new name leave alone.
The run folder keeps the names for the next one.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
from bpy.app.handlers import persistent

from ..core.errors import GsdError, InputError
from ..core.run import SCENE_NAMES, read_json, write_json
from ..declarations import SCENE_SETTINGS
from ..scene.selection import chosen_objects
from ..scene.snapshot import chosen_layer


@dataclass
class Origin:
    """The .blend ("" while it is unsaved), the scene's name and session number (0 in another
    Blender), and the names of the objects that the turntable goes around.
    """

    file: str
    scene: str
    number: int = 0
    model: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it is the scene that is open now."""
        scene = bpy.context.scene
        if self._is_here:
            return bool(self.number == scene.session_uid)
        here = (bpy.data.filepath, scene.name)
        return bool(self.file) and here == (self.file, self.scene)

    def __str__(self) -> str:
        """What is to be opened for it."""
        if self._is_here or (self.file and self.file == bpy.data.filepath):
            return f"the scene {self.scene}"
        return Path(self.file).name or "the unsaved scene"

    @property
    def _is_here(self) -> bool:
        return any(self.number == s.session_uid for s in bpy.data.scenes)


_known: dict[Path, Origin] = {}
"""By run folder: those of this Blender."""


def begin(folder: Path, scene: bpy.types.Scene) -> None:
    """Note where the run in ``folder`` begins; raises GsdError or OSError if it cannot be kept."""
    _known[folder] = Origin(bpy.data.filepath, scene.name, scene.session_uid, _model(scene))
    _keep(folder)


def origin_of(folder: Path) -> Origin:
    """Where a run began; for one that nobody noted (a command line's) the open scene, of which then
    nothing is the model.
    """
    found = _known.get(folder) or _kept(folder)
    if found is None or not (found.file or found.number):
        scene = bpy.context.scene
        return Origin(bpy.data.filepath, scene.name, scene.session_uid)
    return found


def model_of(folder: Path) -> tuple[str, ...] | None:
    """The names of the objects that a run's turntable went around; None if nobody noted them."""
    found = _known.get(folder) or _kept(folder)
    return found.model if found else None


def _model(scene: bpy.types.Scene) -> tuple[str, ...]:
    settings: Any = getattr(scene, SCENE_SETTINGS)
    if settings.main_folder:
        return ()
    try:
        layer = chosen_layer(scene, settings.view_layer)
        chosen = chosen_objects(settings.objects, scene, layer)
    except InputError:
        return ()  # the run's turntable says so
    return tuple(o.name_full for o in chosen)


def _keep(folder: Path) -> None:
    known = _known[folder]
    file = known.file
    with suppress(ValueError):  # on another drive of Windows
        file = os.path.relpath(file, folder) if file else ""
    names = {"file": file, "scene": known.scene, "model": list(known.model)}
    write_json(folder / SCENE_NAMES, names)


def _kept(folder: Path) -> Origin | None:
    """What another Blender noted; None where there is nothing that can be read."""
    try:
        found = read_json(folder / SCENE_NAMES)
        file, scene, model = (found[name] for name in ("file", "scene", "model"))
        path = os.path.normpath(folder / file) if file else ""
        return Origin(path, str(scene), model=tuple(str(name) for name in model))
    except (InputError, KeyError, TypeError):
        return None


@persistent
def _saved(_file: Any, _more: Any = None) -> None:
    """The scene that a run belongs to goes by another name after Save As."""
    names = {s.session_uid: s.name for s in bpy.data.scenes}
    for folder, known in _known.items():
        here = (bpy.data.filepath, names.get(known.number))
        if known.number in names and here != (known.file, known.scene):
            known.file, known.scene = bpy.data.filepath, names[known.number]
            with suppress(GsdError, OSError):  # the folder is gone; this Blender knows all the same
                _keep(folder)


def register() -> None:
    """Notice Save As."""
    bpy.app.handlers.save_post.append(_saved)


def unregister() -> None:
    """Harmless when nothing is registered."""
    if _saved in bpy.app.handlers.save_post:
        bpy.app.handlers.save_post.remove(_saved)
