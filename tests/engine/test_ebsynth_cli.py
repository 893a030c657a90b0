"""The ``ebsynth`` command as a propagator, with a stand-in for the command."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from gs_diffusion_addon.core.errors import MissingError, StageError
from gs_diffusion_addon.core.orbit import plan_keys
from gs_diffusion_addon.engine import propagate
from gs_diffusion_addon.engine.images import read_rgb, read_rgba, write_png
from gs_diffusion_addon.engine.propagate import ebsynth_cli
from tests.engine import synthetic

COMMAND = Path(__file__).resolve().parents[1] / "servers" / "ebsynth_command.py"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")


@pytest.fixture
def made(tmp_path):
    program = tmp_path / "bin" / "ebsynth"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{COMMAND}" "$@"\n')
    program.chmod(0o755)
    settings = synthetic.with_settings(
        views=8, keys=4, rings="none", propagator="ebsynth_cli", ebsynth=str(program)
    )
    run, frames = synthetic.write_run(tmp_path / "run", settings, size=(32, 32))
    for k in plan_keys(settings):
        write_png(run.key(k), np.full((32, 32, 3), 20 * k, np.uint8))
    return run, settings, frames


def quiet(event, **fields):
    pass


def test_keys_are_carried_both_ways_and_mixed(made):
    run, settings, _ = made
    propagate.run_stage(run, settings, quiet)
    folder = run.folder / "ebsynth_cli"
    outputs = sorted(p.relative_to(folder).as_posix() for p in folder.glob("out_*/*.png"))
    wanted = [f"out_{k:05d}/{p % 8:05d}.png" for k in (0, 2, 4, 6) for p in (k - 1, k + 1)]
    assert outputs == sorted(wanted)
    # The key, as the last picture, was moved along: the stand-in adds one to its brightest green.
    assert read_rgb(folder / "out_00002" / "00003.png")[0, 0].tolist() == [5, 41, 40]
    own = read_rgba(run.stylized_frame(2))
    assert np.abs(own[own[..., 3] > 0][:, :3].astype(int) - 40).max() <= 1
    between = read_rgba(run.stylized_frame(7))
    # Key 6 at a share of 2/3, key 0 at 1/3.
    expected = int(121 * 2 / 3 + 1 / 3)
    assert np.abs(between[between[..., 3] > 0][:, 1].astype(int) - expected).max() <= 1


def test_finished_pictures_are_not_made_again_and_a_missing_one_is_retried(made, monkeypatch):
    run, settings, _ = made
    monkeypatch.setenv("EBSYNTH_FAIL", "once")
    there = run.folder / "ebsynth_cli" / "out_00002" / "00003.png"
    write_png(there, np.full((32, 32, 3), 7, np.uint8))
    propagate.run_stage(run, settings, quiet)
    assert (read_rgb(there) == 7).all()
    assert not list((run.folder / "ebsynth_cli" / "work").iterdir())


@pytest.mark.parametrize(
    ("fail", "reason"), [("error", "error: could not allocate memory"), ("nothing", "no picture")]
)
def test_its_errors_come_in_a_sentence(made, monkeypatch, fail, reason):
    run, settings, _ = made
    monkeypatch.setenv("EBSYNTH_FAIL", fail)
    with pytest.raises(StageError, match=reason):
        propagate.run_stage(run, settings, quiet)


def test_a_missing_command_says_what_to_do(made, monkeypatch):
    run, settings, _ = made
    gone = synthetic.dataclasses.replace(settings, ebsynth="/nowhere/ebsynth")
    with pytest.raises(MissingError, match="/nowhere/ebsynth cannot be run"):
        propagate.run_stage(run, gone, quiet)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingError, match="not on the PATH"):
        ebsynth_cli.find_program(synthetic.dataclasses.replace(settings, ebsynth=""))
