"""What a stage does not need it does not wait for."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "modules",
    [("stylize.stage", "stylize.preview", "stylize.a1111"), ("propagate", "propagate.reproject")],
)
def test_keyframes_and_frames_do_not_wait_for_torch(modules):
    names = ", ".join(f"gs_diffusion_addon.engine.{m}" for m in modules)
    code = f"import sys; import {names}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
