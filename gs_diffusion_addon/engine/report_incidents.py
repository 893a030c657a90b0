"""What went wrong on the way, for the report: the run's warnings and errors, each told once."""

from __future__ import annotations

from pathlib import Path

from ..core import json_text
from .report_html import Child, h

MOST = 60


def incidents(path: Path) -> list[str]:
    """Messages of the warnings and errors in events.jsonl, in order, each once; [] without it."""
    found: dict[str, None] = {}
    if not path.is_file():
        return []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json_text.loads(line)
        except ValueError:
            continue  # a line torn by a kill
        if isinstance(event, dict) and event.get("event") in ("warning", "error"):
            stage, message = event.get("stage"), str(event.get("message", ""))
            found.setdefault(f"{stage}: {message}" if stage else message)
    return list(found)[:MOST]


def incident_list(messages: list[str]) -> list[Child]:
    """The report's section; empty if nothing happened."""
    if not messages:
        return []
    return [h("h2", "What happened on the way"), h("ul", [h("li", m) for m in messages])]
