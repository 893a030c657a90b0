"""A child process as the panel sees it: started, followed without waiting, cancelled.

No bpy here: a thread reads the child's event stream, :meth:`Job.poll` takes in what has come, and
whoever draws looks at the fields.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core import process
from ..core.errors import EXIT_INTERRUPTED, GsdError, system_error
from ..core.events import Event, Splitter
from ..core.inside import plain
from ..core.run import Run

PICTURES = (".png", ".jpg", ".jpeg")
"""What a panel can show; a geometry pass (.exr) comes out black."""

PREFIX = "gsd: "
"""What the worker puts before the sentence that it ends with."""


@dataclass
class Job:
    """One run of the worker: the command, its folder, and what is known of it now.

    ``prepare`` is done by :meth:`launch` before the child is started; ``origin`` is the scene
    that a run's result goes to (:class:`.origin.Origin`; None: to any);
    ``until`` is the last stage that it was asked for, "" for a job that is no run;
    ``declined``: the user wants no splat in the scene any more; ``placed``: it has come there;
    ``missed``: it was to come there and has not.
    """

    command: Sequence[str]
    folder: Path
    threads: int = 0
    stage: str = "Starting"
    iteration: int = 0
    detail: str = ""
    share: float = 0.0
    eta: float | None = None
    image: str = ""
    preview: str = ""
    message: str = ""
    warnings: list[str] = field(default_factory=list)
    code: int | None = None
    cancelled: bool = False
    log: deque[str] = field(default_factory=lambda: deque(maxlen=2000))
    tail: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    prepare: Callable[[], None] | None = None
    launched: bool = False
    origin: Any = None
    until: str = ""
    declined: bool = False
    placed: bool = False
    missed: bool = False

    def launch(self) -> None:
        """Prepare and start the child; raises the package's errors, after which the job is over.

        One that was canceled before never begins: nobody would follow it or end it.
        """
        if self.code is not None:
            return
        self.launched = True
        try:
            if self.prepare is not None:
                self.prepare()
            self.stage = "Starting" if self.prepare is not None else self.stage
            self.start()
        except (GsdError, OSError) as problem:
            error = problem if isinstance(problem, GsdError) else system_error(problem)
            self.message, self.code = str(error), error.exit_code
            raise error from None

    def start(self) -> None:
        """Start the child; raises MissingError when it cannot be started."""
        self.launched = True
        environment = process.child_environment(self.threads)
        self._child = process.start(self.command, env=environment)
        self._items: queue.Queue[Event | str | int] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def poll(self) -> bool:
        """Take in what the child has said; returns whether it still runs. Never waits."""
        if not self.launched:
            return self.code is None
        while self.code is None:
            try:
                item = self._items.get_nowait()
            except queue.Empty:
                return True
            self._take(item)
        return False

    def wait(self) -> int:
        """Follow the child to its end; returns its exit code."""
        while self.poll():
            time.sleep(0.05)
        assert self.code is not None
        return self.code

    def cancel(self) -> None:
        """Ask the child and all that it started to end, in a thread: this returns at once."""
        if self.code is not None or self.cancelled:
            return
        self.cancelled, self.stage, self.detail = True, "Stopping", ""
        if self.launched:
            threading.Thread(target=process.end_tree, args=(self._child,), daemon=True).start()
        else:
            self.code = EXIT_INTERRUPTED

    def end_now(self) -> None:
        """End the child and wait until it is gone (at most two seconds)."""
        if self.code is None and self.launched:
            self.cancelled = True
            process.end_tree(self._child)
        if self.code is None:
            self.code = EXIT_INTERRUPTED

    @property
    def picture(self) -> Path | None:
        """The newest picture that the job has made."""
        return self.folder / self.image if self.image else None

    @property
    def succeeded(self) -> bool:
        """Whether the run came to its end."""
        return self.code == 0

    @property
    def outcome(self) -> str:
        """One sentence for the user once the job has ended."""
        if self.cancelled or self.code == EXIT_INTERRUPTED:
            begun = self.until and Run(self.folder).manifest.is_file()
            return "Stopped; Resume goes on from here." if begun else "Stopped."
        return self.message or f"The worker ended with code {self.code}; see logs in {self.folder}."

    def _read(self) -> None:
        splitter = Splitter()
        stream = self._child.stdout
        assert stream is not None
        try:
            while chunk := stream.read1(1 << 16):  # type: ignore[attr-defined]
                for item in splitter.feed(chunk):
                    self._items.put(item)
        except ValueError:
            self.cancelled = True  # end_tree closed the stream
        for item in splitter.close():
            self._items.put(item)
        self._items.put(self._child.wait())

    def _take(self, item: Event | str | int) -> None:
        if isinstance(item, int):
            self.code = item
        elif isinstance(item, str):
            self.log.append(item)
            if item.startswith(PREFIX):
                self.message = item.removeprefix(PREFIX)
        elif not self.cancelled:
            self._show(item)

    def _asked(self, stages: object, until: object) -> None:
        """A run that somebody else started says itself how far it goes: ``until`` a stage. An
        earlier version named its ``stages`` alone; the last is 1/import.
        """
        if self.command:
            return
        if isinstance(until, str) and until:
            self.until = until
        elif isinstance(stages, list) and stages:
            last = str(stages[-1]).rpartition("/")[2]
            if last != "report":  # where a main folder's run ends, which has a result, too
                self.until = last

    def _picture(self, path: object) -> None:
        name = self._inside(path)
        if name.lower().endswith(PICTURES):
            self.image = name

    def _inside(self, name: object) -> str:
        """``name`` if it is a file below the run folder, else nothing."""
        return name if isinstance(name, str) and plain(name) else ""

    def _show(self, event: Event) -> None:
        kind = event["event"]
        if kind == "run_started":
            self._asked(event.get("stages"), event.get("until"))
        elif kind == "stage_started":
            self.stage = str(event.get("label", event.get("stage", "")))
            self.iteration = int(event.get("iteration") or 0)
            self.detail, self.share, self.eta, self.rows = "", 0.0, None, []
        elif kind == "phase":
            self.detail, self.share, self.eta = str(event.get("message", "")), 0.0, None
        elif kind == "progress":
            done, total = event.get("done", 0), max(1, event.get("total", 1))
            self.share, self.eta = min(1.0, done / total), event.get("eta")
            self.detail = f"{done:g}/{total} {event.get('unit', '')}"
            self._picture(event.get("image"))
        elif kind == "frame_done":
            self._picture(event.get("path"))
        elif kind == "ebsynth":
            self.rows = list(event.get("rows", ()))
        elif kind == "preview":
            self.preview = self._inside(event.get("path"))
        elif kind == "warning":
            self.warnings.append(str(event.get("message", "")))
        elif kind == "error":
            self.message = str(event.get("message", ""))
