"""Names out of files and events: none of them may lead out of the folder it belongs to.

A run folder or a data set may come from a stranger. What its JSON names is read only inside that
folder, and a program that lies in it is never started.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from .errors import InputError

PROGRAMS = (
    *("worker_python", "blender", "graphdeco", "graphdeco_python", "brush", "opensplat"),
    "ebsynth",
)
"""Settings that name something whose code is run."""

_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.I)


def plain(name: str) -> bool:
    """Whether ``name`` is a relative path that stays below its folder, on every system.

    No ``..``, nothing absolute, no Windows drive, share or stream, no name that Windows takes for
    a device or shortens (dots and spaces at a part's end). Backslashes separate, since they do on
    Windows.
    """
    if not name or "\0" in name or ":" in name:
        return False
    windows = PureWindowsPath(name)
    if windows.drive or windows.root or PurePosixPath(name).is_absolute():
        return False
    parts = windows.parts
    return not any(part[-1] in ". " or _RESERVED.fullmatch(part) for part in parts)


def inside(root: Path, name: str) -> Path:
    """``root / name``; raises InputError if that is, or links to, a place outside ``root``."""
    path = root / name if plain(name) else root.parent
    if path == root.parent or not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{name!r} leads out of the folder {root}; it is not used.")
    return path


def refuse_links(root: Path) -> None:
    """Raise InputError if a file of ``root`` that a run appends to is a link.

    In a stranger's folder it would lead to a file of whoever goes on with the run.
    """
    logs = root / "logs"
    for path in (root / ".lock", root / "events.jsonl", logs, *sorted(logs.glob("*"))):
        if path.is_symlink():
            raise InputError(
                f"{path} is a link, which no run makes: what the run writes there would end up "
                f"elsewhere. Remove the link."
            )


def private_folder(path: Path) -> bool:
    """Make a folder with a name that others can know; whether it is this user's alone.

    In a temporary folder anybody can have made it before, or a link in its place.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError:
        return False
    ours = not hasattr(os, "getuid") or (
        found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )
    return stat.S_ISDIR(found.st_mode) and ours


def refuse_own_programs(root: Path, settings: Mapping[str, Any]) -> None:
    """Raise InputError if the settings in ``root``'s run.json name a program inside ``root``.

    Whoever made the folder would have it started by everybody who goes on with the run.
    """
    for name in PROGRAMS:
        value = settings.get(name, "")
        if not isinstance(value, str) or not value or "\0" in value:
            continue
        bare = PureWindowsPath(value).name == value
        places = [root / value, *([] if bare else [Path(value).expanduser()])]
        if any(p.exists() and p.resolve().is_relative_to(root.resolve()) for p in places):
            raise InputError(
                f"The run.json in {root} names a program that came with the folder ({name}: "
                f"{value}); it is not started. Correct that setting in run.json."
            )
