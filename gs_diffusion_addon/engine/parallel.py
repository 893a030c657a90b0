"""Work on many frames at once in threads, with results in order.

Reading EXR and PNG, numpy and our kernels (``nogil``) all release Python's lock, so a thread a
frame keeps every core busy; and as each frame is one thread's own, its result does not depend on
their number.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ..core.settings import Settings

Item = TypeVar("Item")
Result = TypeVar("Result")


def thread_count(settings: Settings) -> int:
    """Threads to use: GSD_THREADS, else the setting, else one a core."""
    return int(os.environ.get("GSD_THREADS") or settings.threads or os.cpu_count() or 1)


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[tuple[Item, Result]]:
    """(item, function(item)) in the items' order, ``threads`` of them worked on at once.

    At most ``threads + 1`` items are under way or waiting to be taken, which bounds the memory. The
    first exception is raised at its place; what has not started by then never starts.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(max_workers=threads) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) > threads:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
