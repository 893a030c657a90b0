"""A run followed by its events.jsonl alone: one that goes on when Blender closes, or that was
found running.

The run folder's lock says whether anybody still works there, so a process that died is seen too.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..core import process
from ..core.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_STAGE, MissingError
from ..core.run import Run, in_use
from .job import Job

PAUSE = 0.3  # s between two looks at the file
GRACE = 20.0  # s until a started worker must hold the folder


class Adopted(Job):
    """A job that is not our child in the narrow sense: it outlives Blender."""

    def start(self) -> None:
        """Start the worker on its own; raises MissingError when it cannot be started."""
        log = Run(self.folder).logs / "panel.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        self._skip = _size(Run(self.folder).events)
        options: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            options = {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        try:
            with open(log, "ab") as out:
                self._process = subprocess.Popen(
                    list(self.command),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env=process.child_environment(self.threads),
                    **options,
                )
        except OSError as error:
            raise MissingError(f"{self.command[0]} cannot be started: {error}.") from None
        self._begin()

    def adopt(self) -> None:
        """Follow a run that works already, from its first event on."""
        self._process, self._skip = None, 0
        self._begin()

    def cancel(self) -> None:
        """Ask the run's supervisor to stop; it ends its own children."""
        if self.code is None and not self.cancelled:
            self.cancelled, self.stage, self.detail = True, "Stopping", ""
            pid = self._process.pid if self._process else owner(self.folder)
            if pid:
                with suppress(OSError):
                    os.kill(pid, signal.SIGTERM)

    def end_now(self) -> None:
        """Let it work on: only the following ends."""
        self._stop.set()

    def _begin(self) -> None:
        import queue

        self._items, self._stop = queue.Queue(), threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        path, position, code = Run(self.folder).events, self._skip, EXIT_STAGE
        born = time.monotonic()
        while not self._stop.is_set():
            alive = self._alive(born)
            with suppress(OSError), open(path, "rb") as file:
                file.seek(position)
                data = file.read()
                whole = data[: data.rfind(b"\n") + 1]
                position += len(whole)
                for event in _events(whole.splitlines()):
                    code = _code(event, code)
                    self._items.put(event)
            if not alive:
                self._items.put(self._ended(code))
                return
            time.sleep(PAUSE)

    def _alive(self, born: float) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        return in_use(self.folder) or time.monotonic() - born < PAUSE

    def _ended(self, code: int) -> int:
        if self._process is None:
            return code
        found = self._process.returncode
        if found and not self.message:
            log = Run(self.folder).logs / "panel.log"
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            for line in lines[-20:]:
                self._items.put(line)
        return int(found)


def owner(folder: Path) -> int | None:
    """The process that holds the run folder, by its lock file."""
    with suppress(OSError):
        found = re.match(r"process (\d+) ", (folder / ".lock").read_text(encoding="utf-8"))
        if found and in_use(folder):
            return int(found[1])
    return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _events(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    found = []
    for line in lines:
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and "event" in event:
                found.append(event)
    return found


def _code(event: dict[str, Any], before: int) -> int:
    """The exit code that the stream speaks of so far."""
    kind = event["event"]
    if kind == "run_finished":
        return EXIT_DONE
    if kind == "interrupted":
        return EXIT_INTERRUPTED
    return int(event.get("code", EXIT_STAGE)) if kind in ("error", "run_started") else before
