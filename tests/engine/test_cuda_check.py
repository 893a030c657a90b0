"""``make cuda-check`` explains itself where there is no card, and measures what it trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gs_diffusion_addon.core.ply import Splats
from gs_diffusion_addon.engine.splat.initialize import from_points

from .splat_helpers import surface_points
from .trainer_helpers import make_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_says_what_is_missing_and_exits_3(tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("GSD_")}
    done = subprocess.run(
        [sys.executable, "tools/cuda_check.py", "--out", str(tmp_path)],
        cwd=ROOT,
        env={**env, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "MISSING  gsplat (CUDA): no CUDA card" in done.stdout
    assert "--graphdeco" in done.stdout and "Traceback" not in done.stderr


def test_a_moved_splat_is_seen_by_the_silhouettes_offset(tmp_path):
    import importlib.util

    import numpy as np

    spec = importlib.util.spec_from_file_location("cuda_check", ROOT / "tools" / "cuda_check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from gs_diffusion_addon.engine.splat.dataset import World

    run = make_run(tmp_path)
    right = from_points(surface_points(3000), World(np.zeros(3), 1.0), 3000, 0, 0)
    score, offset = module.judge(run, right)
    assert score > 20 and offset < 0.3
    moved = Splats(right.means + np.float32(0.3), right.sh, right.opacities, right.scales,
                   right.quats)  # fmt: skip
    worse, far = module.judge(run, moved)
    assert far > 1 and worse < score
