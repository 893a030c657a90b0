"""COLMAP's format both ways, against pycolmap where it is installed and its documentation."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gs_diffusion_addon.core import colmap
from gs_diffusion_addon.core.cameras import Camera, look_at
from gs_diffusion_addon.core.dataset import Frame, read_transforms, write_transforms
from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.ply import Splats, read_splats, write_splats
from gs_diffusion_addon.engine.images import read_rgba, resized, write_png
from gs_diffusion_addon.engine.splat.colmap_folder import picture_names, write_folder
from gs_diffusion_addon.engine.splat.dataset import load_any
from gs_diffusion_addon.engine.splat.drawing import render
from gs_diffusion_addon.engine.splat.sources import frames_of

from .splat_helpers import random_splats, surface_points, write_dataset
from .trainer_helpers import read_colmap_text

ROOT = Path(__file__).resolve().parents[2]
SPOTS = np.array([[0.3, -0.2, 0.5], [-0.6, 0.1, -0.4], [0.05, 0.7, 0.2]])


def gsd(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "gs_diffusion_addon" / "worker.py", "splat", *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def quiet(event: str, **fields: object) -> None:
    """An emitter nobody listens to."""


@pytest.fixture
def data(tmp_path) -> Path:
    """A sphere seen by twelve cameras, as transforms files with points."""
    write_dataset(tmp_path / "data")
    return tmp_path / "data"


def shifted(folder: Path) -> list[Frame]:
    """The same pictures with cameras that are neither square nor centered."""
    frames = []
    for path in sorted(folder.glob("transforms_*.json")):
        frames = [
            replace(f, camera=replace(f.camera, fl_y=70.5, cx=20.25, cy=23.5))
            for f in read_transforms(path)
        ]
        write_transforms(path, frames)
    return frames_of(folder)


def converted(data: Path, out: Path, **more: object) -> Path:
    """A COLMAP folder out of a data set."""
    job = {"file": data / "points3d.ply", "transforms": data, "out": out, "text": False,
           "background": "transparent", **more}  # fmt: skip
    write_folder(job, quiet)
    return out


def center_of(splats: Splats, camera: Camera) -> np.ndarray:
    """The pixel on which a picture of one small splat has its weight."""
    alpha = render(splats, camera)[..., 3].astype(float)
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    return np.array([(alpha * x).sum(), (alpha * y).sum()]) / alpha.sum()


def dot(place: np.ndarray) -> Splats:
    """One opaque splat, two hundredths wide."""
    one = np.ones((1, 1), np.float32)
    return Splats(
        place[None].astype(np.float32), 2 * one[None].repeat(3, 2), 9 * one[0],
        np.log(0.02) * one.repeat(3, 1).astype(np.float32), np.eye(1, 4, dtype=np.float32),
    )  # fmt: skip


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [False, True])
def test_points_land_where_our_renderer_puts_them_by_pycolmap(data, tmp_path, text):
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    frames = shifted(data)
    out = converted(data, tmp_path / "out", text=text)
    model = pycolmap.Reconstruction(out / "sparse" / "0")
    assert len(model.images) == len(frames) == 12 and len(model.cameras) == 1
    images = {image.name: image for image in model.images.values()}
    for frame in frames:
        image = images[f"{Path(frame.file_path).name}.png"]
        for spot in SPOTS:
            pixel = np.asarray(image.project_point(spot))
            assert np.abs(pixel - frame.camera.project(spot)[0]).max() < 1e-6
            assert np.abs(pixel - center_of(dot(spot), frame.camera)).max() < 0.02
        assert np.array_equal(
            read_rgba(out / "images" / image.name), read_rgba(data / f"{frame.file_path}.png")
        )
    cloud = surface_points(700, seed=6)
    places = np.array([model.points3D[k + 1].xyz for k in range(700)])
    colors = np.array([model.points3D[k + 1].color for k in range(700)])
    assert np.allclose(places, cloud.positions, atol=1e-6)
    assert np.array_equal(colors, cloud.colors // 2 + 64)


def test_points_land_where_our_renderer_puts_them_by_the_documentation(data, tmp_path):
    frames = {f"{Path(f.file_path).name}.png": f for f in shifted(data)}
    out = converted(data, tmp_path / "out", text=True)
    posed = read_colmap_text(out / "sparse" / "0")
    assert {p.name for p in posed} == set(frames)
    for p in posed:
        camera = frames[p.name].camera
        assert (p.width, p.height) == (camera.width, camera.height)
        centers = [center_of(dot(spot), camera) for spot in SPOTS]
        assert np.abs(p.pixels(SPOTS) - centers).max() < 0.02
    rows = (out / "sparse" / "0" / "points3D.txt").read_text().splitlines()
    assert len(rows) == 700 and rows[0].startswith("1 ")


@pytest.mark.parametrize("text", [False, True])
def test_what_was_written_is_read(data, tmp_path, text):
    frames = {f"images/{Path(f.file_path).name}.png": f for f in shifted(data)}
    out = converted(data, tmp_path / "out", text=text)
    back = frames_of(out)
    assert [f.file_path for f in back] == sorted(frames)
    for f in back:
        expected = frames[f.file_path].camera
        assert np.allclose(f.camera.matrix, expected.matrix, atol=1e-9)
        assert (f.camera.fl_y, f.camera.cx, f.camera.cy) == (70.5, 20.25, 23.5)
    points = colmap.read_points3d(colmap.points_of(out / "sparse" / "0"))
    assert np.array_equal(points.positions, surface_points(700, seed=6).positions)


def test_a_splat_gives_its_centers_without_its_haze(data, tmp_path):
    splats = random_splats(3, 50, degree=1)
    splats.opacities[:20] = -5
    splats.means[20, 0] = np.nan
    write_splats(tmp_path / "s.ply", splats)
    out = converted(data, tmp_path / "out", file=tmp_path / "s.ply")
    points = colmap.read_points3d(out / "sparse" / "0" / "points3D.bin")
    kept = splats.finite & (splats.opacities > np.log(0.1 / 0.9))
    assert np.array_equal(points.positions, splats.means[kept])
    colors = 0.5 + 0.28209479 * splats.sh[kept, 0]
    assert np.abs(points.colors / 255 - np.clip(colors, 0, 1)).max() < 0.003


def test_pictures_on_a_background_and_in_one_folder(data, tmp_path):
    write_png(tmp_path / ".gsd-tmp-out" / "images" / "x.png", np.zeros((9, 9, 4), np.uint8))
    out = converted(data, tmp_path / "out", background="white")
    name, *others = sorted(p.name for p in (out / "images").iterdir())
    assert "x.png" not in others and len(others) == 11  # what a killed call left is gone
    rgba = read_rgba(data / "train" / name).astype(float)
    flat = rgba[..., :3] * rgba[..., 3:] / 255 + 255 - rgba[..., 3:]
    assert np.abs(read_rgba(out / "images" / name)[..., :3] - flat).max() <= 0.51
    assert (read_rgba(out / "images" / name)[..., 3] == 255).all()
    camera = frames_of(data)[0].camera

    def names(*paths: str) -> list[str]:
        return picture_names([Frame(p, camera) for p in paths])

    assert names("./train/a b", "./test/c.jpg") == ["a_b.png", "c.jpg"]
    assert names("./train/a", "./test/a") == ["train_a.png", "test_a.png"]
    numbered = ["00000_a_b.png", "00001_b.png", "00002_b.png"]
    assert names("x/a_b", "x_a/b", "y/b") == numbered


def test_the_command_keeps_what_is_there(data, tmp_path):
    out = tmp_path / "a folder"
    done = gsd("convert", data / "points3d.ply", "--transforms", data, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "12 cameras and 700 points" in done.stdout and "--background black" in done.stderr
    assert sorted(p.name for p in out.iterdir()) == ["images", "sparse"]
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".gsd")] == []
    with pytest.raises(InputError, match="is not empty"):
        converted(data, out)
    alone = gsd("convert", data / "points3d.ply", "--to", "colmap", "--out", tmp_path / "x")
    assert alone.returncode == 2 and "needs cameras" in alone.stderr


# --- reading --------------------------------------------------------------------------------------


def test_a_colmap_folder_trains_from_its_points(data, tmp_path):
    out = converted(data, tmp_path / "out")
    small = ("--train-steps", "240", "--splats", "500", "--max-splats", "700", "--threads", "1")
    done = gsd("train", "--data", out, "--out", tmp_path / "model", *small)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert metrics["test_pictures"] == 2 and metrics["train_pictures"] == 10
    assert metrics["psnr_test"] > 22 and metrics["training"]["points"]
    splats = read_splats(tmp_path / "model" / "splat.ply")
    distances = np.linalg.norm(splats.means, axis=1)  # of a unit sphere's surface
    assert abs(np.median(distances) - 1) < 0.05
    drawn = gsd("render", tmp_path / "model" / "splat.ply", "--transforms", out, "--out",
                tmp_path / "r")  # fmt: skip
    assert drawn.returncode == 0, drawn.stderr
    assert len(list((tmp_path / "r" / "images").iterdir())) == 12


def test_pycolmaps_files_are_read(data, tmp_path):
    """With tracks and two-dimensional points, which ours lack, and a camera of three numbers."""
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    options = pycolmap.SyntheticDatasetOptions()
    options.num_points3D, options.camera_model_id = 60, pycolmap.CameraModelId.SIMPLE_PINHOLE
    options.camera_params = [1280.0, 512.0, 384.0]
    model = pycolmap.synthesize_dataset(options)
    for ending, write in ((".bin", model.write_binary), (".txt", model.write_text)):
        folder = tmp_path / ending / "sparse" / "0"
        folder.mkdir(parents=True)
        write(folder)
        frames = colmap.read_frames(folder)
        images = {image.name: image for image in model.images.values()}
        assert [f.file_path for f in frames] == sorted(images)
        points = colmap.read_points3d(colmap.points_of(folder))
        assert points.positions.shape == (60, 3)
        expected = {tuple(np.float32(p.xyz)) for p in model.points3D.values()}
        assert {tuple(p) for p in points.positions} == expected
        for f in frames:
            for point in list(model.points3D.values())[:5]:
                pixel = images[f.file_path].project_point(point.xyz)
                assert np.abs(f.camera.project(point.xyz)[0] - pixel).max() < 1e-6


def test_shrunk_pictures_take_their_cameras_along(data, tmp_path):
    out = converted(data, tmp_path / "out")
    for path in (out / "images").iterdir():
        write_png(out / "images_2" / path.name, resized(read_rgba(path), 24, 20))
    whole, half = load_any(out), load_any(out, "images_2")
    assert half.train[0].rgba.shape == (20, 24, 4)
    pixel, _ = whole.train[0].camera.project(SPOTS)
    assert np.allclose(half.train[0].camera.project(SPOTS)[0], pixel / 2)
    write_png(out / "images" / "r_0.png", np.zeros((48, 40, 4), np.uint8))
    with pytest.raises(InputError, match="--images"):
        load_any(out)


def test_transforms_beside_a_model_win(data, tmp_path):
    out = converted(data, tmp_path / "out")
    (out / "sparse").rename(data / "sparse")
    assert next(f.file_path for f in frames_of(data)).startswith("./train")
    assert colmap.model_in(data) == data / "sparse" / "0"


# --- what is wrong --------------------------------------------------------------------------------

CAMERA = "1 PINHOLE 48 40 50 50 24 20\n"
IMAGE = "1 1 0 0 0 0 0 4 1 a.png\n\n"


@pytest.mark.parametrize(
    ("cameras", "images", "sentence"),
    [
        ("1 SIMPLE_RADIAL 48 40 50 24 20 0.1\n", IMAGE, "image_undistorter"),
        ("1 PINHOLE 48 40 50 24 20\n", IMAGE, "has 3 parameters"),
        ("1 PINHOLE 0 40 50 50 24 20\n", IMAGE, "that no camera has"),
        ("1 PINHOLE 48 40 nan 50 24 20\n", IMAGE, "that no camera has"),
        ("1 PINHOLE 48 40 1e9 50 24 20\n", IMAGE, "focal length that no camera has"),
        ("1 PINHOLE 99999 40 50 50 24 20\n", IMAGE, "pixels large"),
        ("1 PINHOLE many 40 50 50 24 20\n", IMAGE, "has the line"),
        (CAMERA, "1 0 0 0 0 0 0 4 1 a.png\n\n", "no camera's"),
        (CAMERA, "1 1 0 0 0 0 0 4 2 a.png\n\n", "camera 2, which is missing"),
        (CAMERA, "1 1 0 0 0 0 0 4 1 ../a.png\n\n", "leads out"),
        (CAMERA, "1 1 0 0 0 0 0 4\n\n", "has the line"),
        (CAMERA, IMAGE.replace("\n\n", "\n") * 2, "has the line '1 1 0"),
        (CAMERA, "# nothing\n", "holds no images"),
    ],
)
def test_damaged_models_end_in_a_sentence(tmp_path, cameras, images, sentence):
    (tmp_path / "cameras.txt").write_text(cameras)
    (tmp_path / "images.txt").write_text(images)
    with pytest.raises(InputError, match=sentence):
        colmap.read_frames(tmp_path)


def test_models_that_are_not_whole_end_in_a_sentence(data, tmp_path):
    out = converted(data, tmp_path / "out") / "sparse" / "0"
    whole = (out / "images.bin").read_bytes()
    for cut, sentence in ((len(whole) - 5, "entry's middle"), (75, "has no end")):
        (out / "images.bin").write_bytes(whole[:cut])
        with pytest.raises(InputError, match=sentence):
            colmap.read_frames(out)
    (out / "cameras.bin").unlink()
    with pytest.raises(InputError, match=r"no cameras\.bin"):
        colmap.read_frames(out)
    (out / "points3D.txt").write_text("1 0 0 0 255 255\n")
    with pytest.raises(InputError, match="has the line"):
        colmap.read_points3d(out / "points3D.txt")
    with pytest.raises(InputError, match="no data set"):
        frames_of(tmp_path)


def test_what_cannot_be_converted_ends_in_a_sentence(data, tmp_path):
    out = tmp_path / "out"
    write_splats(tmp_path / "haze.ply", replace(random_splats(0, 3), opacities=np.full(3, -9.0)))
    with pytest.raises(InputError, match="no points that could be written"):
        converted(data, out, file=tmp_path / "haze.ply")
    write_transforms(tmp_path / "transforms.json", [])
    with pytest.raises(InputError, match="lists no frames"):
        converted(tmp_path / "transforms.json", out, file=data / "points3d.ply")
    (frame, *_) = frames_of(data)
    write_png(data / f"{frame.file_path}.png", np.zeros((9, 9, 4), np.uint8))
    with pytest.raises(InputError, match="9x9 pixels"):
        converted(data, out)
    assert not list(tmp_path.glob("*out*"))
    (tmp_path / "points3D.bin").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        colmap.read_points3d(tmp_path / "points3D.bin")


def test_a_pose_of_any_quaternion_length(tmp_path):
    pose = look_at((1, 2, 3), (0, 0, 0))
    camera = Camera(48, 40, 50, 50, 24, 20, pose)
    colmap.write_cameras(tmp_path, [("a.png", camera)], text=True)
    words = (tmp_path / "images.txt").read_text().split()
    words[1:5] = [repr(-3 * float(w)) for w in words[1:5]]
    (tmp_path / "images.txt").write_text(" ".join(words) + "\n\n")
    (frame,) = colmap.read_frames(tmp_path)
    assert np.allclose(frame.camera.matrix, pose)
