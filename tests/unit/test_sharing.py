"""Runs at the same time share the cores; one that was killed counts no more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gs_diffusion_addon.core import sharing
from gs_diffusion_addon.core.inside import private_folder

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


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_another_users_link_in_the_temporary_folder_deletes_nothing(eight, tmp_path):
    """Old files that nobody holds are deleted: not in the folder that a link leads to."""
    home = tmp_path / "home"
    home.mkdir()
    names = ("thesis.txt", "123-0123abcd")
    for name in names:
        (home / name).write_text("years of work")
        os.utime(home / name, (1, 1))
    (tmp_path / f"gs-diffusion-runs-{sharing.user()}").symlink_to(home)
    with sharing.sharing():
        assert sharing.fair_threads() == 8
    assert sorted(p.name for p in home.iterdir()) == sorted(names)


def test_only_files_named_like_ours_are_deleted(eight, tmp_path):
    folder = tmp_path / f"gs-diffusion-runs-{sharing.user()}"
    folder.mkdir(mode=0o700)
    for name in ("thesis.txt", "123-0123abcd"):
        (folder / name).touch()
        os.utime(folder / name, (1, 1))
    sharing.fair_threads()
    assert [p.name for p in folder.iterdir()] == ["thesis.txt"]


@pytest.mark.skipif(os.name == "nt", reason="its temporary folder is the user's own")
def test_a_folder_that_others_write_to_is_not_ours(tmp_path):
    assert private_folder(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert not private_folder(tmp_path / "open")
    (tmp_path / "file").touch()
    assert not private_folder(tmp_path / "file")
