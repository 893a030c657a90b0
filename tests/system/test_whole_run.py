"""One iteration from a .blend to a splat in the scene, through the door a user takes."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess

import numpy as np

from gs_diffusion_addon.core import interpreters
from gs_diffusion_addon.core.dataset import read_transforms
from gs_diffusion_addon.core.ply import read_splats
from gs_diffusion_addon.core.run import read_manifest
from gs_diffusion_addon.core.settings import Settings
from tests.processes import LIMIT, wait_for
from tests.trainers.standins import write_program

from .program import TINY, command, events, gsd, png_facts, repeated, temporaries

LAGS = ("1", "key_gap", "60deg", "loop")


def test_the_run_folder_holds_what_the_design_says(finished):
    for k in range(16):
        assert png_facts(finished / "train_main" / f"r_{k}.png") == (64, 64, 8, 6)
        assert (finished / "guides" / f"r_{k}.exr").is_file()
        assert png_facts(finished / "iter1" / "stylized" / f"r_{k}.png") == (64, 64, 8, 6)
        assert png_facts(finished / "iter1" / "renders" / f"{k:05d}.png") == (64, 64, 8, 6)
    keys = sorted(p.name for p in (finished / "iter1" / "keys").glob("*.png"))
    assert keys == [f"keys{k:05d}.png" for k in (0, 2, 4, 6, 8, 10, 12)]
    for name in (
        "guides/surface.ply",
        "iter0.mp4",
        "iter1.mp4",
        "iter1/gs/points3d.ply",
        "run.json",
    ):
        assert (finished / name).stat().st_size > 100
    assert not temporaries(finished)
    parts = {}
    for part in ("train", "val", "test"):
        frames = read_transforms(finished / "iter1" / "gs" / f"transforms_{part}.json")
        parts[part] = {f.frame for f in frames}
        assert all((finished / "iter1" / "gs" / f"{f.file_path}.png").is_file() for f in frames)
    assert sorted(k for p in parts.values() for k in p) == list(range(16))


def test_metrics_hold_every_promised_figure(finished):
    metrics = json.loads((finished / "iter1" / "metrics.json").read_text())
    for name in ("psnr_test", "psnr_test_object", "ssim_test", "coverage"):
        assert math.isfinite(metrics[name]), name
    assert 0.5 < metrics["coverage"] <= 1
    assert metrics["psnr_test"] > 12
    for kind in ("source", "stylized_independent", "propagated", "splat"):
        for lag in LAGS:
            entry = metrics["warp_error"][kind][lag]
            assert entry["raw"] >= 0 and entry["over_source"] >= 0, (kind, lag)
    assert metrics["warp_error"]["source"]["1"]["over_source"] == 1
    independent = metrics["warp_error"]["stylized_independent"]["60deg"]["raw"]
    assert metrics["warp_error"]["propagated"]["60deg"]["raw"] < independent
    assert set(metrics["seconds"]) >= {
        "turntable",
        "stylize",
        "propagate",
        "dataset",
        "train",
        "render",
    }


def test_the_splat_lies_on_the_model_in_blenders_world(finished):
    splats = read_splats(finished / "splat_iter1.ply")
    assert 300 <= splats.count <= 900
    # Suzanne of size 2 spans about 1.37 x 0.85 x 0.98 around the origin
    assert np.isfinite(splats.means).all()
    low, high = np.percentile(splats.means, [2, 98], axis=0)
    np.testing.assert_allclose(high - low, (2.5, 1.6, 1.85), atol=0.45)


def test_the_report_is_one_file_and_honest_about_the_preview(finished):
    html = (finished / "report.html").read_text(encoding="utf-8")
    assert "not diffusion" in html.lower()
    assert "a bronze bust" in html
    assert "http://" not in html.replace("http://127.0.0.1:7860", "").replace(
        "http://www.w3.org", ""
    )


def test_the_same_command_again_does_nothing(finished, scene):
    before = (finished / "run.json").read_text()
    done = gsd("run", "--blend", scene, "--out", finished, "--prompt", "a bronze bust", *TINY)
    assert done.code == 0, done.err
    assert done.err.count("already done") == 8
    assert json.loads(before)["stages"] == json.loads((finished / "run.json").read_text())["stages"]
    status = gsd("status", "--out", finished)
    assert status.code == 0 and status.out.count("done") == 8


def test_changed_settings_are_refused_then_redone_with_the_old_results_kept(finished, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(finished, root)
    done = gsd("run", "--out", root, "--train-steps", "20")
    assert done.code == 2 and "--train-steps" in done.err and "--redo" in done.err
    done = gsd("run", "--out", root, "--train-steps", "20", "--redo")
    assert done.code == 0, done.err
    assert list(root.glob("superseded/*/splat_iter1.ply"))
    again = [e["stage"] for e in events(root) if e["event"] == "stage_started"][8:]
    assert again == ["train", "render", "report", "import"]


def test_a_finished_stage_does_not_need_the_model_file_again(scene, tmp_path):
    model, root = tmp_path / "copy.blend", tmp_path / "run"
    shutil.copy2(scene, model)
    arguments = ("run", "--blend", model, "--out", root, "--until", "turntable", *TINY)
    assert gsd(*arguments).code == 0
    model.unlink()
    assert "turntable      done" in gsd("status", "--out", root).out
    again = gsd("run", "--out", root, "--until", "turntable")
    assert again.code == 0 and "already done" in again.err


def test_ctrl_c_ends_amid_a_stage_and_the_same_command_finishes(scene, tmp_path):
    root = tmp_path / "run"
    arguments = ("run", "--blend", str(scene), "--out", str(root), "--until", "stylize", *TINY)
    arguments += ("--views", "48")  # it is to be amid them still when the signal comes
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True)
    wait_for((root / "train_main" / "r_3.png").exists, lambda: process.poll() is None)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=LIMIT) == 130
    said = process.stderr.read()
    assert read_manifest(root)["stages"]["0/turntable"]["state"] == "running", said
    assert not temporaries(root)
    done = gsd(*arguments)
    assert done.code == 0, done.err
    assert not repeated(root)


def test_ctrl_c_while_the_machine_is_looked_at_decides_nothing(scene, tmp_path):
    """What ``--trainer auto`` stands for is kept in run.json for good."""
    root, asked = tmp_path / "run", tmp_path / "asked"
    asks = f"case $2 in *gsplat.rasterization*) > '{asked}'; exec sleep 300;; esac"
    real = interpreters.worker_python(Settings())
    python = write_program(tmp_path / "python", f"{asks}\nexec '{real}' \"$@\"")
    arguments = ("run", "--blend", str(scene), "--out", str(root), "--worker-python", str(python))
    process = subprocess.Popen(
        command(*arguments, "--trainer", "auto"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(asked.exists, lambda: process.poll() is None)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=LIMIT) == 130
    assert process.stderr.read().splitlines()[-1].startswith("gsd: Stopped;")
    assert not (root / "run.json").exists()
