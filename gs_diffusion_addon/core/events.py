"""The progress stream: JSON objects, one a line, from every child to the supervisor and on to the
user.

An event has ``event`` (its kind) and ``t`` (seconds since 1970), and mostly ``stage`` and
``iteration``. Kinds: run_started, plan, stage_started, phase, progress, frame_done, warning, error,
stage_finished, stage_skipped, loop_ended, run_finished, interrupted.

Children print events to standard output as ``RS json LF`` (RFC 7464), because Blender and libraries
print their own lines there; whatever does not begin with RS is log text.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from . import json_text

RECORD = "\x1e"

Event = dict[str, Any]


class Emit(Protocol):
    """What a stage reports with: ``emit("progress", done=3, total=72)``."""

    def __call__(self, event: str, **fields: Any) -> None: ...


def make_event(event: str, **fields: Any) -> Event:
    """An event of this moment."""
    return {"event": event, "t": round(time.time(), 3), **fields}


def encode(event: Event) -> str:
    """One line of JSON without line end."""
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode("utf-8", "replace").decode("utf-8")  # halves of surrogate pairs are no text


def child_emitter(stage: str, iteration: int) -> Emit:
    """An emitter for a child process; each event is one write, so lines of two writers never
    mix.
    """
    descriptor = sys.stdout.fileno()

    def emit(event: str, **fields: Any) -> None:
        line = encode(make_event(event, stage=stage, iteration=iteration, **fields))
        sys.stdout.flush()
        # The leading line end closes whatever a library left unfinished on this stream.
        os.write(descriptor, f"\n{RECORD}{line}\n".encode())

    return emit


@dataclass
class Splitter:
    """Cuts a child's output, given in chunks of any size, into events and log text."""

    _rest: bytes = field(default=b"", repr=False)

    def feed(self, chunk: bytes) -> Iterator[Event | str]:
        """Events (dict) and log lines (str) completed by ``chunk``."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            yield from parse_line(line.decode("utf-8", "replace"))

    def close(self) -> Iterator[Event | str]:
        """What is left when the stream ends."""
        rest, self._rest = self._rest, b""
        yield from parse_line(rest.decode("utf-8", "replace"))


def parse_line(line: str) -> Iterator[Event | str]:
    """The event or log text of one line; empty lines give nothing."""
    head, mark, tail = line.rstrip("\r").partition(RECORD)
    if head:
        yield head
    if mark:
        try:
            event = json_text.loads(tail)
        except ValueError:
            yield tail
            return
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            yield event
        else:
            yield tail


class Progress:
    """Counts finished units of a stage and reports them with the time still needed.

    ``tick`` emits at most ten times a second, but always for the last unit and when it is given
    ``fields``.
    """

    def __init__(self, emit: Emit, total: int, unit: str, done: int = 0) -> None:
        self._emit, self.total, self.unit = emit, total, unit
        self.done = self._first = done
        self._start = time.monotonic()
        self._last = 0.0
        if done:
            self._report()

    def tick(self, count: int = 1, **fields: Any) -> None:
        """``count`` more units are finished; ``fields`` (loss, image, …) go into the event."""
        self.done += count
        if fields or self.done >= self.total or time.monotonic() - self._last > 0.1:
            self._report(**fields)

    def _report(self, **fields: Any) -> None:
        self._last = time.monotonic()
        made = self.done - self._first
        eta = (self._last - self._start) / made * (self.total - self.done) if made else None
        self._emit(
            "progress",
            done=self.done,
            total=self.total,
            unit=self.unit,
            eta=None if eta is None else round(eta, 1),
            **fields,
        )
