"""Runs at the same time share the cores; one that was killed counts no more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gs_diffusion_addon.core import sharing

ROOT = Path(__file__).resolve().parents[2]
HOLD = (
    "import sys; from gs_diffusion_addon.core.sharing import sharing\n"
    "with sharing(): print('working', flush=True); sys.stdin.read()"
)


@pytest.fixture
def eight(monkeypatch, tmp_path):
    """Eight cores, and no other run of this machine."""
    monkeypatch.setattr(sharing, "processors", lambda: 8)
    monkeypatch.setattr(sharing.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def other() -> subprocess.Popen:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert child.stdout.readline() == "working\n"
    return child


def test_cores_are_shared_by_the_runs_that_work(eight, tmp_path):
    assert sharing.fair_threads() == 8
    with sharing.sharing():
        assert sharing.fair_threads() == 8
        others = [other(), other()]
        try:
            assert sharing.fair_threads() == 3
            others[0].kill()
            others[0].wait()
            assert sharing.fair_threads() == 4
        finally:
            for child in others:
                child.kill()
                child.wait()
        assert sharing.fair_threads() == 8
    assert sharing.fair_threads() == 8
    (folder,) = tmp_path.glob("gs-diffusion-runs-*")
    for left in folder.iterdir():  # the killed ones', a minute later
        os.utime(left, (1, 1))
    sharing.fair_threads()
    assert list(folder.iterdir()) == []


def test_more_runs_than_cores_have_one_each(eight, monkeypatch):
    monkeypatch.setattr(sharing, "processors", lambda: 2)
    with sharing.sharing(), sharing.sharing(), sharing.sharing():
        assert sharing.fair_threads() == 1


def test_where_nothing_can_be_written_a_run_is_alone(eight, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setattr(sharing.tempfile, "gettempdir", lambda: str(blocked))
    with sharing.sharing():
        assert sharing.fair_threads() == 8
