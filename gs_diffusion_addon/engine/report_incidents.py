"""What went wrong on the way, for the report: the run's warnings and errors, each told once."""

from __future__ import annotations

import json
from pathlib import Path

from .report_html import Child, h

MOST = 60


def incidents(path: Path) -> list[str]:
    """Messages of the warnings and errors in events.jsonl, in order, each once; [] without it."""
    found: dict[str, None] = {}
    if not path.is_file():
        return []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # a line torn by a kill
        if isinstance(event, dict) and event.get("event") in ("warning", "error"):
            stage = event.get("stage")
            found.setdefault(f"{stage}: {event.get('message')}" if stage else str(event["message"]))
    return list(found)[:MOST]


def incident_list(messages: list[str]) -> list[Child]:
    """The report's section; empty if nothing happened."""
    if not messages:
        return []
    return [h("h2", "What happened on the way"), h("ul", [h("li", m) for m in messages])]
