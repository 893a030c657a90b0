"""What all tests share: how a test run with Blender in its process ends."""

from __future__ import annotations

import os
import sys

import hypothesis
import pytest

from tests.processes import heed_signals

heed_signals()

# A loaded machine must not fail a test: no example has a deadline. Nor may chance: the examples are
# the same each time. GSD_CHANCE=1 draws others, to look for faults.
hypothesis.settings.register_profile(
    "patient", deadline=None, derandomize=not os.environ.get("GSD_CHANCE")
)
hypothesis.settings.load_profile("patient")

STATUS = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember the result for :func:`pytest_unconfigure`."""
    session.config.stash[STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End at once if bpy was imported: its teardown at interpreter exit has hung and crashed."""
    if "bpy" in sys.modules and STATUS in config.stash:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[STATUS])
