"""Sweeps for real: on this machine, and by openjd-cli from the template that gsd writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from .program import ROOT, TINY, WORKER, command, events, gsd, png_facts, repeated

OPENJD = ROOT / ".venv-worker" / "bin" / "openjd"
NAMES = [f"a-{stuff}-bust-seed-{seed}" for stuff in ("bronze", "marble") for seed in (1, 2)]
needs_openjd = pytest.mark.skipif(
    not OPENJD.exists(), reason="openjd-cli is not installed (tools/setup.sh --test)"
)


def sweep_file(scene, folder, **settings):
    """Two prompts by two seeds, with ``settings`` in common."""
    data = {
        "settings": {"blend": str(scene), **settings},
        "vary": {"prompt": ["a bronze bust", "a marble bust"], "seed": [1, 2]},
    }
    path = folder / "two.json"
    path.write_text(json.dumps(data))
    return path


def tiny() -> dict:
    """TINY as settings of a sweep file."""
    options = dict(zip(TINY[::2], TINY[1::2], strict=True))
    options.pop("--seed")
    texts = ("--rings", "--size", "--style")
    return {k: v if k in texts or not v.isdigit() else int(v) for k, v in options.items()}


def farmed(file, folder, *options):
    """openjd check and run of the sweep's template; returns the folder of the runs."""
    out, template = folder / "runs", folder / "job.json"
    assert gsd("sweep", file, "--out", out, "--openjd", template, *options).code == 0
    subprocess.run([OPENJD, "check", template], check=True, capture_output=True)
    program = folder / "gsd"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{WORKER}" "$@"\n')
    program.chmod(0o755)
    job = ["run", template, "--step", "ContactSheet", "--run-dependencies"]
    done = subprocess.run(
        [OPENJD, *job, "-p", f"Gsd={program}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return out


@needs_openjd
def test_openjd_runs_a_two_by_two_sweep(scene, tmp_path):
    few = {"views": 8, "rings": "none", "size": "32", "samples": 1, "keys": 2}
    out = farmed(sweep_file(scene, tmp_path, **few), tmp_path, "--until", "turntable")
    assert sorted(p.parent.name for p in out.glob("*/run.json")) == NAMES
    for name in NAMES:
        assert len(list((out / name / "train_main").glob("r_*.png"))) == 8
        assert repeated(out / name) == {}
    # Prompt and seed do not change the turntable: one run renders it, the others copy it.
    assert len(list(out.glob("*/logs/0-turntable.log"))) == 1
    assert len({p.stat().st_ino for p in out.glob("*/train_main/r_3.png")}) == 4
    assert len({p.read_bytes() for p in out.glob("*/train_main/r_3.png")}) == 1
    assert png_facts(out / "contact-sheet.png")[0] > 500
    page = (out / "contact-sheet.html").read_text()
    assert all(name in page for name in NAMES)


@needs_openjd
@pytest.mark.slow
def test_openjd_makes_four_whole_results(scene, tmp_path):
    out = farmed(sweep_file(scene, tmp_path, **tiny()), tmp_path)
    for name in NAMES:
        assert (out / name / "splat_iter1.ply").is_file()
        assert (out / name / "result.blend").is_file()
        assert f'href="{name}/report.html"' in (out / "contact-sheet.html").read_text()


@pytest.mark.slow
def test_a_killed_sweep_leaves_nothing_running_and_goes_on(scene, tmp_path):
    file, out = sweep_file(scene, tmp_path, **tiny()), tmp_path / "runs"
    child = subprocess.Popen(
        command("sweep", str(file), "--out", str(out), "--jobs", "2"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    started = time.monotonic()
    while len(list(out.glob("*/train_main/r_*.png"))) < 3:
        assert child.poll() is None and time.monotonic() - started < 200
        time.sleep(0.05)
    refused = gsd("sweep", file, "--out", out)
    assert refused.code == 2 and "is in use by" in refused.err
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    done = gsd("sweep", file, "--out", out, "--jobs", "2", "--until", "stylize", timeout=600)
    assert done.code == 0, done.err
    assert done.out.split() == [str(out / "contact-sheet.png"), str(out / "contact-sheet.html")]
    for name in NAMES:
        assert repeated(out / name) == {}
        assert any(e["event"] == "run_finished" for e in events(out / name))


def test_one_bad_run_does_not_stop_the_others(tmp_path):
    data = {"vary": {"model": ["gone.obj", "away.obj"]}}
    file = tmp_path / "bad.json"
    file.write_text(json.dumps(data))
    done = gsd("sweep", file, "--out", tmp_path / "runs")
    assert done.code == 2
    assert "gone: The model file" in done.err and "away: The model file" in done.err
    assert "0 of 2 runs are finished." in done.err
    page = (tmp_path / "runs" / "contact-sheet.html").read_text()
    assert "waiting" in page
