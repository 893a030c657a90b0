"""``gsd splat``: foreign data sets, pause and preview, drawing, pruning, facts of files."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from gs_diffusion_addon.core import splat_tools
from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.lock import locked
from gs_diffusion_addon.core.ply import Splats, read_splats, write_splats
from gs_diffusion_addon.core.run import write_json
from gs_diffusion_addon.engine.images import read_rgba, write_png
from gs_diffusion_addon.engine.splat import exposure, tools
from gs_diffusion_addon.engine.splat.backends import builtin
from gs_diffusion_addon.engine.splat.dataset import load_any
from gs_diffusion_addon.engine.splat.initialize import from_silhouettes
from gs_diffusion_addon.engine.splat.rasterizer import Rendering, Screen
from gs_diffusion_addon.engine.splat.training import Recipe, Status, train
from tests.engine.splat_helpers import random_splats, write_dataset
from tests.processes import LIMIT, wait_for

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--train-steps", "240", "--splats", "500", "--max-splats", "700", "--threads", "1")


@pytest.fixture(scope="module")
def nerf(tmp_path_factory) -> Path:
    """A data set as NeRF-synthetic's: no sizes, no points, RGBA."""
    folder = tmp_path_factory.mktemp("nerf")
    write_dataset(folder)
    (folder / "points3d.ply").unlink()
    for path in folder.glob("transforms_*.json"):
        data = json.loads(path.read_text())
        kept = {"camera_angle_x": data["camera_angle_x"]}
        frames = [
            {"file_path": f["file_path"], "transform_matrix": f["transform_matrix"]}
            for f in data["frames"]
        ]
        write_json(path, {**kept, "frames": frames})
    return folder


def gsd(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "gs_diffusion_addon" / "worker.py", "splat", *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def test_train_writes_a_model_and_the_promised_metrics(nerf, tmp_path):
    out = tmp_path / "a folder"
    done = gsd("train", "--data", nerf, "--out", out, "--preset", "preview", *SMALL)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((out / "metrics.json").read_text())
    splats = read_splats(out / "splat.ply")
    assert metrics["splats"] == splats.count and metrics["steps"] == 240
    assert metrics["psnr_test"] > 22 and 0.5 < metrics["ssim_test"] <= 1
    assert metrics["psnr_test_object"] < metrics["psnr_test"]
    assert {"wall_seconds", "cpu_seconds", "jit_seconds"} <= set(metrics)
    again = gsd("train", "--data", nerf, "--out", out, "--preset", "preview", *SMALL)
    assert again.returncode == 0 and "already done" in again.stderr
    other = gsd("train", "--data", nerf, "--out", out, *SMALL, "--seed", "4")
    assert other.returncode == 2 and "another training" in other.stderr

    # What render draws is what was judged.
    test = nerf / "transforms_test.json"
    drawn = gsd("render", out / "splat.ply", "--transforms", test, "--out", tmp_path / "r",
                "--background", "white")  # fmt: skip
    assert drawn.returncode == 0, drawn.stderr
    (name,) = [f["file_path"] for f in json.loads(test.read_text())["frames"]]
    image = read_rgba(tmp_path / "r" / f"{name}.png")[..., :3] / 255
    rgba = read_rgba(nerf / f"{name}.png") / 255
    target = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    psnr = -10 * np.log10(np.mean((image - target) ** 2))
    assert psnr == pytest.approx(metrics["psnr_test"], abs=0.05)


def test_a_splat_of_another_origin_is_never_overwritten(nerf, tmp_path):
    (tmp_path / "splat.ply").write_text("somebody's")
    done = gsd("train", "--data", nerf, "--out", tmp_path, *SMALL)
    assert done.returncode == 2 and "another origin" in done.stderr
    assert (tmp_path / "splat.ply").read_text() == "somebody's"


def test_an_undivided_data_set_holds_out_every_eighth(nerf, tmp_path):
    data = json.loads((nerf / "transforms_train.json").read_text())
    write_json(tmp_path / "transforms.json", data)
    for frame in data["frames"]:
        source = nerf / f"{frame['file_path']}.png"
        write_png(tmp_path / f"{frame['file_path']}.png", read_rgba(source))
    found = load_any(tmp_path)
    assert len(found.held_out) == -(-len(data["frames"]) // 8)
    assert len(found.train) + len(found.held_out) == len(data["frames"])
    with pytest.raises(InputError, match="no data set"):
        load_any(tmp_path / "train")


def test_pause_preview_resume(nerf, tmp_path):
    data = load_any(nerf)
    place = tmp_path / "checkpoints" / "training"
    steps: list[int] = []
    said: list[str] = []
    asked = threading.Event()

    def report(status: Status) -> None:
        steps.append(status.step)
        asked.wait(LIMIT)

    worker = threading.Thread(
        target=train,
        args=(data, lambda: from_silhouettes(data.train, data.world, 300, 0, 0),
              Recipe(steps=400, most_splats=300), builtin(), report,
              place / "training.npz", 1000.0, said.append),
    )  # fmt: skip
    worker.start()
    wait_for(place.is_dir, worker.is_alive)
    # As the supervisor does while its child trains.
    work = contextlib.ExitStack()
    work.enter_context(locked(tmp_path))
    splat_tools.request(tmp_path, "pause")
    asked.set()
    wait_for(lambda: said, worker.is_alive)
    assert "paused" in said[0]
    assert (place / "training.npz").is_file()
    splat_tools.request(tmp_path, "preview")
    wait_for(lambda: not (place / "preview").exists(), worker.is_alive)
    assert 0 < read_splats(place / "preview.ply").count <= 300
    halted = len(steps)
    time.sleep(0.3)
    assert len(steps) == halted and worker.is_alive()
    splat_tools.request(tmp_path, "resume")
    worker.join(LIMIT)
    work.close()
    assert steps[-1] == 400
    with pytest.raises(InputError, match="No training"):
        splat_tools.request(tmp_path / "checkpoints", "pause")


def test_exposure_finds_the_gain_and_leaves_the_background():
    rng = np.random.default_rng(0)
    alpha = torch.from_numpy((rng.random((9, 8)) > 0.3).astype(np.float32))
    color = torch.from_numpy(rng.uniform(0.2, 0.6, (3, 9, 8)).astype(np.float32)) * alpha
    background = torch.tensor([0.1, 0.9, 0.4])
    rendering = Rendering(color + (1 - alpha) * background[:, None, None], alpha, Screen())
    gain = np.array([1.3, 0.8, 1.0])
    bright = color * torch.from_numpy(gain.astype(np.float32))[:, None, None]
    rgba = np.concatenate([bright.numpy(), alpha.numpy()[None]]).transpose(1, 2, 0)
    gains = np.ones((2, 3))
    for _ in range(30):
        exposure.visit(gains, 1, rendering, (rgba * 255 + 0.5).astype(np.uint8), background)
    np.testing.assert_allclose(gains[1], gain, rtol=5e-3)
    np.testing.assert_allclose(gains[0], 1)
    image = exposure.exposed(rendering, gains[1], background)
    expected = bright + (1 - alpha) * background[:, None, None]
    np.testing.assert_allclose(image.numpy(), expected.numpy(), atol=5e-3)
    exposure.center(gains)
    np.testing.assert_allclose(np.log(gains).mean(0), 0, atol=1e-12)


def test_exposure_helps_where_the_pictures_differ_in_brightness(nerf):
    data = load_any(nerf)
    for k, picture in enumerate(data.train):
        gain = 0.75 if k % 2 else 1.0
        picture.rgba[..., :3] = (picture.rgba[..., :3] * gain).astype(np.uint8)

    def spread(on: bool) -> float:
        first = from_silhouettes(data.train, data.world, 400, 1, 0)
        recipe = Recipe(steps=150, most_splats=500, exposure=on)
        splats = train(data, lambda: first, recipe, builtin())
        model = splats.sh[:, 1:]
        return float(np.abs(model).mean())

    # Without gains the difference between neighbors is painted onto the view-dependent color.
    assert spread(True) < spread(False)


def test_prune_keeps_what_is_seen(nerf, tmp_path):
    splats = random_splats(0, 60)
    logits = np.abs(splats.opacities)
    logits[:7] = -12  # invisible
    means = splats.means * np.float32(0.2)
    means[7:12] = 1e4  # seen from nowhere
    scales = splats.scales.copy()
    scales[7:12] = -9
    write_splats(tmp_path / "in.ply", Splats(means, splats.sh, logits, scales, splats.quats))
    done = gsd("prune", tmp_path / "in.ply", "--transforms", nerf / "transforms_train.json",
               "--out", tmp_path / "out.ply")  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = read_splats(tmp_path / "out.ply")
    assert 0 < kept.count <= 48
    assert np.abs(kept.means).max() < 100
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.ply", "out.ply"]


def test_info_counts_faults(tmp_path):
    splats = random_splats(1, 40, degree=2)
    splats.means[3, 1], splats.sh[4, 2, 0], splats.scales[5, 0] = np.nan, np.nan, np.inf
    splats.opacities[6] = np.inf
    write_splats(tmp_path / "s.ply", splats)
    facts = splat_tools.info(tmp_path / "s.ply")
    assert (facts.count, facts.degree, facts.nan, facts.inf) == (40, 2, 2, 1)
    assert facts.infinite_opacity == 1
    assert sum(facts.opacity.counts) == 40
    means = splats.means[splats.finite]
    np.testing.assert_allclose(facts.low, means.min(0), atol=1e-5)
    text = splat_tools.info_text(facts)
    assert "40" in text and "with NaN    2" in text


def test_convert_names_what_is_missing(tmp_path, monkeypatch):
    write_splats(tmp_path / "s.ply", random_splats(1, 5))
    monkeypatch.setenv("GSD_SPLAT_TRANSFORM", str(tmp_path / "nothing"))
    monkeypatch.setattr(splat_tools, "PACKAGE", tmp_path / "x")
    for name, sentence in (("s.spz", "splat-transform"), ("s.obj", "no known format")):
        with pytest.raises(Exception, match=sentence):
            splat_tools.convert(tmp_path / "s.ply", tmp_path / name)
    assert splat_tools.convert(tmp_path / "s.ply", tmp_path / "t.ply").is_file()


def test_pictures_named_outside_stay_inside(tmp_path):
    assert tools._inside(tmp_path, "../../etc/r_1").parent == tmp_path


def test_the_documented_example_runs(nerf, tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "trainer-api.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    (tmp_path / "data").symlink_to(nerf)
    monkeypatch.chdir(tmp_path)
    small = "train_steps=20, splats=200, max_splats=300"
    exec(compile(code.replace("train_steps=300", small), "trainer-api.md", "exec"), {})
    assert "torch.Size([3, 40, 48]) torch.Size([40, 48])" in capsys.readouterr().out
    assert read_splats(tmp_path / "model.ply").count > 0


def test_requests_go_to_the_last_iteration_also_after_the_ninth(tmp_path):
    for k in (1, 9, 10):
        (tmp_path / "checkpoints" / f"iter{k}").mkdir(parents=True)
    with locked(tmp_path):
        splat_tools.request(tmp_path, "pause")
    assert (tmp_path / "checkpoints" / "iter10" / "pause").exists()
