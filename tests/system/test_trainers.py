"""Whole runs with an installed trainer: stand-ins in place of graphdeco's, Brush's and OpenSplat's
programs, everything else real.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from gs_diffusion_addon.core.ply import read_splats
from tests.processes import LIMIT, wait_for

from ..trainers import standins
from .program import TINY, command, events, gsd, png_facts, temporaries


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return standins.install(tmp_path_factory.mktemp("mein Rechner ü"))


def graphdeco(checkout):
    return ["--trainer", "graphdeco", "--graphdeco", checkout[0],
            "--graphdeco-python", checkout[1]]  # fmt: skip


def in_place(path: Path):
    """Suzanne of size 2 around the origin, as in test_whole_run."""
    splats = read_splats(path)
    low, high = np.percentile(splats.means, [2, 98], axis=0)
    np.testing.assert_allclose(high - low, (2.5, 1.6, 1.85), atol=0.45)
    return splats


def test_a_whole_run_with_graphdeco_ends_with_the_splat_imported(scene, checkout, tmp_path):
    root = tmp_path / "run"
    done = gsd("run", "--blend", scene, "--out", root, *TINY, *graphdeco(checkout))
    assert done.code == 0, done.err
    assert (root / "result.blend").is_file() and not temporaries(root)
    splats = in_place(root / "splat_iter1.ply")
    assert splats.degree == 1
    for k in range(16):
        assert png_facts(root / "iter1" / "renders" / f"{k:05d}.png") == (64, 64, 8, 6)
    model = root / "iter1" / "gs" / "model"
    agreement = json.loads((model / "graphdeco_views" / "agreement.json").read_text())
    assert len(agreement["pictures"]) == 16 and min(agreement["psnr"].values()) > 30
    assert all(png_facts(root / p)[:2] == (64, 64) for p in agreement["pictures"])
    progress = [e for e in events(root) if e["event"] == "progress" and e["stage"] == "train"]
    assert progress[-1]["done"] == progress[-1]["total"] == 60
    assert {"loss", "splats", "psnr", "eta"} <= set(progress[-1])
    assert not [e for e in events(root) if e["event"] == "warning" and e["stage"] == "train"]


@pytest.fixture
def trained(finished, tmp_path):
    """A finished run whose train stage is to be done anew."""
    root = tmp_path / "copy"
    shutil.copytree(finished, root)
    return root


@pytest.mark.parametrize(
    ("fault", "code", "sentence"),
    [
        ("oom", 4, "ran out of GPU memory"),
        ("no_extension", 3, "cannot import diff_gaussian_rasterization"),
        ("nan", 4, "no longer a number"),
        ("killed", 0, ""),
        ("old_checkout", 0, ""),
    ],
)
def test_faults_reach_the_user_as_a_sentence_or_are_survived(
    trained, checkout, fault, code, sentence
):
    arguments = ["run", "--out", trained, "--redo", "--until", "train", *graphdeco(checkout)]
    done = gsd(*arguments, env=standins.environment(fault=fault))
    assert done.code == code, done.err
    assert sentence in done.err and "Traceback" not in done.err
    if fault == "oom":
        (error,) = [e for e in events(trained) if e["event"] == "error"]
        assert any("OutOfMemoryError" in line for line in error["tail"])
        assert len(json.dumps(error)) < 20000


def test_ctrl_c_ends_the_trainer_amid_its_work_and_the_same_command_resumes(
    trained, checkout, tmp_path
):
    arguments = [str(a) for a in ("run", "--out", trained, "--redo", "--until", "train")]
    arguments += [str(a) for a in graphdeco(checkout)]
    env = standins.environment(calls=tmp_path / "calls")
    slow = standins.environment(fault="hang")  # behind its first checkpoint
    process = subprocess.Popen(command(*arguments), env={**os.environ, **env, **slow})
    model = trained / "iter1" / "gs" / "model" / "graphdeco"
    wait_for((model / "chkpnt15.pth").is_file, lambda: process.poll() is None)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=LIMIT) == 130
    wait_for(lambda: not running(trained))
    assert not (model / "point_cloud" / "iteration_60").exists(), "it was left to its end"
    done = gsd(*arguments, env=env)
    assert done.code == 0, done.err
    calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    assert "--start_checkpoint" not in calls[0] and "--start_checkpoint" in calls[1]


def running(root: Path) -> list[bytes]:
    """Command lines of training processes of a run folder."""
    out = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if b"train.py" in line and str(root).encode() in line and b"--model_path" in line:
            out.append(line)
    return out


@pytest.mark.parametrize("name", ["brush", "opensplat"])
def test_command_line_trainers(trained, tmp_path, name):
    script = standins.HERE / f"{name}.py"
    program = standins.write_program(
        tmp_path / "my programs" / name, f'exec "{standins.WORKER}" "{script}" "$@"'
    )
    done = gsd("run", "--out", trained, "--redo", "--trainer", name, f"--{name}", program)
    assert done.code == 0, done.err
    in_place(trained / "splat_iter1.ply")
    progress = [e for e in events(trained) if e["event"] == "progress" and e["stage"] == "train"]
    assert progress[-1]["done"] == 60


def test_a_trainer_that_is_not_there_is_named(trained):
    done = gsd("run", "--out", trained, "--redo", "--until", "train", "--trainer", "brush",
               "--brush", "/nowhere/brush")  # fmt: skip
    assert done.code == 3 and "There is no program /nowhere/brush" in done.err


def test_check_names_the_trainers(checkout):
    done = gsd("check", "--json", *graphdeco(checkout)[2:])
    found = {f["name"]: f for f in json.loads(done.out)}
    assert found["gaussian-splatting (graphdeco)"]["ok"]
    assert "Stand-in 3090" in found["gaussian-splatting (graphdeco)"]["detail"]
    assert not found["Brush"]["ok"] and "--brush" in found["Brush"]["todo"]
