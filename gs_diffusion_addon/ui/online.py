"""Blender's rule for the net: requests beyond this machine only when the user allows them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import bpy

from ..core.a1111_control import parse_control
from ..core.errors import InputError
from ..core.run import read_manifest, run_settings
from ..core.settings import Settings
from ..core.stages import stage_settings

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_local(server: str) -> bool:
    """Whether an address means this machine."""
    text = server if "//" in server else f"//{server}"
    return (urlsplit(text).hostname or "").lower() in LOOPBACK


def allowed() -> bool:
    """Whether Blender's preference Allow Online Access is on."""
    return bool(getattr(bpy.app, "online_access", True))


def require_allowed(settings: Settings, iterations: int) -> None:
    """Raise InputError if the stylizer would talk to another machine without permission in one of
    the ``iterations`` of a run: schedules may bring other models.
    """
    for iteration in range(1, iterations + 1):
        if not allowed():
            _require(stage_settings("stylize", iteration, settings))


def _require(settings: Settings) -> None:
    if settings.stylizer in ("auto", "a1111"):
        for server in settings.server.split(","):
            if server.strip() and not is_local(server.strip()):
                raise InputError(
                    f"The server {server.strip()} is another machine: allow it with Preferences > "
                    "System > Allow Online Access, or choose the stylizer 'preview'."
                )
    for name in _models(settings) if settings.stylizer == "diffusers_local" else ():
        if not _is_folder(name):
            raise InputError(
                f"The model {name!r} is no folder on this machine and would be downloaded: allow "
                "it with Preferences > System > Allow Online Access, or name a folder."
            )


def _models(settings: Settings) -> list[str]:
    """What the stylizer on this machine loads; what is not named is refused by itself."""
    vae = "" if settings.vae == "Automatic" else settings.vae
    found = [settings.checkpoint, vae, *(u.model for u in parse_control(settings.control))]
    return [name for name in found if name]


def require_run_allowed(folder: Path) -> None:
    """The same for a run that goes on with its own settings; raises InputError for a folder without
    a run, too.
    """
    settings = run_settings(read_manifest(folder))
    require_allowed(settings, settings.iterations)


def _is_folder(name: str) -> bool:
    return bool(name) and Path(name).expanduser().is_dir()
