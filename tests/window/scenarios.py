"""What the window test plays; see driver.py, which is handed in as ``driver``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

driver: Any = globals()["driver"]


def idle() -> Iterator[float]:
    """The panel in a factory scene."""
    yield from driver.show_tab()
    driver.shoot("idle")
