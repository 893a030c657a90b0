"""A run followed by its events.jsonl alone: one that goes on when Blender closes, or that was
found running.

The run folder's lock says whether anybody still works there, so a process that died is seen too.
"""

from __future__ import annotations

import os
import platform
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..core import json_text, process
from ..core.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_STAGE, MissingError
from ..core.inside import refuse_links
from ..core.lock import in_use
from ..core.run import PANEL_LOG, Run
from .job import Job

PAUSE = 0.3  # s between two looks at the file


class Adopted(Job):
    """A run that its folder alone speaks of: Blender may close and the run can go on.

    ``outlive``: whether it is left to work when Blender closes. One that was only found running is.
    """

    outlive = False
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the worker on its own; raises MissingError when it cannot be started."""
        self.launched = True
        log = self._log
        refuse_links(self.folder)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._skip = _size(Run(self.folder).events)
        try:
            with open(log, "wb") as out:
                self._process = subprocess.Popen(
                    list(self.command),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env=process.child_environment(self.threads),
                    **process.group_options("normal", os.name == "nt"),
                )
        except OSError as error:
            raise MissingError(f"{self.command[0]} cannot be started: {error}.") from None
        self._begin()

    def adopt(self) -> None:
        """Follow a run that works already, from its last start on."""
        self._skip = _last_start(Run(self.folder).events)
        self.launched = self.outlive = True
        self._begin()

    def cancel(self) -> None:
        """Ask the run's supervisor to stop, in a thread; it ends its own children."""
        if self.code is not None or self.cancelled:
            return
        self.cancelled, self.stage, self.detail = True, "Stopping", ""
        if self._process is not None:
            threading.Thread(target=process.end_tree, args=(self._process,), daemon=True).start()
        elif self.launched:
            _ask_to_stop(self.folder)
        else:
            self.code = EXIT_INTERRUPTED

    def end_now(self) -> None:
        """Stop following it, and unless it may outlive us the run itself (at most 2 seconds)."""
        if not self.launched:
            self.code = EXIT_INTERRUPTED if self.code is None else self.code
            return
        self._stop.set()
        if self._process is not None and self.code is None and not self.outlive:
            self.cancelled = True
            process.end_tree(self._process)
            self.code = EXIT_INTERRUPTED

    @property
    def _log(self) -> Path:
        return Run(self.folder).logs / PANEL_LOG

    def _begin(self) -> None:
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
            self.tail = log_tail(self.folder)
            if not alive:
                self._items.put(self._ended(code))
                return
            self._stop.wait(PAUSE)

    def _alive(self, born: float) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        return in_use(self.folder) or time.monotonic() - born < PAUSE

    def _ended(self, code: int) -> int:
        if self._process is None:
            return code
        found = self._process.returncode
        if found and not self.message:
            for line in _last_lines(self._log, 20):
                self._items.put(line)
        return int(found)


def log_tail(folder: Path, lines: int = 6) -> list[str]:
    """The last lines of a run's newest log."""
    logs = [p for p in Run(folder).logs.glob("*.log") if p.name != PANEL_LOG]
    with suppress(OSError, ValueError):
        return _last_lines(max(logs, key=lambda p: p.stat().st_mtime), lines)
    return []


def _last_lines(path: Path, lines: int) -> list[str]:
    with suppress(OSError), open(path, "rb") as file:
        file.seek(max(0, _size(path) - 8000))
        text = file.read().decode("utf-8", errors="replace")
        return [line for line in text.splitlines() if line.strip()][-lines:]
    return []


def _ask_to_stop(folder: Path) -> None:
    pid = owner(folder)
    if pid:
        with suppress(OSError):
            os.kill(pid, signal.SIGTERM)


def owner(folder: Path) -> int | None:
    """The process of this machine that holds the run folder, by its lock file."""
    with suppress(OSError):
        text = (folder / ".lock").read_text(encoding="utf-8")
        found = re.match(r"process (\d+) on (.*) since ", text)
        # On a shared disk it may work on another machine, where that number means something else.
        if found and found[2] == platform.node() and in_use(folder):
            return int(found[1])
    return None


def _last_start(path: Path) -> int:
    """Where in the event stream the last run_started stands."""
    with suppress(OSError):
        data = path.read_bytes()
        found = data.rfind(b'"run_started"')
        return data.rfind(b"\n", 0, found) + 1 if found >= 0 else 0
    return 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _events(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    found = []
    for line in lines:
        with suppress(ValueError):
            event = json_text.loads(line)
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
