"""Where things are: the user's folder, the worker's environment, a scene and its runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bpy

from ..core.interpreters import environment_folder
from ..declarations import SCENE_SETTINGS

PACKAGE = __package__.rpartition(".")[0]
"""The add-on's name as Blender knows it, such as bl_ext.user_default.gs_diffusion_addon."""

USUAL_RUNS = "//gs_diffusion"
"""Where runs go unless the user says otherwise: beside the .blend."""


def user_folder() -> Path:
    """A folder that outlives updates of the extension."""
    if PACKAGE.startswith("bl_ext."):
        return Path(bpy.utils.extension_path_user(PACKAGE, path="", create=True))
    return environment_folder().parent


def name_environment() -> None:
    """Let this process and its children look for the worker's environment in our user folder."""
    if PACKAGE.startswith("bl_ext."):
        os.environ.setdefault("GSD_ENVIRONMENT", str(user_folder() / "worker"))


def preferences() -> Any:
    """Our preferences; None where Blender has no entry for us (tests, --addons)."""
    entry = bpy.context.preferences.addons.get(PACKAGE)
    return entry.preferences if entry else None


def worker_python(settings: Any) -> str:
    """The chosen Python of the worker: the scene's, else the preferences'; empty to look for it."""
    chosen = settings.worker_python or getattr(preferences(), "worker_python", "")
    return bpy.path.abspath(chosen) if chosen else ""


def scene_of(session_uid: int) -> bpy.types.Scene | None:
    """The scene with this number; None once its file is closed.

    Whoever waits has to keep the number: undo and redo leave freed memory in place of a scene, and
    writing into its settings ends Blender.
    """
    return next((s for s in bpy.data.scenes if s.session_uid == session_uid), None)


def runs_folder(scene: bpy.types.Scene) -> Path:
    """Where this scene's runs go; beside the .blend by default, at home for an unsaved scene."""
    text: str = getattr(scene, SCENE_SETTINGS).folder.strip() or USUAL_RUNS
    if text.startswith("//") and not bpy.data.filepath:
        return Path.home() / "gs_diffusion"
    return Path(bpy.path.abspath(text)).absolute()


def log_tail_file(folder: Path) -> Path | None:
    """The newest log of a run."""
    logs = list((folder / "logs").glob("*.log"))
    return max(logs, key=lambda p: p.stat().st_mtime, default=None)
