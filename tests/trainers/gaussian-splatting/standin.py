"""What the stand-ins for graphdeco's train.py and render.py share.

Written anew from the measured contract (docs/trainers.md): the arguments, the two data set readers
with their faults, the printed lines, the files. It does not train: the points of the data set
become round splats. Faults are asked for with STANDIN_FAULT.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import PIL
from PIL import Image
from plyfile import PlyData, PlyElement

FAULT = os.environ.get("STANDIN_FAULT", "")
OLD = FAULT == "old_checkout"
C0 = 0.28209479177387814

View = namedtuple("View", "name R T fovx fovy width height image")


def model_options(parser, sentinel=False):
    """The "Loading Parameters"; ``sentinel``: None unless given, as render.py wants them."""
    options = {"sh_degree": 3, "_source_path": "", "_model_path": "", "_images": "images"}
    if not OLD:
        options["_depths"] = ""
    options |= {"_resolution": -1, "_white_background": False}
    if not OLD:
        options["train_test_exp"] = False
    options |= {"data_device": "cuda", "eval": False}
    _add(parser, options, sentinel)
    return [name.lstrip("_") for name in options]


def _add(parser, options, sentinel=False):
    for name, value in options.items():
        flags = ["--" + name.lstrip("_")]
        if name.startswith("_"):
            flags.append("-" + name[1])
        more = {"action": "store_true"} if value is False else {"type": type(value)}
        parser.add_argument(*flags, default=None if sentinel else value, **more)


def pipeline_options(parser):
    """The "Pipeline Parameters"."""
    names = ["convert_SHs_python", "compute_cov3D_python", "debug"]
    _add(parser, dict.fromkeys(names + ([] if OLD else ["antialiasing"]), False))


def optimization_options(parser):
    """The "Optimization Parameters"."""
    options = {
        "iterations": 30_000,
        "position_lr_init": 0.00016,
        "position_lr_final": 0.0000016,
        "position_lr_delay_mult": 0.01,
        "position_lr_max_steps": 30_000,
        "feature_lr": 0.0025,
        "opacity_lr": 0.05,
        "scaling_lr": 0.005,
        "rotation_lr": 0.001,
        "percent_dense": 0.01,
        "lambda_dssim": 0.2,
        "densification_interval": 100,
        "opacity_reset_interval": 3000,
        "densify_from_iter": 500,
        "densify_until_iter": 15_000,
        "densify_grad_threshold": 0.0002,
    }
    if not OLD:
        options |= {
            "exposure_lr_init": 0.01,
            "exposure_lr_final": 0.001,
            "exposure_lr_delay_steps": 0,
            "exposure_lr_delay_mult": 0.0,
            "depth_l1_weight_init": 1.0,
            "depth_l1_weight_final": 0.01,
            "optimizer_type": "default",
        }
    _add(parser, {**options, "random_background": False})


def say(text=""):
    """print() with the time that its safe_state() hangs on each line."""
    stamp = time.strftime(" [%d/%m %H:%M:%S]")
    sys.stdout.write(text + (stamp if text.strip() else "") + "\n")
    sys.stdout.flush()


def bar(title, done, total, start, extra=""):
    """One state of a tqdm bar on standard error."""
    share = done / total
    passed = time.monotonic() - start
    rate = f"{done / passed:5.2f}it/s" if done and passed > 0 else "?it/s"
    left = clock(passed / done * (total - done)) if done else "?"
    blocks = "█" * int(10 * share) + " " * (10 - int(10 * share))
    line = f"{title}: {share:4.0%}|{blocks}| {done}/{total} [{clock(passed)}<{left}, {rate}{extra}]"
    sys.stderr.write("\r" + line)
    sys.stderr.flush()


def clock(seconds):
    """mm:ss or h:mm:ss."""
    m, s = divmod(int(seconds), 60)
    h, m = divmod(m, 60)
    return f"{h}:{m:02d}:{s:02d}" if h else f"{m:02d}:{s:02d}"


# --- the two readers ----------------------------------------------------------------------------


def read_scene(source, images, white, evaluate, depths=""):
    """(training views, test views, path of the points) as the real Scene chooses its reader."""
    if os.path.exists(os.path.join(source, "sparse")):
        return _colmap(source, images, evaluate, depths)
    if os.path.exists(os.path.join(source, "transforms_train.json")):
        say("Found transforms_train.json file, assuming Blender data set!")
        say("Reading Training Transforms")
        train = _transforms(source, "transforms_train.json", white, depths)
        say("Reading Test Transforms")
        test = _transforms(source, "transforms_test.json", white, depths)
        if not evaluate:
            train, test = train + test, []
        ply = os.path.join(source, "points3d.ply")
        if not os.path.exists(ply):
            say("Generating random point cloud (100000)...")
            raise SystemExit("the stand-in refuses random points: the data set lacks points3d.ply")
        return train, test, ply
    raise AssertionError("Could not recognize scene type!")


def _transforms(source, name, white, depths):
    with open(os.path.join(source, name)) as file:
        contents = json.load(file)
    fovx = contents["camera_angle_x"] if contents["frames"] else 0.0
    views = []
    for frame in contents["frames"]:
        path = os.path.join(source, frame["file_path"] + ".png")
        matrix = np.array(frame["transform_matrix"])
        matrix[:3, 1:3] *= -1
        w2c = np.linalg.inv(matrix)
        rgba = np.array(Image.open(path).convert("RGBA"))
        if (rgba[..., 3] < 255).any():
            raise SystemExit("the stand-in refuses RGBA frames, which the real reader breaks on")
        if int(PIL.__version__.split(".")[0]) >= 12:
            raise TypeError("Cannot handle this data type: (1, 1, 3), |i1")
        if depths:
            stem = Path(path).stem
            depth = np.array(Image.open(os.path.join(source, depths, stem + ".png")))
            assert depth.dtype in (np.uint16, np.int32) and depth.shape == rgba.shape[:2]
        h, w = rgba.shape[:2]
        fovy = 2 * math.atan(h / (2 * (w / (2 * math.tan(fovx / 2)))))
        image = rgba[..., :3].astype(np.float32) / 255
        views.append(View(Path(path).stem, w2c[:3, :3], w2c[:3, 3], fovx, fovy, w, h, image))
    return views


def _colmap(source, images, evaluate, depths):
    sparse = os.path.join(source, "sparse", "0")
    cameras, views = {}, []
    for line in Path(sparse, "cameras.txt").read_text().split("\n"):
        if line.strip() and line[0] != "#":
            parts = line.split()
            assert parts[1] == "PINHOLE", "only undistorted datasets are supported!"
            cameras[int(parts[0])] = [int(x) for x in parts[2:4]] + [float(x) for x in parts[4:]]
    params = {}
    if depths:
        with open(os.path.join(sparse, "depth_params.json")) as file:
            params = json.load(file)
    with open(os.path.join(sparse, "images.txt")) as file:
        lines = file.read().split("\n")
    at = 0
    while at < len(lines):
        line = lines[at].strip()
        at += 1
        if not line or line[0] == "#":
            continue
        parts = line.split()
        at += 1  # the line of 2-D points
        sys.stdout.write(f"\rReading camera {len(views) + 1}/{len(lines) // 2}")
        w, h, fx, fy, _, _ = cameras[int(parts[8])]  # the principal point is not used
        q = [float(x) for x in parts[1:5]]
        t = np.array([float(x) for x in parts[5:8]])
        picture = Image.open(os.path.join(source, images, os.path.basename(parts[9])))
        assert picture.size == (w, h) and picture.mode == "RGB"
        stem = parts[9].split(".")[0]
        if depths:
            assert params[stem]["scale"] > 0
            assert Image.open(os.path.join(source, depths, stem + ".png")).size == (w, h)
        image = np.array(picture).astype(np.float32) / 255
        fovs = 2 * math.atan(w / (2 * fx)), 2 * math.atan(h / (2 * fy))
        views.append(View(stem, rotation(*q), t, *fovs, w, h, image))
    sys.stdout.write("\n")
    views.sort(key=lambda v: v.name)
    ply = os.path.join(sparse, "points3D.ply")
    assert os.path.exists(ply)
    if not evaluate:
        return views, [], ply
    train = [v for k, v in enumerate(views) if k % 8 != 0]
    return train, [v for k, v in enumerate(views) if k % 8 == 0], ply


def rotation(w, x, y, z):
    """Rotation matrix of a unit quaternion, as COLMAP's documentation writes it."""
    return np.array(
        [
            [1 - 2 * y * y - 2 * z * z, 2 * x * y - 2 * z * w, 2 * x * z + 2 * y * w],
            [2 * x * y + 2 * z * w, 1 - 2 * x * x - 2 * z * z, 2 * y * z - 2 * x * w],
            [2 * x * z - 2 * y * w, 2 * y * z + 2 * x * w, 1 - 2 * x * x - 2 * y * y],
        ]
    )


# --- splats -------------------------------------------------------------------------------------


def splats_of(ply, degree):
    """The points as opaque round splats, one row each, in the order of the .ply's properties.

    At most 1,500 of them, so that :func:`render` takes no time.
    """
    v = PlyData.read(ply)["vertex"].data
    v = v[:: max(1, -(-len(v) // 1500))]
    xyz = np.stack([v["x"], v["y"], v["z"]], 1).astype(np.float32)
    rgb = np.stack([v["red"], v["green"], v["blue"]], 1) / 255
    np.stack([v["nx"], v["ny"], v["nz"]], 1)  # the real reader fails without normals
    n = len(xyz)
    spacing = np.linalg.norm(xyz.max(0) - xyz.min(0)) / math.sqrt(n) * 0.45
    rest = np.zeros((n, 3 * ((degree + 1) ** 2 - 1)))
    logit = np.full((n, 1), 2.5)
    scale = np.full((n, 3), math.log(spacing))
    turn = np.tile([1.0, 0, 0, 0], (n, 1))
    return np.hstack([xyz, np.zeros((n, 3)), (rgb - 0.5) / C0, rest, logit, scale, turn])


def save(path, rows):
    """graphdeco's point_cloud.ply."""
    rest = rows.shape[1] - 17
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [f"f_rest_{k}" for k in range(rest)] + ["opacity", "scale_0", "scale_1", "scale_2"]
    names += ["rot_0", "rot_1", "rot_2", "rot_3"]
    table = np.zeros(len(rows), [(n, "f4") for n in names])
    for k, name in enumerate(names):
        table[name] = rows[:, k]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    PlyData([PlyElement.describe(table, "vertex")]).write(path)


def load(path):
    """(means, colors, opacities, standard deviations) of a .ply of round splats."""
    v = PlyData.read(path)["vertex"]
    xyz = np.stack([v["x"], v["y"], v["z"]], 1).astype(np.float64)
    rgb = 0.5 + C0 * np.stack([v["f_dc_0"], v["f_dc_1"], v["f_dc_2"]], 1)
    return xyz, np.clip(rgb, 0, None), 1 / (1 + np.exp(-v["opacity"])), np.exp(v["scale_0"])


def render(view, model, background):
    """(h, w, 3) float: splats of one size drawn front to back, one after the other."""
    means, colors, opacities, sigmas = model
    at = means @ view.R.T + view.T
    order = [k for k in np.argsort(at[:, 2], kind="stable") if at[k, 2] > 0.2]
    fx = view.width / (2 * math.tan(view.fovx / 2))
    fy = view.height / (2 * math.tan(view.fovy / 2))
    image = np.zeros((view.height, view.width, 3))
    light = np.ones((view.height, view.width))
    for k in order:
        x, y, z = at[k]
        px, py = fx * x / z + view.width / 2, fy * y / z + view.height / 2
        j = np.array([[fx / z, 0, -fx * x / z**2], [0, fy / z, -fy * y / z**2]])
        cov = j @ j.T * sigmas[k] ** 2 + 0.3 * np.eye(2)
        reach = 3.4 * np.sqrt(np.diag(cov))
        left, right = max(0, int(px - reach[0])), min(view.width, int(px + reach[0]) + 2)
        top, bottom = max(0, int(py - reach[1])), min(view.height, int(py + reach[1]) + 2)
        if left >= right or top >= bottom:
            continue
        dx = np.arange(left, right)[None, :] + 0.5 - px
        dy = np.arange(top, bottom)[:, None] + 0.5 - py
        (a, b), (_, c) = np.linalg.inv(cov)
        alpha = np.minimum(
            0.99, opacities[k] * np.exp(-0.5 * (a * dx**2 + 2 * b * dx * dy + c * dy**2))
        )
        alpha = np.where(alpha < 1 / 255, 0, alpha)
        here = light[top:bottom, left:right]
        image[top:bottom, left:right] += (here * alpha)[..., None] * colors[k]
        light[top:bottom, left:right] = here * (1 - alpha)
    return image + light[..., None] * np.asarray(background, float)


def psnr(a, b):
    """dB between two float pictures."""
    return -10 * math.log10(max(float(np.mean((a - b) ** 2)), 1e-10))


def extract(arguments, names):
    """The named arguments as a Namespace with an absolute source path."""
    values = {n: getattr(arguments, n) for n in names}
    values["source_path"] = os.path.abspath(values["source_path"])
    return argparse.Namespace(**values)
