"""Events for people: a bar with the time still needed on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass, field
from typing import TextIO

from .events import Event


def duration(seconds: float) -> str:
    """``75`` -> ``1:15``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@dataclass
class Console:
    """Prints events to ``stream``; on a terminal the running stage is one line that is
    rewritten.
    """

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    _label: str = field(default="", repr=False)
    _phase: str = field(default="", repr=False)
    _start: float = field(default=0.0, repr=False)
    _tenth: int = field(default=-1, repr=False)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        kind = event["event"]
        if kind == "stage_started":
            iteration = f" (iteration {event['iteration']})" if event.get("iteration") else ""
            self._label, self._phase = f"{event['label']}{iteration}", ""
            self._start, self._tenth = time.monotonic(), -1
            if not self._tty:
                self._line(self._label)
        elif kind == "phase":
            self._phase, self._tenth = str(event["message"]), -1
            self._bar(None, "")
        elif kind == "progress":
            self._progress(event)
        elif kind == "stage_finished":
            self._line(f"{self._label}: done in {duration(event['seconds'])}")
        elif kind == "stage_skipped":
            iteration = f" of iteration {event['iteration']}" if event.get("iteration") else ""
            self._line(f"Stage {event['stage']}{iteration} is already done")
        elif kind in ("plan", "loop_ended"):
            self._line(str(event["message"]))
        elif kind == "warning":
            self._line(f"Note: {event['message']}")

    @property
    def _tty(self) -> bool:
        return self.stream.isatty()

    def _progress(self, event: Event) -> None:
        done, total = event["done"], max(1, event["total"])
        share = min(1.0, done / total)
        eta = event.get("eta")
        detail = f"{done:g}/{total} {event.get('unit', '')}"
        if eta is not None and done < total:
            detail += f", {duration(eta)} left"
        detail += "".join(
            f", {name} {event[name]:.4g}"
            for name in ("loss", "psnr")
            if event.get(name) is not None
        )
        if event.get("splats"):
            detail += f", {event['splats']} splats"
        self._bar(share, detail)

    def _bar(self, share: float | None, detail: str) -> None:
        if not self._tty:
            tenth = -1 if share is None else int(share * 10)
            if share is None:
                self._line(f"  {self._phase}")
            elif tenth > self._tenth:
                self._tenth = tenth
                self._line(f"  {share:4.0%}  {detail}")
            return
        width = shutil.get_terminal_size((80, 24)).columns
        if share is None:
            text = f"{self._label}: {self._phase} …" if self._label else f"{self._phase} …"
        else:
            filled = int(share * 24)
            text = f"{self._label} [{'█' * filled}{'·' * (24 - filled)}] {share:4.0%} {detail}"
        self.stream.write(f"\r\x1b[2K{text[: width - 1]}")
        self.stream.flush()

    def _line(self, text: str) -> None:
        start = "\r\x1b[2K" if self._tty else ""
        self.stream.write(f"{start}{text}\n")
        self.stream.flush()
