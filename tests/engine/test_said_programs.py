"""Sentences about installed trainers, videos and other people's pictures: each is said when its
reason is there.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from gs_diffusion_addon.core import upstream as folders
from gs_diffusion_addon.core.dataset import write_transforms
from gs_diffusion_addon.core.foreign import Finished
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.engine import upstream, video, videos
from gs_diffusion_addon.engine.images import write_png
from gs_diffusion_addon.engine.train import command_line, external, gsplat, layouts, trainer
from tests.engine import synthetic
from tests.engine.splat_helpers import random_splats
from tests.engine.trainer_helpers import make_run
from tests.said import Table, raiser

TABLE = Table()
says = TABLE.says


def quiet(event: str, **fields: object) -> None:
    """An emitter nobody listens to."""


# --- installed trainers ---------------------------------------------------------------------------


@says("There is no trainer called 'magic'")
def _(tmp_path, monkeypatch):
    trainer("magic")


@says("Use --trainer builtin, which needs no GPU.")
def _(tmp_path, monkeypatch):
    monkeypatch.setattr(gsplat, "problem", lambda: "There is no CUDA.")
    gsplat.train(Run(tmp_path, 1), Settings(), quiet)


@says("which is needed; install a newer Brush")
def _(tmp_path, monkeypatch):
    monkeypatch.setattr(command_line, "help_of", lambda command: "  --nothing")
    command_line._options_of(command_line.BRUSH, "/bin/brush")


@says("has a name this system cannot pass on")
def _(tmp_path, monkeypatch):
    wrong = UnicodeEncodeError("ascii", "ü", 0, 1, "ordinal not in range")
    monkeypatch.setattr(external, "run_foreign", raiser(wrong))
    external.follow(Run(tmp_path, 1), Settings(), ["x"], "Brush", lambda piece: None)


def failed(code: int, *tail: str) -> None:
    """A trainer ended so, with these last lines."""
    raise external.failure(Finished(code, tail), "graphdeco", 3, Path("log"), 0)


@says("cannot import what it needs (No module named 'plyfile')")
def _(tmp_path, monkeypatch):
    failed(1, "ModuleNotFoundError: No module named 'plyfile'")


@says("does not work with Pillow 12 or newer")
def _(tmp_path, monkeypatch):
    failed(1, "TypeError: Cannot handle this data type: (1, 1, 3), |i1")


@says("does not know --depths x; update its checkout")
def _(tmp_path, monkeypatch):
    failed(2, "train.py: error: unrecognized arguments: --depths x")


@says("CUDA build does not fit this card or driver (no kernel image is available")
def _(tmp_path, monkeypatch):
    failed(1, "RuntimeError: CUDA error: no kernel image is available for execution on the device")


@says("graphdeco ended with code 7 at step 3 (Ouch); see log")
def _(tmp_path, monkeypatch):
    failed(7, "Ouch", "")


@says("wrote a splat without a finite number in it")
def _(tmp_path, monkeypatch):
    splats = random_splats(0, 3)
    broken = dataclasses.replace(splats, means=np.full_like(splats.means, np.inf))
    external.require_in_place(make_run(tmp_path, 4, (16, 16)), broken, "Brush")


@says("of the splat that Brush wrote lies on the model in frame")
def _(tmp_path, monkeypatch):
    splats = random_splats(0, 30)
    away = dataclasses.replace(splats, means=splats.means + np.float32([0, 0, 50]))
    external.require_in_place(make_run(tmp_path, 4, (16, 16)), away, "Brush")


# --- their data sets ------------------------------------------------------------------------------


@says("transforms_train.json holds no frames to train on")
def _(tmp_path, monkeypatch):
    layouts.sets_of(Run(tmp_path, 1), centered=False)


@says("r_0.exr is missing; run the turntable stage again")
def _(tmp_path, monkeypatch):
    run = make_run(tmp_path, 4, (16, 16))
    run.guide(0).unlink()
    layouts.inverse_depth(run, layouts.sets_of(run, False).train[0])


@says("No frame's guide shows the model, so there is no depth to train with")
def _(tmp_path, monkeypatch):
    run = make_run(tmp_path, 4, (16, 16))
    order = layouts.sets_of(run, False).train
    monkeypatch.setattr(layouts, "inverse_depth", lambda run, framed: np.zeros((16, 16)))
    layouts._colmap_depths(run, tmp_path, ["0.png"], order)


# --- other people's pictures ----------------------------------------------------------------------


def main_folder(root: Path, size: tuple[int, int], count: int = 8) -> folders.Source:
    """Cameras of 16 x 16 pixels with pictures of another size, or none for size (0, 0)."""
    settings = synthetic.with_settings(views=count, rings="none", size="16")
    _, frames = synthetic.write_run(root / "run", settings, size=(16, 16))
    write_transforms(root / "transforms.json", frames)
    for frame in frames if size[0] else ():
        write_png(root / f"{frame.file_path}.png", np.zeros((size[1], size[0], 4), np.uint8))
    return folders.find(root)


@says("The picture of frame 0 is 8x8 pixels, but")
def _(tmp_path, monkeypatch):
    source = main_folder(tmp_path, (8, 8))
    upstream.take_frames(Run(tmp_path / "out", 1), source, Settings(main_size=16), quiet)


@says("iter0.mp4 has 2 frames, but")
def _(tmp_path, monkeypatch):
    (tmp_path / folders.VIDEO).touch()
    source = main_folder(tmp_path, (0, 0))
    pictures = [np.zeros((16, 16, 3), np.uint8)] * 2
    monkeypatch.setattr(upstream, "video_frames", lambda path, count: pictures)
    upstream._pictures(source, quiet)


@says("v.mp4 cannot be read: ")
def _(tmp_path, monkeypatch):
    (tmp_path / "v.mp4").write_bytes(b"no video")
    upstream.video_frames(tmp_path / "v.mp4", 3)


@says("v.mp4 holds no frames")
def _(tmp_path, monkeypatch):
    def no_frames(path: str):
        yield {"size": (16, 16)}

    monkeypatch.setattr(imageio_ffmpeg, "read_frames", no_frames)
    upstream.video_frames(tmp_path / "v.mp4", 3)


# --- videos ---------------------------------------------------------------------------------------


@says("There is no ffmpeg for the video")
def _(tmp_path, monkeypatch):
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", raiser(RuntimeError("no binary")))
    video.encode(tmp_path / "v.mp4", [], (16, 16))


@says("ffmpeg could not write v.mp4: ")
def _(tmp_path, monkeypatch):
    video.encode(tmp_path / "v.mp4", [np.zeros((3, 3, 3), np.uint8)] * 2, (3, 3))


@says("2.png is not 16x16 pixels as")
def _(tmp_path, monkeypatch):
    for name, side in (("1.png", 16), ("2.png", 8)):
        write_png(tmp_path / name, np.zeros((side, side, 4), np.uint8))
    videos.side_by_side(tmp_path / "v.mp4", [tmp_path / "1.png"], [tmp_path / "2.png"])


@pytest.mark.parametrize("words", TABLE)
def test_it_is_said(words, tmp_path, monkeypatch):
    TABLE.check(words, tmp_path, monkeypatch)
