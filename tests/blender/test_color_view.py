"""Color configurations: Blender's own, and a studio's (ACES, which comes with OpenColorIO)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest

from gs_diffusion_addon.core.errors import StageError
from gs_diffusion_addon.scene import color_view, splat_display
from gs_diffusion_addon.scene.color_view import from_linear_srgb, show_plainly, show_raw
from tests.blender.turntable_helpers import emission, monkey, read_png, render, small

ACES = "ocio://cg-config-v1.0.0_aces-v1.3_ocio-v2.1"
HERE = Path(__file__).parent
TOO = (
    "test_color_view.py::test_gray_frames_are_srgb",
    "test_splat_display.py::test_one_splats_color_is_exact_up_to_degree_3",
    "test_splat_display.py::test_cycles_shows_what_a_splat_renderer_shows",
    "test_splat_faithful.py::test_cycles_shows_the_rasterizers_picture",
    "test_splat_faithful.py::test_in_light_the_order_is_right_and_the_blending_blenders",
)
"""Tests of colors that have to hold in every configuration."""


def test_gray_frames_are_srgb(tmp_path):
    monkey().data.materials.append(emission((0.5, 0.5, 0.5)))
    bpy.context.scene.view_settings.exposure = 2.0
    run, _ = render(tmp_path, small(samples=16, lighting="scene"))
    pixels = read_png(run.frame(1)).astype(int)
    assert np.abs(pixels[pixels[..., 3] > 50][:, :3] - 188).max() <= 3


def test_colors_hold_in_a_studios_configuration():
    """Scene-linear is ACEScg there, and no view is called Standard."""
    environment = os.environ | {"OCIO": ACES}
    script = "import bpy; print([bpy.context.scene.view_settings.view_transform])"
    said = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert "['ACES 1.0 - SDR Video']" in said.stdout  # it is at work
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *map(str, TOO)]
    done = subprocess.run(
        command, env=environment, cwd=HERE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_blenders_own_colors_need_no_matrix():
    np.testing.assert_array_equal(from_linear_srgb(), np.eye(3))


def test_without_a_plain_view_nothing_changes(monkeypatch):
    scene = bpy.context.scene
    scene.view_settings.view_transform = "AgX"
    monkeypatch.setattr(color_view, "PLAIN_VIEWS", ("Nothing", "Nowhere"))
    assert not show_plainly(scene) and not show_plainly(scene, srgb=True)
    assert not splat_display.prepare_scene(scene)
    with pytest.raises(StageError, match="has no view without tone mapping"):
        splat_display.adapt_scene(scene)
    assert "gs_diffusion_view" not in scene
    assert scene.view_settings.view_transform == "AgX"
    assert scene.display_settings.display_device == "sRGB"
    assert show_raw(scene) and scene.view_settings.view_transform == "Raw"


def graded(view_transform: str, look: str):
    """The open scene as an artist has graded it."""
    scene = bpy.context.scene
    view = scene.view_settings
    view.view_transform, view.look = view_transform, look
    view.exposure, view.gamma, view.use_curve_mapping = 0.5, 1.25, True
    return scene, view


def test_a_splat_changes_a_scenes_view_alone_and_says_so():
    scene, view = graded("AgX", "AgX - High Contrast")
    said = splat_display.adapt_scene(scene)
    assert (view.view_transform, view.look) == ("Standard", "None")
    assert (view.exposure, view.gamma, view.use_curve_mapping) == (0.5, 1.25, True)
    assert "is Standard now" in said[0] and "it was AgX" in said[0]
    assert "by the scene's exposure and gamma and curves, too" in said[1] and len(said) == 2
    assert len(splat_display.adapt_scene(scene)) == 1  # a second splat changes nothing more
    assert color_view.restore_view(scene)
    assert (view.view_transform, view.look, view.exposure) == ("AgX", "AgX - High Contrast", 0.5)
    assert not color_view.restore_view(scene)


@pytest.mark.parametrize("kept", ["Standard", "Raw"])
def test_a_scene_without_tone_mapping_stays_as_it_is(kept):
    scene, view = graded(kept, "None")
    said = splat_display.adapt_scene(scene)
    assert view.view_transform == kept and view.exposure == 0.5 and len(said) == 1
    splat_display.adapt_scene(scene, keep_raw=False)
    assert view.view_transform == "Standard"


def test_a_view_that_was_chosen_since_is_not_taken_back():
    scene, view = graded("AgX", "None")
    splat_display.adapt_scene(scene)
    view.view_transform = "Filmic"
    assert not color_view.restore_view(scene) and view.view_transform == "Filmic"
