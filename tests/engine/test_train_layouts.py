"""Data sets for installed trainers, read back by independent readers."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gs_diffusion_addon.core.colmap import quaternion
from gs_diffusion_addon.core.dataset import read_transforms
from gs_diffusion_addon.core.ply import read_points
from gs_diffusion_addon.engine.train import layouts
from gs_diffusion_addon.engine.train.command_line import BRUSH, OPENSPLAT

from .trainer_helpers import Posed, guide_of, make_run, read_colmap_text, with_cameras

POINTS = np.array([[0.3, -0.2, 0.5], [-0.6, 0.1, -0.4], [0.05, 0.7, 0.2]])
BLACK = (0.0, 0.0, 0.0)


def stretched(camera):
    return dataclasses.replace(camera, fl_y=camera.fl_y * 1.1)


def shifted(camera):
    return dataclasses.replace(camera, cx=camera.cx + 5.0, cy=camera.cy - 3.5)


def read_blender_scene(folder: Path, name: str) -> list[Posed]:
    """NeRF's synthetic format as its readers take it: one angle, the picture's size, a centered
    principal point, OpenGL camera-to-world matrices.
    """
    data = json.loads((folder / name).read_text())
    out = []
    for frame in data["frames"]:
        w, h = Image.open(folder / (frame["file_path"] + ".png")).size
        focal = 0.5 * w / math.tan(0.5 * data["camera_angle_x"])
        c2w = np.array(frame["transform_matrix"])
        r = np.diag([1, -1, -1]) @ c2w[:3, :3].T
        k = np.array([[focal, 0, w / 2], [0, focal, h / 2], [0, 0, 1]])
        out.append(Posed(frame["file_path"], w, h, k, r, -r @ c2w[:3, 3]))
    return out


def read_nerfstudio_scene(folder: Path, name: str) -> list[Posed]:
    """nerfstudio's transforms.json: intrinsics of each frame, OpenGL camera-to-world matrices."""
    out = []
    for f in json.loads((folder / name).read_text())["frames"]:
        assert Image.open(folder / f["file_path"]).size == (f["w"], f["h"])
        c2w = np.array(f["transform_matrix"])
        r = np.diag([1, -1, -1]) @ c2w[:3, :3].T
        k = np.array([[f["fl_x"], 0, f["cx"]], [0, f["fl_y"], f["cy"]], [0, 0, 1]])
        out.append(Posed(f["file_path"], f["w"], f["h"], k, r, -r @ c2w[:3, 3]))
    return out


def check(posed, frames, exact=0.01):
    """Three known points must land where Blender's camera puts them."""
    assert len(posed) == len(frames) > 0
    for p, f in zip(posed, frames, strict=True):
        expected, _ = f.frame.camera.project(POINTS)
        got = p.pixels(POINTS) - (f.left, f.top)
        assert np.abs(got - expected).max() < exact, p.name
        assert (p.width, p.height) == (f.camera.width, f.camera.height)


@pytest.mark.parametrize("change", [None, shifted])
def test_transforms_layout(tmp_path, change):
    run = make_run(tmp_path)
    if change:
        with_cameras(run, change)
    sets = layouts.sets_of(run, centered=True)
    layouts.write_transforms_scene(run, tmp_path / "d", sets.train, sets.test, BLACK)
    check(read_blender_scene(tmp_path / "d", "transforms_train.json"), sets.train)
    check(read_blender_scene(tmp_path / "d", "transforms_test.json"), sets.test)
    assert len(read_points(tmp_path / "d" / "points3d.ply").positions) == 400
    for path in (tmp_path / "d" / "train").iterdir():
        assert Image.open(path).mode == "RGB"
    original = np.asarray(Image.open(sets.train[0].source)).astype(float)
    flat = original[..., :3] * original[..., 3:] / 255
    padded = np.asarray(Image.open(tmp_path / "d" / "train" / "r_0.png"))
    assert np.abs(sets.train[0].cropped(padded) - flat).max() <= 1
    assert padded.sum() == sets.train[0].cropped(padded).sum()  # what was added is black


@pytest.mark.parametrize("change", [None, shifted, stretched])
def test_colmap_layout_with_principal_point_and_non_square_pixels(tmp_path, change):
    run = make_run(tmp_path)
    if change:
        with_cameras(run, change)
    for centered in (False, True):
        sets = layouts.sets_of(run, centered)
        order = layouts.hold_out_order(sets.train, sets.test)
        folder = tmp_path / f"d{centered}"
        layouts.write_colmap_scene(run, folder, order, (1.0, 1.0, 1.0))
        posed = read_colmap_text(folder / "sparse" / "0")
        check(posed, order)
        for p in posed:
            picture = Image.open(folder / "images" / p.name)
            assert picture.size == (p.width, p.height) and picture.mode == "RGB"
        assert (folder / "sparse" / "0" / "points3D.ply").is_file()
        names = [p.name for p in posed]
        assert names == sorted(names)
        held = {f.frame.frame for f in sets.test}
        assert all((f.frame.frame in held) == (k % 8 == 0) for k, f in enumerate(order))
        assert {f.frame.frame for f in sets.train} == {f.frame.frame for f in order} - held


def test_frames_of_mixed_sizes_get_a_camera_each(tmp_path):
    run = make_run(tmp_path)
    path = run.gs / "transforms_train.json"
    data = json.loads(path.read_text())
    for k, frame in enumerate(data["frames"]):
        if k % 2:
            picture = Image.open(run.gs / (frame["file_path"] + ".png"))
            picture.resize((96, 80)).save(run.gs / (frame["file_path"] + ".png"))
            frame.update(w=96, h=80, fl_x=data["fl_x"] * 2, fl_y=data["fl_y"] * 2, cx=48, cy=40)
    path.write_text(json.dumps(data))
    sets = layouts.sets_of(run, centered=True)
    assert not layouts.is_square(sets.all)
    layouts.write_colmap_scene(run, tmp_path / "d", sets.train, BLACK)
    posed = read_colmap_text(tmp_path / "d" / "sparse" / "0")
    check(posed, sets.train)
    assert {(p.width, p.height) for p in posed} == {(48, 40), (96, 80)}


@pytest.mark.parametrize(
    ("program", "name"), [(BRUSH, "transforms_train.json"), (OPENSPLAT, "transforms.json")]
)
def test_brush_and_opensplat_layouts(tmp_path, program, name):
    run = with_cameras(make_run(tmp_path), lambda c: shifted(stretched(c)))
    program.write(run, tmp_path / "d")
    check(read_nerfstudio_scene(tmp_path / "d", name), layouts.sets_of(run, False).train)
    data = json.loads((tmp_path / "d" / name).read_text())
    assert (tmp_path / "d" / data["ply_file_path"]).is_file()
    mode = Image.open(tmp_path / "d" / data["frames"][0]["file_path"]).mode
    # Brush learns from alpha and refuses "PINHOLE"; OpenSplat drops alpha and wants a model's name
    if program is BRUSH:
        assert mode == "RGBA" and "camera_model" not in data
    else:
        assert mode == "RGB" and data["camera_model"] == "PINHOLE"


def test_depth_maps_are_the_renders_own(tmp_path):
    run = make_run(tmp_path)
    sets = layouts.sets_of(run, centered=True)
    assert layouts.depths_fit(run, sets.train)
    f = sets.train[0]
    depth = guide_of(f.frame.camera)["Depth.Z"]
    shown = depth < 1e9
    layouts.write_transforms_scene(run, tmp_path / "t", sets.train, sets.test, BLACK, depths=True)
    values = np.asarray(Image.open(tmp_path / "t" / "depths" / f"r_{f.frame.frame}.png"))
    assert values.dtype == np.uint16 and (values[~shown] == 0).all()
    np.testing.assert_array_equal(values[shown], np.rint(512 / depth[shown].astype(np.float64)))
    layouts.write_colmap_scene(run, tmp_path / "c", sets.train, BLACK, depths=True)
    params = json.loads((tmp_path / "c" / "sparse" / "0" / "depth_params.json").read_text())
    values = np.asarray(Image.open(tmp_path / "c" / "depths" / "00000.png")).astype(np.float64)
    inverse = values / 65536 * params["00000"]["scale"] + params["00000"]["offset"]
    np.testing.assert_allclose(1 / inverse[shown], depth[shown], rtol=1e-4)
    assert (inverse[~shown] == 0).all()


def test_a_millimeter_model_needs_colmaps_depth_maps(tmp_path):
    run = make_run(tmp_path)
    sets = layouts.sets_of(run, centered=True)
    big = layouts.inverse_depth
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layouts, "inverse_depth", lambda *a: big(*a) * 1000)
        assert not layouts.depths_fit(run, sets.train)
        patch.setattr(layouts, "inverse_depth", lambda *a: big(*a) / 1000)
        assert not layouts.depths_fit(run, sets.train)


def test_writing_again_keeps_what_is_there(tmp_path):
    run = make_run(tmp_path)
    sets = layouts.sets_of(run, centered=True)
    for _ in range(2):
        layouts.write_transforms_scene(run, tmp_path / "d", sets.train, sets.test, BLACK)
        stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "d" / "train").iterdir()}
    layouts.write_transforms_scene(run, tmp_path / "d", sets.train, sets.test, BLACK)
    assert stamps == {p: p.stat().st_mtime_ns for p in (tmp_path / "d" / "train").iterdir()}


def test_quaternions_of_half_turns(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(200):
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        angle = rng.choice([0.0, np.pi, rng.uniform(-np.pi, np.pi)])
        cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
        r = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
        w, x, y, z = quaternion(r)
        u = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        np.testing.assert_allclose(np.eye(3) + 2 * w * u + 2 * u @ u, r, atol=1e-12)


@pytest.mark.parametrize("change", [None])
def test_nerfstudios_own_parser_reads_the_data_set(tmp_path, change):
    blender = pytest.importorskip("nerfstudio.data.dataparsers.blender_dataparser")
    run = make_run(tmp_path)
    sets = layouts.sets_of(run, centered=True)
    layouts.write_transforms_scene(run, tmp_path / "d", sets.train, sets.test, BLACK)
    config = blender.BlenderDataParserConfig(data=tmp_path / "d", scale_factor=1.0)
    out = config.setup().get_dataparser_outputs("train")
    frames = read_transforms(run.gs / "transforms_train.json")
    assert len(out.image_filenames) == len(frames)
    for k, frame in enumerate(frames):
        pose = out.cameras.camera_to_worlds[k].numpy().astype(np.float64)
        r = np.diag([1, -1, -1]) @ pose[:, :3].T
        p = POINTS @ r.T - r @ pose[:, 3]
        focal = float(out.cameras.fx[k])
        got = p[:, :2] / p[:, 2:] * focal + (float(out.cameras.cx[k]), float(out.cameras.cy[k]))
        assert np.abs(got - frame.camera.project(POINTS)[0]).max() < 0.01
