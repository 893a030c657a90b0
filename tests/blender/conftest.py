"""Each test starts from Blender's factory settings with an empty scene, and never from the user's
files.
"""

from __future__ import annotations

import os
import tempfile

# Before bpy is imported anywhere: afterwards Blender has read the user's folders already.
os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp(prefix="gsd-test-blender-")

import bpy
import pytest


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
