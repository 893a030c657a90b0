"""Long pieces of work whose results many frames share, made when the first of them is asked for.

Frames are painted by several threads at once, but a chain of frames, each made from the last one,
is one thread's work. A thread that finds its chain taken by another one makes a later chain in the
meantime, so all of them are busy; what a chain yields depends on its number only.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Chains(Generic[Result]):
    """``count`` results of ``make``; the last few are kept, others are made again if asked for."""

    def __init__(self, make: Callable[[int], Result], count: int, threads: int) -> None:
        self._make, self._count, self._threads = make, count, threads
        self._lock = threading.Lock()
        self._futures: OrderedDict[int, Future[Result]] = OrderedDict()

    def get(self, number: int) -> Result:
        """Result ``number``; raises what ``make`` raised."""
        while True:
            future, fresh = self._taken(number)
            if not fresh and not future.done():
                ahead = self._ahead(number)
                if ahead is None:
                    return future.result()
                self._work(*ahead)
                continue
            if fresh:
                self._work(number, future)
            return future.result()

    def clear(self) -> None:
        """Forget all results."""
        with self._lock:
            self._futures.clear()

    def _work(self, number: int, future: Future[Result]) -> None:
        try:
            future.set_result(self._make(number))
        except BaseException as error:  # noqa: BLE001 whoever waits for it has to hear of it
            future.set_exception(error)

    def _taken(self, number: int) -> tuple[Future[Result], bool]:
        """The chain's future, and whether it is the caller's to complete."""
        with self._lock:
            known = self._futures.get(number)
            if known is not None:
                self._futures.move_to_end(number)
                return known, False
            return self._begin(number), True

    def _ahead(self, number: int) -> tuple[int, Future[Result]] | None:
        """A chain soon to be needed that nobody has begun, as the caller's to complete."""
        with self._lock:
            for later in range(number + 1, min(number + self._threads, self._count - 1) + 1):
                if later not in self._futures:
                    return later, self._begin(later)
        return None

    def _begin(self, number: int) -> Future[Result]:
        future = self._futures[number] = Future()
        done = [n for n, f in self._futures.items() if f.done()]
        for old in done[: max(len(self._futures) - 2 * self._threads - 2, 0)]:
            del self._futures[old]
        return future
