"""Pages shared out among several stylizers, and what happens to a page that went wrong.

A page that fails is set aside, by name, and tried once more after others went well; two failures
in a row, or a page that fails twice, end the stage: then it is not the page. A stylizer that goes
away gives its page back, and the others do it.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ...core.a1111_errors import PassingFault
from ...core.errors import GsdError, Interrupted, MissingError, StageError
from .backend import Stylizer

Warn = Callable[[str], None]
POLL_SECONDS = 0.2  # Python's main thread hears signals between waits only
CANCEL_SECONDS = 1.0  # a cancelled stage has less before it is killed


@dataclass
class Task:
    """Something to do with a stylizer, called ``name`` in messages; ``failed`` once before."""

    name: str
    work: Callable[[Stylizer], None]
    failed: bool = False


class Pool:
    """The tasks still to do, and the stylizers at work on them."""

    def __init__(self, stylizers: Sequence[Stylizer], warn: Warn) -> None:
        self._stylizers, self._warn = list(stylizers), warn
        self._lock = threading.Condition()
        self._open: deque[Task] = deque()
        self._aside: list[Task] = []
        self._busy = 0
        self._alive = 0
        self._streak = 0
        self._error: BaseException | None = None

    def run(self, tasks: Sequence[Task]) -> None:
        """Do all ``tasks``; returns when they are done. Raises GsdError."""
        self._open, self._aside = deque(tasks), []
        self._error, self._streak, self._busy = None, 0, 0
        self._alive = len(self._stylizers)
        if self._alive == 1:
            self._serve(self._stylizers[0])
        else:
            self._run_threads()
        if self._error is not None:
            raise self._error

    def _run_threads(self) -> None:
        threads = [
            threading.Thread(target=self._serve, args=(s,), daemon=True) for s in self._stylizers
        ]
        try:
            with stoppable():
                for thread in threads:
                    thread.start()
                for thread in threads:
                    while thread.is_alive():
                        thread.join(POLL_SECONDS)
        except BaseException:
            self._cancel()
            raise

    def _cancel(self) -> None:
        with self._lock:
            self._error = self._error or Interrupted("Stopped.")
        stops = [getattr(s, "cancel", None) for s in self._stylizers]
        threads = [threading.Thread(target=stop, daemon=True) for stop in stops if stop]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(CANCEL_SECONDS)

    def _serve(self, stylizer: Stylizer) -> None:
        """One stylizer's work: the next task until none is left."""
        while (task := self._next()) is not None:
            try:
                task.work(stylizer)
            except MissingError as error:
                if isinstance(error, PassingFault) and self._alive == 1:
                    self._failed(task, error)
                elif self._gone(task, error, stylizer):
                    return
            except StageError as error:
                self._failed(task, error)
            except BaseException as error:  # noqa: BLE001 — raised again by run(), in its thread
                self._end(error)
            else:
                with self._lock:
                    self._streak = 0
            with self._lock:
                self._busy -= 1
                self._lock.notify_all()

    def _next(self) -> Task | None:
        with self._lock:
            while self._error is None:
                if self._open:
                    self._busy += 1
                    return self._open.popleft()
                if self._aside and (self._streak == 0 or self._busy == 0):
                    self._busy += 1
                    return self._aside.pop(0)
                if not self._busy:
                    return None
                self._lock.wait(POLL_SECONDS)
            return None

    def _gone(self, task: Task, error: GsdError, stylizer: Stylizer) -> bool:
        """Give ``task`` back; returns whether others are left to do it."""
        with self._lock:
            if self._alive == 1:
                self._error = self._error or error
                return False
            self._alive -= 1
            self._stylizers = [s for s in self._stylizers if s is not stylizer]
            self._open.appendleft(task)
            self._busy -= 1
            self._lock.notify_all()
        self._warn(f"{error} The other servers do its {task.name}.")
        return True

    def _failed(self, task: Task, error: GsdError) -> None:
        with self._lock:
            self._streak += 1
            hopeless = task.failed or self._streak > 1 or not (self._open or self._busy > 1)
            if hopeless:
                self._error = self._error or error
                return
            task.failed = True
            self._aside.append(task)
        self._warn(f"{error} {task.name.capitalize()} is tried once more after the others.")

    def _end(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM raise Interrupted meanwhile, so that a server's job stops before we do."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        raise Interrupted("Stopped while the server was working.")

    names = [n for n in ("SIGTERM", "SIGBREAK") if hasattr(signal, n)]
    before = {n: signal.signal(getattr(signal, n), stop) for n in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
