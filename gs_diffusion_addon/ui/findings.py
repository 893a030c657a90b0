"""What the last check found on this machine, kept between sessions: the preferences' lines, and the
marks at backends that are not there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..core import json_text
from ..core.check import FINDING_OF
from ..core.run import write_json
from .places import user_folder

lines: list[dict[str, Any]] = []
"""The findings of ``gsd check --json``, in its order."""

_looked = False


def file() -> Path:
    """Where they are kept."""
    return user_folder() / "check.json"


def load() -> bool:
    """Take what an earlier session found, once; returns whether anything is known."""
    global _looked
    if not _looked and not lines:
        _looked = True
        try:
            found = json_text.loads(file().read_bytes())
        except (OSError, ValueError):
            found = []
        take(found if isinstance(found, list) else [])
    return bool(lines)


def take(found: list[Any]) -> None:
    """Use these findings from now on; what is none is left out."""
    words = ("name", "detail", "todo")
    lines[:] = [
        item
        for item in found
        if isinstance(item, dict)
        and all(isinstance(item.get(word), str) for word in words)
        and {"ok", "required"} <= item.keys()
    ]


def keep(found: list[Any]) -> None:
    """Use these findings, in later sessions too; raises OSError."""
    take(found)
    write_json(file(), lines)


def forget() -> None:
    """Know nothing, until the next check."""
    global _looked
    lines.clear()
    _looked = True
    file().unlink(missing_ok=True)


def lacking(choice: str) -> dict[str, Any] | None:
    """What was found about a backend that is not there; None if it is, or nobody has looked."""
    load()
    name = FINDING_OF.get(choice)
    return next((item for item in lines if item["name"] == name and not item["ok"]), None)


def what_lacks(choice: str) -> str:
    """The same in a sentence or two for somebody who has chosen it; empty if nothing does.

    The check also speaks to those who do not want it: "Nothing to do; to use it, …".
    """
    found = lacking(choice)
    if found is None:
        return ""
    todo = re.sub(r"^Nothing to do[;:] (to use (it|yours)[,:] )?", "", found["todo"])
    return f"At the last check: {found['detail']}. {todo[:1].upper()}{todo[1:]}"
