"""An original experiment's folder goes through without a Blender scene and without any Blender."""

from __future__ import annotations

import json
import shutil

from .program import events, gsd, png_facts

NO_BLENDER = {"GSD_BLENDER": "/nowhere/blender"}
SMALL = [
    *("--style", "3", "--stylizer", "preview", "--propagator", "reproject", "--trainer", "builtin"),
    *("--train-steps", "80", "--splats", "600", "--max-splats", "900", "--seed", "7"),
]


def upstream_folder(finished, folder):
    """As the experiment left it: a video, frames with alpha, NeRF's transforms without a size."""
    shutil.copytree(finished / "train_main", folder / "train_main")
    shutil.copy(finished / "iter0.mp4", folder)
    data = json.loads((finished / "transforms_train_main.json").read_text())
    frames = [
        {"file_path": f"./train/r_{k}", "rotation": 0.1, "transform_matrix": f["transform_matrix"]}
        for k, f in enumerate(data["frames"][:12])
    ]
    (folder / "transforms_train_main.json").write_text(
        json.dumps({"camera_angle_x": data["camera_angle_x"], "frames": frames})
    )


def test_the_originals_folder_and_options_go_through_without_blender(finished, tmp_path):
    folder, root = tmp_path / "main", tmp_path / "run"
    upstream_folder(finished, folder)
    done = gsd("run", "--main_folder", folder, "--out", root, *SMALL, "--fps", "30",
               "--batch_size", "3", "--sides", "2", "--resolution", "256", "--max_frames", "144",
               "--border_frames", "2", "--output_resolution", "48", env=NO_BLENDER)  # fmt: skip
    assert done.code == 0, done.err
    assert "--batch-size 3 is --keys 4 here." in done.err
    assert done.out.split()[-1].endswith("iter1.mp4") and (root / "splat_iter1.ply").is_file()
    stages = [e["stage"] for e in events(root) if e["event"] == "stage_finished"]
    assert stages == ["turntable", "stylize", "propagate", "dataset", "train", "render", "report"]
    assert len(list((root / "guides").glob("r_*.exr"))) == 12
    metrics = json.loads((root / "iter1" / "metrics.json").read_text())
    assert metrics["psnr_test"] > 12 and metrics["warp_error"]["propagated"]["60deg"]["raw"] >= 0
    assert metrics["silhouette_iou"] > 0.8
    again = gsd("run", "--out", root, env=NO_BLENDER)
    assert again.code == 0 and again.err.count("already done") == 7
    assert "Taking the frames of the main folder" in done.err
    assert "turntable" not in done.err + again.err.replace("Stage turntable is already done", "")
    # What the frames were taken from is not needed any more, for a try as little as for the run.
    shutil.rmtree(folder)
    tried = gsd("try", "--out", root, "--view", "2", "--style", "5", env=NO_BLENDER)
    assert tried.code == 0, tried.err
    assert png_facts(root / "try" / "view_2.png")[:2] == (96, 48)


def test_a_view_of_a_main_folder_is_tried_without_a_run_and_without_blender(finished, tmp_path):
    folder, picture = tmp_path / "main", tmp_path / "try.png"
    upstream_folder(finished, folder)
    done = gsd("try", "--main-folder", folder, "--view", "3", "--out", picture, *SMALL[:8],
               env=NO_BLENDER)  # fmt: skip
    assert done.code == 0, done.err
    assert png_facts(picture)[:2] == (128, 64)
    (tmp_path / "empty").mkdir()
    for options, words in (
        (["--main-folder", tmp_path / "empty"], "holds no cameras"),
        (["--main-folder", folder, "--control", "depth"], "needs the model's geometry"),
        ([], "Name the model"),
    ):
        done = gsd("try", *options, "--out", tmp_path / "no.png", *SMALL[:4], env=NO_BLENDER)
        assert done.code == 2 and len(done.err.splitlines()) == 1 and words in done.err
    assert not (tmp_path / "no.png").exists()


def test_missing_pictures_are_refused_in_a_sentence(finished, tmp_path):
    folder = tmp_path / "main"
    upstream_folder(finished, folder)
    (folder / "iter0.mp4").unlink()
    for k in range(8):
        (folder / "train_main" / f"r_{k}.png").unlink()
    done = gsd("run", "--main-folder", folder, "--out", tmp_path / "run", *SMALL, env=NO_BLENDER)
    assert done.code == 2 and "8 of them are missing" in done.err
    assert not (tmp_path / "run").exists()
