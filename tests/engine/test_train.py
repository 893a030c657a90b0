"""Training: quality, determinism, resuming, and the stages train and render on a tiny data set."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

from gs_diffusion_addon.core.dataset import write_transforms
from gs_diffusion_addon.core.errors import InputError, StageError
from gs_diffusion_addon.core.ply import Splats, read_points, read_splats, write_points
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.engine import render as render_stage
from gs_diffusion_addon.engine import train as train_stage
from gs_diffusion_addon.engine.images import over, read_rgba
from gs_diffusion_addon.engine.splat import training
from gs_diffusion_addon.engine.splat.backends import builtin, plain
from gs_diffusion_addon.engine.splat.dataset import Dataset, load
from gs_diffusion_addon.engine.splat.drawing import draw_on_black, drawable, render
from gs_diffusion_addon.engine.splat.initialize import from_points
from gs_diffusion_addon.engine.splat.loss import psnr
from gs_diffusion_addon.engine.splat.training import Recipe, train
from tests.engine.splat_helpers import random_splats, write_dataset
from tests.processes import wait_for

RECIPE = Recipe(steps=130, most_splats=900, seed=3)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data")
    write_dataset(path)
    return path


@pytest.fixture(scope="module")
def dataset(folder) -> Dataset:
    return load(folder)


@pytest.fixture(scope="module")
def first(folder, dataset) -> Splats:
    return from_points(read_points(folder / "points3d.ply"), dataset.world, 700, 1, 0)


@pytest.fixture(scope="module")
def trained(dataset, first) -> Splats:
    return train(dataset, lambda: first, RECIPE, builtin())


def score(splats: Splats, data: Dataset) -> float:
    """PSNR of held-out pictures, by the render stage's way of drawing."""
    world = data.world.splats_out(splats)
    values = []
    for picture in data.held_out:
        image, _ = draw_on_black(world, picture.camera)
        values.append(psnr(image.transpose(1, 2, 0), over(picture.rgba, (0, 0, 0))))
    return float(np.mean(values))


def same(a: Splats, b: Splats) -> bool:
    parts = ("means", "quats", "scales", "opacities", "sh")
    return all(np.array_equal(getattr(a, p), getattr(b, p)) for p in parts)


def test_training_reaches_a_quality_that_its_start_misses(dataset, first, trained):
    before, after = score(first, dataset), score(trained, dataset)
    assert before < 20
    assert after > 26
    assert 700 < trained.count <= RECIPE.most_splats


def test_a_seed_is_a_model_whatever_the_threads(dataset, first, trained, monkeypatch):
    from gs_diffusion_addon.engine.splat import backends, loss, rasterizer
    from gs_diffusion_addon.engine.splat.runtime import Workers

    three = Workers(3)
    for module in (rasterizer, loss, backends):
        monkeypatch.setattr(module, "workers", lambda: three)
    assert same(train(dataset, lambda: first, RECIPE, builtin()), trained)
    other = train(dataset, lambda: first, dataclasses.replace(RECIPE, seed=4), builtin())
    assert not same(other, trained)


class Stop(Exception):
    """Ends a training as a kill would: between two steps, without a chance to save."""


@pytest.mark.parametrize("at", [5, 47, 111])
def test_resuming_gives_the_unbroken_runs_model(dataset, first, trained, tmp_path, monkeypatch, at):
    path = tmp_path / "training.npz"
    step = training._step

    def stopping(state, *rest):
        if state.step == at:
            raise Stop
        return step(state, *rest)

    monkeypatch.setattr(training, "_step", stopping)
    with pytest.raises(Stop):
        train(dataset, lambda: first, RECIPE, builtin(), checkpoint=path, checkpoint_seconds=0)
    monkeypatch.undo()
    assert path.is_file()
    reports = []
    again = train(
        dataset, lambda: pytest.fail("started anew"), RECIPE, builtin(), reports.append,
        checkpoint=path, checkpoint_seconds=1000,
    )  # fmt: skip
    assert same(again, trained)
    assert min(r.step for r in reports) > at


def test_the_first_half_of_the_steps_sees_pictures_at_half_their_size(
    dataset, first, tmp_path, monkeypatch
):
    monkeypatch.setattr(training, "_SMALLEST_HALVED", 16)
    recipe, widths, backend = dataclasses.replace(RECIPE, steps=20), [], builtin()

    def seen(*arguments):
        widths.append(arguments[5].width)
        if len(widths) == 27:  # of the second training: the seventh step
            raise Stop
        return backend.rasterize(*arguments)

    watched = dataclasses.replace(backend, rasterize=seen)
    alone = dataclasses.replace(dataset, held_out=[])
    whole = train(alone, lambda: first, recipe, watched)
    full = dataset.train[0].view.width
    assert widths == [full // 2] * 10 + [full] * 10
    path = tmp_path / "training.npz"
    with pytest.raises(Stop):
        train(alone, lambda: first, recipe, watched, checkpoint=path, checkpoint_seconds=0)
    again = train(alone, lambda: pytest.fail("anew"), recipe, watched, checkpoint=path)
    assert same(again, whole)
    assert widths[27:] == [full // 2] * 4 + [full] * 10
    exposed = dataclasses.replace(recipe, exposure=True)  # gains are worked out of whole pictures
    del widths[:]
    train(alone, lambda: first, exposed, watched)
    assert widths == [full] * 20


def test_a_foreign_or_damaged_checkpoint_is_said_and_not_used(dataset, first, trained, tmp_path):
    path, warnings = tmp_path / "training.npz", []
    small = dataclasses.replace(RECIPE, steps=20)

    def run(recipe: Recipe) -> Splats:
        return train(
            dataset, lambda: first, recipe, builtin(), checkpoint=path, checkpoint_seconds=0,
            warn=warnings.append,
        )  # fmt: skip

    expected = run(small)
    other = dataclasses.replace(small, seed=9)
    run(other)
    assert len(warnings) == 1
    assert "anew" in warnings[0]
    path.write_bytes(path.read_bytes()[:-500])
    assert same(run(small), expected)
    assert len(warnings) == 2


def test_plain_torch_trains_as_well(dataset, first):
    few = dataclasses.replace(RECIPE, steps=12)
    fast = train(dataset, lambda: first, few, builtin())
    slow = train(dataset, lambda: first, few, plain())
    assert score(slow, dataset) == pytest.approx(score(fast, dataset), abs=0.3)


def test_without_a_compiler_it_says_so_and_goes_on(tmp_path, monkeypatch):
    """Numba's own failure, as on a processor that LLVM does not know."""
    import numba

    from gs_diffusion_addon.engine.splat import backends

    def failing(*arguments):
        raise numba.core.errors.LoweringError("no such target")

    run = write_run(tmp_path, views=5)
    monkeypatch.setattr(backends, "l1_dssim", failing)
    events = run_both(run, dataclasses.replace(SETTINGS, train_steps=5))
    said = [e["message"] for e in events if e["event"] == "warning"]
    assert len(said) == 2  # training and rendering
    assert all("no such target" in s and "plain torch" in s for s in said)
    assert read_rgba(run.render(0))[..., 3].max() > 200


@pytest.mark.parametrize("degree", [0, 3])
def test_other_degrees_train(folder, dataset, degree):
    start = from_points(read_points(folder / "points3d.ply"), dataset.world, 300, degree, 0)
    out = train(dataset, lambda: start, dataclasses.replace(RECIPE, steps=26), builtin())
    assert out.degree == degree


def test_exploding_and_empty_models_end_with_a_sentence(dataset, first):
    wild = dataclasses.replace(RECIPE, steps=30, rates=1e30)
    with pytest.raises(StageError, match=r"exploded|transparent"):
        train(dataset, lambda: first, wild, builtin())
    faint = Splats(first.means, first.sh, first.opacities - 20, first.scales, first.quats)
    with pytest.raises(StageError, match="transparent"):
        train(dataset, lambda: faint, RECIPE, builtin())
    with pytest.raises(StageError, match="no point"):
        train(dataset, lambda: first.selected(np.zeros(700, bool)), RECIPE, builtin())


def test_transparent_pictures_end_with_a_sentence(dataset, first):
    blank = [
        dataclasses.replace(p, rgba=np.zeros_like(p.rgba), box=(p.rgba.shape[0], 0, 0, 0))
        for p in dataset.train
    ]
    with pytest.raises(StageError, match="transparent"):
        train(Dataset(blank, [], dataset.world), lambda: first, RECIPE, builtin())


def test_a_picture_of_another_size_is_named(folder, tmp_path):
    write_dataset(tmp_path, views=4)
    frames = write_dataset(tmp_path / "other", views=4, size=(32, 32))
    write_transforms(tmp_path / "transforms_train.json", frames)
    with pytest.raises(InputError, match=r"r_0\.png is 48x40"):
        load(tmp_path)


# --- the stages -----------------------------------------------------------------------------------


def write_run(root: Path, **data) -> Run:
    run = Run(root, 1)
    frames = write_dataset(run.gs, **data)
    write_transforms(run.transforms_main, frames)
    return run


SETTINGS = dataclasses.replace(
    Settings(), trainer="builtin", train_steps=60, splats=500, max_splats=700
)


def run_both(run: Run, settings: Settings = SETTINGS) -> list[dict]:
    events: list[dict] = []

    def emit(event, **fields):
        events.append({"event": event, **fields})

    train_stage.run_stage(run, settings, emit)
    render_stage.run_stage(run, settings, emit)
    return events


def test_stages_write_what_the_run_folder_promises(tmp_path):
    run = write_run(tmp_path)
    events = run_both(run)
    ply = run.model / "point_cloud" / "iteration_60" / "point_cloud.ply"
    assert ply.is_file()
    assert run.splat.read_bytes() == ply.read_bytes()
    assert run.video.stat().st_size > 500
    assert not run.checkpoints.exists()
    frames = [e["frame"] for e in events if e["event"] == "frame_done"]
    assert frames == list(range(12))
    assert read_rgba(run.render(3)).shape == (40, 48, 4)
    progress = [e for e in events if e["event"] == "progress" and e["unit"] == "steps"]
    assert progress[-1]["done"] == 60
    assert progress[-1]["psnr"] > 20
    assert {"loss", "splats", "rate", "eta"} <= set(progress[-1])
    assert any("kernels" in e.get("message", "") for e in events if e["event"] == "phase")
    # Straight alpha: colors inside agree with the training pictures, not darkened at the border.
    picture, drawn = read_rgba(run.gs / "train" / "r_3.png"), read_rgba(run.render(3))
    inside = (picture[..., 3] > 200) & (drawn[..., 3] > 200)
    assert np.abs(picture[inside].astype(int) - drawn[inside])[:, :3].mean() < 25

    times = {p: p.stat().st_mtime_ns for p in [ply, run.splat, run.video, run.render(5)]}
    run.render(7).unlink()
    again = run_both(run)
    assert [e["frame"] for e in again if e["event"] == "frame_done"] == [7]
    assert times == {p: p.stat().st_mtime_ns for p in times}


def test_max_splats_is_the_most_from_the_start_on(tmp_path):
    run = write_run(tmp_path)
    events = run_both(run, dataclasses.replace(SETTINGS, splats=15000, max_splats=300))
    assert [e["message"] for e in events if e["event"] == "warning"] == [
        "--splats 15000 is more than --max-splats 300, so the training begins with 300."
    ]
    assert 200 < read_splats(run.splat).count <= 300


def test_the_ply_opens_in_plyfile_with_equal_values(tmp_path):
    run = write_run(tmp_path, views=5)
    run_both(run, dataclasses.replace(SETTINGS, train_steps=10))

    ours, vertex = read_splats(run.splat), PlyData.read(run.splat)["vertex"]
    assert vertex.count == ours.count
    assert np.array_equal(np.stack([vertex[n] for n in "xyz"], 1), ours.means)
    assert np.array_equal(vertex["opacity"], ours.opacities)
    rest = np.stack([vertex[f"f_rest_{k}"] for k in range(9)], 1).reshape(-1, 3, 3)
    assert np.array_equal(rest.transpose(0, 2, 1), ours.sh[:, 1:])


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_millimeters_and_kilometers_train_as_meters(tmp_path, scale):
    place = (40 * scale, -30 * scale, 10 * scale)
    run = write_run(tmp_path, scale=scale, center=place)
    events = run_both(run)
    scores = [e["psnr"] for e in events if "psnr" in e]
    assert scores[-1] > 21
    means = PlyData.read(run.splat)["vertex"]
    middle = np.median(np.stack([means[n] for n in "xyz"], 1), axis=0)
    assert np.abs(middle - place).max() < 0.1 * scale
    alpha = read_rgba(run.render(0))[..., 3]
    assert (alpha > 200).mean() > 0.3


@pytest.mark.parametrize("missing", ["points3d.ply", "all"])
def test_without_colored_points_it_starts_elsewhere(tmp_path, missing):
    run = write_run(tmp_path)
    points = read_points(run.gs / "points3d.ply")
    (run.gs / "points3d.ply").unlink()
    if missing == "points3d.ply":
        write_points(run.surface, points)
    events = run_both(run)
    warned = [e for e in events if e["event"] == "warning"]
    assert bool(warned) == (missing == "all")
    assert [e["psnr"] for e in events if "psnr" in e][-1] > (20 if not warned else 15)


def test_kill_dash_nine_and_again(tmp_path):
    """A real child, killed hard after its first checkpoint, then run to the end: the same .ply.

    It waits for the kill before its 120th step, if that is so late.
    """
    whole, broken = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    done = dataclasses.replace(SETTINGS, train_steps=150)
    code = (
        "import sys, dataclasses, time; from pathlib import Path\n"
        "from gs_diffusion_addon.core.run import Run\n"
        "from gs_diffusion_addon.core.settings import Settings\n"
        "from gs_diffusion_addon.engine.train import run_stage\n"
        "from gs_diffusion_addon.engine.splat import training\n"
        "step = training._step\n"
        "def held(state, *rest):\n"
        "    if state.step == int(sys.argv[2]): time.sleep(300)\n"
        "    return step(state, *rest)\n"
        "training._step = held\n"
        "s = dataclasses.replace(Settings(), trainer='builtin', train_steps=150, splats=500,\n"
        "    max_splats=700, checkpoint_seconds=0.02)\n"
        "def emit(event, **f): print(event, f, flush=True)\n"
        "run_stage(Run(Path(sys.argv[1]), 1), s, emit)\n"
    )

    def start(run: Run, held: int = -1) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, str(run.root), str(held)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def to_the_end(run: Run) -> None:
        out, _ = start(run).communicate(timeout=600)
        assert "warning" not in out
        assert train_stage.result_path(run, done).is_file()

    to_the_end(whole)  # and the kernels are compiled
    child = start(broken, 120)
    wait_for((broken.checkpoints / "training.npz").is_file, lambda: child.poll() is None)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert not train_stage.result_path(broken, done).is_file()
    to_the_end(broken)
    ply = Path("point_cloud/iteration_150/point_cloud.ply")
    assert (broken.model / ply).read_bytes() == (whole.model / ply).read_bytes()


def test_an_infinite_opacity_renders():
    splats = random_splats(0, 30)
    splats.opacities[:5] = np.inf
    splats.means[7] = np.nan
    from gs_diffusion_addon.core.cameras import Camera, look_at

    camera = Camera(32, 24, 30, 30, 16, 12, look_at((0, -4, 0), (0, 0, 0)))
    pixels = render(drawable(splats), camera)
    assert pixels[..., 3].max() > 200
