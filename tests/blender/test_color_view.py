"""Color configurations: Blender's own, and a studio's (ACES, which comes with OpenColorIO)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np

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
    assert scene.view_settings.view_transform == "AgX"
    assert scene.display_settings.display_device == "sRGB"
    assert show_raw(scene) and scene.view_settings.view_transform == "Raw"
