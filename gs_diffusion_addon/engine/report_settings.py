"""What the report says about settings: the table, the command line, the versions; no secrets."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from ..core.arguments import GROUPS
from ..core.run import Run
from ..core.settings import Settings, flag, kind, knob, names, to_json
from .report_page import SettingRow


def without_secrets(value: str) -> str:
    """An address without its user, password and query: http://me:secret@host:1 ->
    http://***@host:1.
    """
    value = re.sub(r"^([a-z][a-z0-9+.-]*://)?.*@", r"\1***@", value, flags=re.IGNORECASE)
    return value.partition("?")[0]


def shown(name: str, value: Any) -> str:
    """A setting's value for the page."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        value = f"{value:g}"
    text = str(value)
    if name == "server" or "://" in text:
        text = without_secrets(text)
    unit = knob(name).unit
    return f"{text} {unit}" if unit and text else text


def setting_rows(
    settings: Settings, manifest: Mapping[str, Any]
) -> list[tuple[str, list[SettingRow]]]:
    """The settings by group in their declared order; resolved ``auto`` values say so."""
    defaults, values = to_json(Settings()), to_json(settings)
    asked = {**values, **(manifest.get("settings") or {})}
    groups: dict[str, list[SettingRow]] = {}
    for name in names():
        text = shown(name, values[name])
        if asked[name] == "auto" and values[name] != "auto":
            text += " (chosen by auto)"
        row = SettingRow(flag(name), text, knob(name).help, asked[name] != defaults[name])
        group = knob(name).group
        groups.setdefault(GROUPS.get(group, group), []).append(row)
    return list(groups.items())


def command(run: Run, settings: Settings, manifest: Mapping[str, Any]) -> str:
    """The command line that makes this run, with what was asked for and is not the default."""
    defaults = to_json(Settings())
    asked = {**to_json(settings), **(manifest.get("settings") or {})}
    words = ["gsd run", f"--out {shlex.quote(str(run.root))}"]
    for name in names():
        value = asked[name]
        if value == defaults[name]:
            continue
        if kind(name) is bool:
            words.append(flag(name) if value else "--no-" + flag(name)[2:])
            continue
        text = f"{value:g}" if isinstance(value, float) else str(value)
        if name == "server" or "://" in text:
            text = without_secrets(text)
        joint = "=" if text.startswith("-") else " "
        words.append(f"{flag(name)}{joint}{shlex.quote(text)}")
    return " \\\n  ".join(words)


def versions(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """run.json's versions, flattened; nested tables become one line."""

    def line(value: Any) -> str:
        if isinstance(value, Mapping):
            return ", ".join(f"{k} {line(v)}" for k, v in value.items())
        return str(value)

    return [(str(k), line(v)) for k, v in (manifest.get("versions") or {}).items() if v]
