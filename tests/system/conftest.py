"""Whole runs of the program as a user starts it: real Blender, real children, tiny pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .program import MAKE_SCENE, TINY, gsd


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .blend with a checkered Suzanne and nothing else, in a folder with a space and an
    umlaut.
    """
    path = tmp_path_factory.mktemp("a folder with späce") / "model.blend"
    subprocess.run([sys.executable, "-c", MAKE_SCENE, str(path)], check=True, capture_output=True)
    return path


@pytest.fixture(scope="session")
def finished(scene: Path) -> Path:
    """The folder of a finished tiny run."""
    root = scene.parent / "run"
    done = gsd("run", "--blend", scene, "--out", root, "--prompt", "a bronze bust", *TINY)
    assert done.code == 0, done.err
    printed = [Path(line) for line in done.out.split("\n") if line]
    assert [p.name for p in printed] == [
        "report.html",
        "splat_iter1.ply",
        "iter1.mp4",
        "result.blend",
    ]
    assert all(p.is_file() for p in printed)
    return root
