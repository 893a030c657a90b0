"""Blender's rule for the net: requests beyond this machine only when the user allows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import bpy

from ..core.errors import InputError
from ..core.run import read_manifest, run_settings
from ..core.stages import stage_settings

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_local(server: str) -> bool:
    """Whether an address means this machine."""
    text = server if "//" in server else f"//{server}"
    return (urlsplit(text).hostname or "").lower() in LOOPBACK


def allowed() -> bool:
    """Whether Blender's preference Allow Online Access is on."""
    return bool(getattr(bpy.app, "online_access", True))


def require_allowed(settings: Any) -> None:
    """Raise InputError if the stylizer would talk to another machine without permission."""
    if allowed():
        return
    if settings.stylizer in ("auto", "a1111"):
        for server in settings.server.split(","):
            if server.strip() and not is_local(server.strip()):
                raise InputError(
                    f"The server {server.strip()} is another machine: allow it with Preferences > "
                    "System > Allow Online Access, or choose the stylizer 'preview'."
                )
    if settings.stylizer == "diffusers_local" and not _is_folder(settings.checkpoint):
        raise InputError(
            f"The model {settings.checkpoint!r} is no folder on this machine and would be "
            "downloaded: allow it with Preferences > System > Allow Online Access, or name a "
            "folder."
        )


def require_run_allowed(folder: Path) -> None:
    """The same for a run that goes on with its own settings, as they are in each iteration; raises
    InputError for a folder without a run, too.
    """
    settings = run_settings(read_manifest(folder))
    for iteration in range(1, settings.iterations + 1):
        require_allowed(stage_settings("stylize", iteration, settings))


def _is_folder(name: str) -> bool:
    return bool(name) and Path(name).expanduser().is_dir()
