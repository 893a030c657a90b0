"""Each test starts from Blender's factory settings with an empty scene, and never from the user's
files.
"""

from __future__ import annotations

import os
import tempfile
import threading

# Before bpy is imported anywhere: afterwards Blender has read the user's folders already.
os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp(prefix="gsd-test-blender-")

import bpy
import pytest

from tests.processes import LIMIT


@pytest.fixture(autouse=True)
def empty_scene():
    """Factory settings and an empty scene before each test."""
    bpy.ops.wm.read_factory_settings(use_empty=True)


@pytest.fixture
def registered(empty_scene):
    """The add-on as Blender has it after it was enabled, which knows of no run yet."""
    import gs_diffusion_addon
    from gs_diffusion_addon.ui import origin

    gs_diffusion_addon.register()
    yield
    gs_diffusion_addon.unregister()
    origin._known.clear()


@pytest.fixture
def held_end(monkeypatch) -> threading.Event:
    """Set by a test: only then does what ends a process tree begin."""
    from gs_diffusion_addon.core import process

    may, end = threading.Event(), process.end_tree

    def held(child):
        may.wait(LIMIT)
        may.set()
        end(child)

    monkeypatch.setattr(process, "end_tree", held)
    yield may
    may.set()
