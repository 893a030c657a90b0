"""The training data set: split, files, cameras, and the colors of the start points."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil

import numpy as np
import plyfile
import pytest
from PIL import Image

from gs_diffusion_addon.core.dataset import read_transforms, write_transforms
from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.ply import Points, write_points
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.engine import dataset
from tests.engine import synthetic
from tests.engine.test_propagate import Events


@pytest.fixture(scope="module")
def turntable(tmp_path_factory):
    """A run whose restyled frames are the turntable's own."""
    settings = synthetic.with_settings(views=16, rings="40:6")
    run, frames = synthetic.write_run(tmp_path_factory.mktemp("run"), settings, size=(64, 64))
    for frame in frames:
        run.stylized.mkdir(parents=True, exist_ok=True)
        shutil.copy(run.frame(frame.frame), run.stylized_frame(frame.frame))
    return run, settings, frames


@pytest.fixture
def run(turntable, tmp_path):
    """A fresh copy of it, as (run, settings, frames)."""
    source, settings, frames = turntable
    shutil.copytree(source.root, tmp_path / "run")
    return Run(tmp_path / "run", 1), settings, frames


def parts(run):
    return {
        name: read_transforms(run.gs / f"transforms_{name}.json")
        for name in ("train", "val", "test")
    }


def test_every_frame_is_in_one_part_as_the_same_picture(run):
    run, settings, frames = run
    events = Events()
    dataset.run_stage(run, settings, events)
    by_number = {f.frame: f for f in frames}
    seen = []
    for name, members in parts(run).items():
        for member in members:
            assert member.file_path == f"./{name}/r_{member.frame}"
            file = run.gs / f"{member.file_path}.png"
            assert file.read_bytes() == run.stylized_frame(member.frame).read_bytes()
            camera = by_number[member.frame].camera
            np.testing.assert_allclose(member.camera.matrix, camera.matrix, atol=1e-12)
            assert member.camera.fl_x == pytest.approx(camera.fl_x)
            seen.append(member.frame)
    assert sorted(seen) == sorted(by_number)
    assert sorted(events.frames()) == sorted(by_number)
    assert len(parts(run)["test"]) >= 6


def test_resumes_without_doing_a_frame_twice(run):
    run, settings, _ = run
    dataset.run_stage(run, settings, Events())
    lost = parts(run)["train"][1]
    points = (run.gs / "points3d.ply").stat().st_mtime_ns
    (run.gs / f"{lost.file_path}.png").unlink()
    (run.gs / "transforms_test.json").unlink()
    again = Events()
    dataset.run_stage(run, settings, again)
    assert again.frames() == [lost.frame]
    assert (run.gs / "points3d.ply").stat().st_mtime_ns == points
    assert (run.gs / "transforms_test.json").is_file()


def test_frames_are_copied_where_links_are_refused(run, monkeypatch):
    run, settings, _ = run

    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    dataset.run_stage(run, settings, Events())
    first = parts(run)["train"][0]
    copy = run.gs / f"{first.file_path}.png"
    assert copy.read_bytes() == run.stylized_frame(first.frame).read_bytes()
    assert copy.stat().st_nlink == 1


def load_as_nerfstudio_does(folder, part):
    """What nerfstudio's ``blender-data`` parser takes: camera_angle_x, file_path + ".png", the
    matrix, one focal length, the principal point in the middle, RGBA pictures blended on white.
    """
    meta = json.loads((folder / f"transforms_{part}.json").read_text())
    pictures, poses = [], []
    for frame in meta["frames"]:
        path = folder / (frame["file_path"].replace("./", "") + ".png")
        with Image.open(path) as image:
            pictures.append(np.array(image, dtype=np.uint8))
        poses.append(np.array(frame["transform_matrix"], dtype=np.float32))
    height, width = pictures[0].shape[:2]
    focal = 0.5 * width / math.tan(0.5 * float(meta["camera_angle_x"]))
    return np.stack(pictures), np.stack(poses)[:, :3], (focal, width / 2, height / 2)


def test_loads_as_nerf_synthetic_data(run):
    """Read the way nerfstudio does, a surface point must land on its own color in every picture."""
    run, settings, _ = run
    dataset.run_stage(run, settings, Events())
    point = np.array([0.3, -1.3, 0.35 + 0.29])  # on top of the small red ball
    found = 0
    for part in ("train", "val", "test"):
        pictures, poses, (focal, cx, cy) = load_as_nerfstudio_does(run.gs, part)
        assert pictures.shape[1:] == (64, 64, 4)
        assert pictures.dtype == np.uint8
        for picture, pose in zip(pictures, poses, strict=True):
            x, y, z = pose[:, :3].T @ (point - pose[:, 3])
            red, green, _, alpha = picture[int(cy + focal * y / z), int(cx - focal * x / z)]
            if alpha and red > 230 and green < 25:
                found += 1
    # Hidden by the big ball in views from behind.
    assert found >= 12


def surface(run, count=4000):
    positions, normals, which = synthetic.surface_points(count)
    points = Points(
        positions.astype(np.float32),
        normals.astype(np.float32),
        np.zeros((count, 3), np.uint8),
    )
    write_points(run.surface, points)
    return synthetic.texture(positions, which), which


def read_cloud(path):
    vertex = plyfile.PlyData.read(str(path))["vertex"]
    positions = np.stack([vertex[n] for n in "xyz"], -1)
    normals = np.stack([vertex[n] for n in ("nx", "ny", "nz")], -1)
    return positions, normals, np.stack([vertex[n] for n in ("red", "green", "blue")], -1)


def test_surface_points_get_the_frames_colors(run):
    run, settings, _ = run
    truth, which = surface(run)
    dataset.run_stage(run, settings, Events())
    positions, normals, colors = read_cloud(run.gs / "points3d.ply")
    assert len(positions) == 4000
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    error = np.abs(colors / 255 - truth).max(1)
    assert np.median(error) < 0.02
    assert np.quantile(error, 0.95) < 0.08
    # The small ball hides a part of the big one; its red must not have come through.
    reddish = (colors[:, 0] > 200) & (colors[:, 1] < 40)
    assert reddish[which == 0].mean() < 0.01


def test_too_many_points_are_thinned_evenly():
    positions, normals, _ = synthetic.surface_points(1000)
    points = Points(positions, normals, np.zeros((1000, 3), np.uint8))
    few = dataset.thin(points, 100, seed=1)
    assert len(few.positions) == len(few.normals) == len(few.colors) == 100
    assert len(np.unique(few.positions, axis=0)) == 100
    assert np.array_equal(few.positions, dataset.thin(points, 100, seed=1).positions)
    assert dataset.thin(points, 1000, seed=1) is points


def test_without_surface_the_depth_gives_the_points(run, monkeypatch):
    run, settings, _ = run
    monkeypatch.setattr(dataset, "MOST_POINTS", 3000)
    dataset.run_stage(run, settings, Events())
    positions, _, colors = read_cloud(run.gs / "points3d.ply")
    assert 2500 <= len(positions) <= 3100
    balls = np.array(synthetic.BALLS)
    to_ball = np.abs(np.linalg.norm(positions[:, None] - balls[:, :3], axis=-1) - balls[:, 3])
    low, high = np.array(synthetic.SLAB)
    to_slab = np.abs(np.maximum(low - positions, positions - high)).min(1)
    assert np.minimum(to_ball.min(1), to_slab).max() < 2e-3
    red = to_ball.argmin(1)[to_ball.min(1) < 1e-3] == 1
    near = colors[to_ball.min(1) < 1e-3]
    assert np.median(near[red][:, 0]) > 225


def test_points_nobody_sees_take_their_neighbors_color():
    positions = np.array([[0, 0, 0], [1, 0, 0], [0.9, 0, 0], [0.2, 0, 0]], np.float32)
    total = np.array([[20, 40, 60, 2], [100, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]], float)
    colors = dataset._settle(positions, total)
    assert colors.tolist() == [[10, 20, 30], [100, 0, 0], [100, 0, 0], [10, 20, 30]]


def test_shifted_lenses_are_announced(run):
    run, settings, frames = run
    events = Events()
    dataset.run_stage(run, settings, events)
    assert not [e for e, _ in events if e == "warning"]
    shifted = [
        dataclasses.replace(f, camera=dataclasses.replace(f.camera, cx=f.camera.cx + 4))
        for f in frames
    ]
    write_transforms(run.transforms_main, shifted)
    dataset.run_stage(run, settings, events)
    messages = [fields["message"] for e, fields in events if e == "warning"]
    assert len(messages) == 1
    assert "camera_angle_x" in messages[0]


def test_a_missing_frame_is_named(run):
    run, settings, _ = run
    run.stylized_frame(5).unlink()
    with pytest.raises(InputError, match=r"r_5\.png is missing; run the propagate stage"):
        dataset.run_stage(run, settings, Events())
    assert not run.gs.exists()
