"""Cycles' picture of a trained splat is the trainer's own, before and after it was turned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .program import MAKE_SCENE, ROOT, TINY, gsd


def pictures(run: Path, *options: str) -> dict[str, dict[str, float]]:
    """What bench/splat_picture.py finds."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "splat_picture.py"), str(run), *options],
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_faithful_picture_is_the_trainers(finished):
    figures = pictures(finished, "--quick", "--frames", "2")
    assert figures["faithful, as trained, centers, 2"]["color"] >= 45
    assert figures["faithful, as trained, centers, turned, 2"]["color"] >= 45
    assert figures["faithful, as trained, centers, 2"]["alpha"] >= 45
    assert figures["faithful, as trained, 2"]["color"] >= 30


@pytest.mark.slow
def test_so_it_is_with_harmonics_of_degree_3(tmp_path):
    scene, run = tmp_path / "model.blend", tmp_path / "run"
    subprocess.run([sys.executable, "-c", MAKE_SCENE, str(scene)], check=True, capture_output=True)
    bigger = ("--size", "160", "--train-steps", "300", "--splats", "4000", "--max-splats", "8000")
    arguments = (*TINY, *bigger, "--sh-degree", "3")
    assert gsd("run", "--blend", scene, "--out", run, "--prompt", "a", *arguments).code == 0
    figures = pictures(run, "--frames", "0", "5", "13")
    for frame in (0, 5, 13):
        for way in ("as trained, centers", "as trained, centers, turned", "as trained"):
            assert figures[f"faithful, {way}, {frame}"]["color"] >= 30
