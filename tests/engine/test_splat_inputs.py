"""``gsd splat`` with inputs of every origin: what it takes, what it refuses, what it never does."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gs_diffusion_addon.core import splat_tools
from gs_diffusion_addon.core.errors import InputError, StageError
from gs_diffusion_addon.core.lock import locked
from gs_diffusion_addon.core.ply import Points, read_points, write_points, write_splats
from gs_diffusion_addon.core.run import TEMPORARY, write_json
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.core.splat_commands import settings_of
from gs_diffusion_addon.engine.images import read_rgb, read_rgba
from gs_diffusion_addon.engine.splat import api, checkpoint, colmap_folder, tools
from gs_diffusion_addon.engine.splat.backends import builtin
from gs_diffusion_addon.engine.splat.dataset import load_any
from gs_diffusion_addon.engine.splat.model import model_of
from gs_diffusion_addon.engine.splat.training import Recipe, fingerprint
from tests.engine.splat_helpers import random_splats, write_dataset

ROOT = Path(__file__).resolve().parents[2]
FEW = Settings(train_steps=3, splats=200, max_splats=300, threads=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_dataset(folder)
    return folder


@pytest.fixture
def data(made, tmp_path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(made, tmp_path / "data")


def told() -> tuple[list[str], object]:
    """The warnings and results of an emitter, and that emitter."""
    found: list[str] = []

    def emit(event: str, **fields: object) -> None:
        if event in ("warning", "made"):
            found.append(str(fields.get("message") or fields.get("text")))

    return found, emit


def job(data: Path, out: Path, **more: object) -> dict[str, object]:
    return {"tool": "train", "data": str(data), "out": str(out), "background": "white", **more}


def edit(path: Path, **fields: object) -> None:
    write_json(path, {**json.loads(path.read_text()), **fields})


def gsd(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "gs_diffusion_addon" / "worker.py", "splat", *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


# --- pictures and cameras -------------------------------------------------------------------------


@pytest.mark.parametrize(("at", "value"), [(10, 99), (8, 1), (8, 1 << 5)])
def test_a_checkpoint_of_unknown_packing_is_said_to_be_damaged(at, value, tmp_path):
    """One damaged byte in zip's directory: a method, a password or a patch that zipfile lacks."""
    path, model = tmp_path / "training.npz", model_of(random_splats(0, 9), "cpu", 1, kernels=True)
    state = checkpoint.State(1, model, np.random.default_rng(0), [], np.zeros(9), np.zeros(9))
    checkpoint.save(path, state, "it")
    assert isinstance(checkpoint.load(path, "it", "cpu", 1), checkpoint.State)
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\x01\x02")
    data[start + at] = value
    path.write_bytes(data)
    assert "cannot be read" in str(checkpoint.load(path, "it", "cpu", 1))


@pytest.mark.parametrize("name", ["g.png", "g.tif"])
def test_gray_pictures_of_16_bits_are_no_white_ones(name, tmp_path):
    levels = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(levels).save(tmp_path / name)
    assert (read_rgba(tmp_path / name)[..., :3] == (levels >> 8)[..., None]).all()
    assert (read_rgb(tmp_path / name) == (levels >> 8)[..., None]).all()


def test_pictures_of_unknown_white_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(InputError, match="32 bits"):
        read_rgba(tmp_path / "f.tif")


def test_a_lens_with_distortion_is_refused_and_a_straight_one_is_not(data):
    path = data / "transforms_train.json"
    edit(path, camera_model="OPENCV", k1=1e-4, k2=0.0, p1=0.0, p2=0.0)
    assert load_any(data).train
    edit(path, k1=-0.2)
    with pytest.raises(InputError, match=r"shifts pixels by up to \d+\.\d .*undistort"):
        load_any(data)
    with pytest.raises(InputError, match="undistort"):
        write_splats(data / "a.ply", random_splats(0, 5))
        colmap_folder.write_folder(
            {"file": data / "a.ply", "transforms": path, "out": data / "c", "text": False,
             "background": "transparent"}, told()[1],
        )  # fmt: skip
    edit(path, k1=0.0, camera_model="OPENCV_FISHEYE")
    with pytest.raises(InputError, match="OPENCV_FISHEYE"):
        load_any(data)


def test_an_angle_in_degrees_is_named(data):
    path = data / "transforms_train.json"
    frames = json.loads(path.read_text())["frames"]
    write_json(path, {"camera_angle_x": 40.0, "w": 48, "h": 40, "frames": frames})
    with pytest.raises(InputError, match=r"camera_angle_x = 40, .*radians"):
        load_any(data)


def test_another_principal_point_makes_another_training(data):
    before = fingerprint(load_any(data), Recipe())
    assert before == fingerprint(load_any(data), Recipe())
    edit(data / "transforms_train.json", cx=20.0)
    assert fingerprint(load_any(data), Recipe()) != before


def test_views_without_a_silhouette_do_not_count_inside_it(data):
    (picture,) = load_any(data).held_out
    blank = dataclasses.replace(picture, rgba=np.zeros_like(picture.rgba))
    splats = random_splats(3, 40)
    alone, both, none = (
        tools.judged(splats, views, builtin(), "white")
        for views in ([picture], [picture, blank], [blank])
    )
    assert both["psnr_test_object"] == alone["psnr_test_object"]
    assert both["psnr_test"] != alone["psnr_test"]
    assert none["psnr_test_object"] is None and none["psnr_test"] > 0


def test_cameras_that_see_nothing_together_are_told(data):
    path = data / "transforms_train.json"
    frames = json.loads(path.read_text())["frames"]
    for frame in frames:  # turned around
        m = np.array(frame["transform_matrix"])
        m[:3, [0, 2]] *= -1
        frame["transform_matrix"] = m.tolist()
    edit(path, frames=frames)
    (data / "points3d.ply").unlink()
    with pytest.raises(StageError, match=r"no point to start .*points3d.ply"):
        tools.train_folder(job(data, data / "out"), FEW, told()[1])


# --- points ---------------------------------------------------------------------------------------


def test_points_that_no_camera_sees_are_refused(data):
    points = read_points(data / "points3d.ply")
    far = dataclasses.replace(points, positions=points.positions + np.float32(1e6))
    write_points(data / "far.ply", far)
    with pytest.raises(InputError, match=r"None of the points of .*far.ply"):
        tools.train_folder(job(data, data / "out", points=data / "far.ply"), FEW, told()[1])
    nan = dataclasses.replace(points, positions=np.full_like(points.positions, np.nan))
    write_points(data / "nan.ply", nan)
    with pytest.raises(InputError, match="holds no points to start from"):
        tools.train_folder(job(data, data / "out", points=data / "nan.ply"), FEW, told()[1])


def test_few_points_are_warned_of(data):
    points = read_points(data / "points3d.ply")
    parts = (points.positions, points.normals, points.colors)
    write_points(data / "few.ply", Points(*(part[:20] for part in parts)))
    said, emit = told()
    tools.train_folder(job(data, data / "out", points=data / "few.ply"), FEW, emit)
    assert "few.ply holds 20 points" in said[0]
    said, emit = told()
    tools.train_folder(job(data, data / "out2"), FEW, emit)
    assert len(said) == 1  # what was made


def test_points_without_colors_take_them_from_the_views(data):
    points = read_points(data / "points3d.ply")
    found = load_any(data)

    def start(name: str, colors: np.ndarray) -> np.ndarray:
        write_points(data / name, dataclasses.replace(points, colors=colors))
        splats = tools.first_splats(found, data / name, True, FEW, told()[1])
        return splats.sh[:, 0]

    true = start("colors.ply", points.colors)
    none = start("none.ply", np.full_like(points.colors, 255))
    # The file's are pale (half the contrast), and a view sees through to the other side.
    assert np.corrcoef(true.ravel(), none.ravel())[0, 1] > 0.3
    assert none.std() > 0.1


# --- the folder -----------------------------------------------------------------------------------


def test_metrics_of_another_program_are_no_defect(data, tmp_path):
    (tmp_path / "metrics.json").write_text("[1]")
    with pytest.raises(InputError, match="another training"):
        tools.train_folder(job(data, tmp_path), FEW, told()[1])


def test_a_finished_training_is_judged_on_another_background(data, tmp_path):
    tools.train_folder(job(data, tmp_path), FEW, told()[1])
    first = json.loads((tmp_path / "metrics.json").read_text())
    model = (tmp_path / "splat.ply").read_bytes()
    tools.train_folder(job(data, tmp_path, background="black"), FEW, told()[1])
    second = json.loads((tmp_path / "metrics.json").read_text())
    assert second["background"] == "black" and second["psnr_test"] != first["psnr_test"]
    assert second["splats"] == first["splats"] and (tmp_path / "splat.ply").read_bytes() == model
    tools.train_folder(job(data, tmp_path), FEW, told()[1])
    again = json.loads((tmp_path / "metrics.json").read_text())
    assert again["psnr_test"] == pytest.approx(first["psnr_test"], abs=0.01)
    (tmp_path / "splat.ply").unlink()
    tools.train_folder(job(data, tmp_path), FEW, told()[1])
    assert (tmp_path / "splat.ply").read_bytes() == model


def test_one_training_at_a_time_in_a_folder_which_a_killed_one_leaves_tidy(data, tmp_path):
    out = tmp_path / "out"
    small = ("--train-steps", "2", "--splats", "200", "--max-splats", "300", "--threads", "1")
    half = out / "checkpoints" / "training" / f"{TEMPORARY}1-training.npz"
    half.parent.mkdir(parents=True)
    half.touch()
    with locked(out):
        refused = gsd("train", "--data", data, "--out", out, *small)
    assert refused.returncode == 2 and "is in use by process" in refused.stderr
    assert half.exists() and not (out / "logs" / "splat-train.json").exists()
    done = gsd("train", "--data", data, "--out", out, *small)
    assert done.returncode == 0, done.stderr
    assert not half.exists() and (out / "splat.ply").is_file()


def test_nothing_is_asked_of_a_training_that_does_not_run(tmp_path):
    place = tmp_path / "checkpoints" / "training"
    place.mkdir(parents=True)
    for what in splat_tools.REQUESTS:
        with pytest.raises(InputError, match="nothing works there"):
            splat_tools.request(tmp_path, what)
    assert not any(place.iterdir())


# --- options --------------------------------------------------------------------------------------


def test_the_most_splats_are_never_fewer_than_the_first():
    parsed = argparse.Namespace(splat_preset="default")

    def numbers(**given: int) -> tuple[int, int]:
        settings = settings_of(parsed, given)
        return settings.splats, settings.max_splats

    assert numbers() == (15000, 40000)
    assert numbers(max_splats=500) == (500, 500)
    assert numbers(splats=50000) == (50000, 50000)
    assert numbers(splats=300, max_splats=500) == (300, 500)
    with pytest.raises(InputError, match="--splats 900 is more than --max-splats 500"):
        numbers(splats=900, max_splats=500)


def test_a_report_may_be_left_out(data):
    assert api.train(load_any(data), FEW, report=None).count > 0


# --- pictures and files that are there already ----------------------------------------------------


def drawing(file: Path, cameras: Path, out: Path, background: str = "white") -> None:
    job = {"file": file, "transforms": cameras, "out": out, "background": background}
    tools.render_file(job, told()[1])


def test_a_picture_of_another_model_is_not_taken_for_this_one(data, tmp_path):
    cameras, out = data / "transforms_test.json", tmp_path / "drawn"
    one, two = tmp_path / "one.ply", tmp_path / "two.ply"
    for seed, file in enumerate((one, two)):
        write_splats(file, random_splats(seed, 30))
    drawing(one, cameras, out)
    (picture,) = out.rglob("*.png")
    before, time = picture.read_bytes(), picture.stat().st_mtime_ns
    drawing(one, cameras, out)
    assert picture.stat().st_mtime_ns == time  # kept
    drawing(one, data / "transforms_train.json", out)  # more views beside it
    for file, background in ((two, "white"), (one, "black")):
        with pytest.raises(InputError, match="is no picture of this model, view and background"):
            drawing(file, cameras, out, background)
    edit(cameras, fl_x=33.0)
    with pytest.raises(InputError, match="is no picture of this model"):
        drawing(one, cameras, out)
    assert picture.read_bytes() == before


def test_a_data_sets_own_pictures_are_no_drawn_ones(data, tmp_path):
    write_splats(tmp_path / "a.ply", random_splats(0, 30))
    with pytest.raises(InputError, match="is there already"):
        drawing(tmp_path / "a.ply", data / "transforms_test.json", data)


def test_two_views_of_one_name_are_refused(data, tmp_path):
    path = data / "transforms_test.json"
    frames = json.loads(path.read_text())["frames"]
    other = json.loads((data / "transforms_train.json").read_text())["frames"][0]
    name = frames[0]["file_path"].removesuffix(".png")
    edit(path, frames=[*frames, {**other, "file_path": f"{name}.jpg"}])
    write_splats(tmp_path / "a.ply", random_splats(0, 30))
    with pytest.raises(InputError, match="Two frames would be drawn as"):
        drawing(tmp_path / "a.ply", path, tmp_path / "out")


@pytest.mark.filterwarnings("error")
def test_facts_of_no_splats_and_of_endless_ones(tmp_path):
    some = random_splats(0, 6)
    write_splats(tmp_path / "none.ply", some.selected(np.zeros(6, bool)))
    facts = splat_tools.info(tmp_path / "none.ply")
    assert facts.count == 0 and "splats      0" in splat_tools.info_text(facts)
    write_splats(tmp_path / "big.ply", dataclasses.replace(some, scales=some.scales + 1e4))
    facts = splat_tools.info(tmp_path / "big.ply")
    assert facts.count == 6 and facts.inf == 0 and sum(facts.size.counts) == 0


def test_prune_and_convert_write_files_of_their_kind(tmp_path):
    file = tmp_path / "a.ply"
    write_splats(file, random_splats(0, 30))
    (tmp_path / "folder.ply").mkdir()
    for name in ("folder.ply", "b.spz"):
        with pytest.raises(InputError, match=r"is no .ply file"):
            tools.prune_file({"file": file, "faintest": 0.1, "out": tmp_path / name}, told()[1])
    with pytest.raises(InputError, match="is a folder"):
        splat_tools.convert(file, tmp_path / "folder.ply")
    for value in ("nan", "2", "-1", "x"):
        done = gsd("prune", file, "--out", tmp_path / "c.ply", f"--faintest={value}")
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr


def test_large_limits_are_written_out():
    parsed = argparse.Namespace(splat_preset="default")
    with pytest.raises(InputError, match="between 1 and 1000000, not 10000000"):
        settings_of(parsed, {"train_steps": 10_000_000})
