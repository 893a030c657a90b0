"""``gsd reroll``: one keyframe restyled anew, by the real program and its child."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gs_diffusion_addon.core.run import new_manifest, write_json
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.core.version import PACKAGE
from gs_diffusion_addon.engine import stylize
from gs_diffusion_addon.engine.images import read_rgb, write_png

from .stylize_helpers import Recorder, key_paths, make_turntable, small


def styled_run(root: Path) -> tuple[Settings, list[Path]]:
    """A run whose keyframes are restyled, and their paths."""
    settings = small(blend="x")
    run = make_turntable(root, settings)
    write_json(run.manifest, new_manifest(settings, "0"))
    stylize.run_stage(run, settings, Recorder())
    return settings, [root / path for path in key_paths(run, settings)]


def reroll(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The program as a user calls it."""
    command = [sys.executable, str(PACKAGE / "worker.py"), "reroll", "--out", str(root), *words]
    env = {**os.environ, "GSD_WORKER_PYTHON": sys.executable}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def test_one_keyframe_is_made_anew_and_the_old_one_is_kept(tmp_path):
    root = tmp_path / "run"
    _, keys = styled_run(root)
    number = int(keys[1].stem.removeprefix("keys"))
    marked = read_rgb(keys[1])
    marked[:8, :8] = (255, 0, 255)  # as if it had come out badly
    write_png(keys[1], marked)
    before = {path: path.read_bytes() for path in keys}
    done = reroll(root, "--key", str(number), "--seed", "7")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == str(keys[1])
    fresh = read_rgb(keys[1])
    assert fresh.shape == marked.shape and fresh.std() > 5
    assert not (fresh[:8, :8] == (255, 0, 255)).all()
    assert [p for p in keys if p.read_bytes() != before[p]] == [keys[1]]
    (old,) = (root / "superseded").rglob("*.png")
    assert old.name == keys[1].name and old.read_bytes() == before[keys[1]]
    assert not (root / "reroll.png").exists()


def test_a_keyframe_that_is_none_is_a_sentence_and_changes_nothing(tmp_path):
    root = tmp_path / "run"
    _, keys = styled_run(root)
    before = {path: path.read_bytes() for path in keys}
    done = reroll(root, "--key", "99")
    assert done.returncode == 2 and "no restyled keyframe 99" in done.stderr
    assert {path: path.read_bytes() for path in keys} == before
    assert not (root / "superseded").exists()
