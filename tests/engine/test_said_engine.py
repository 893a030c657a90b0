"""Sentences of engine/ that stand for rare things: each is said when its reason is there."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from gs_diffusion_addon.core.dataset import Frame
from gs_diffusion_addon.core.ply import Points, write_points, write_splats
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.engine import (
    clip,
    dataset,
    guides,
    images,
    metrics,
    render,
    report_pictures,
)
from gs_diffusion_addon.engine.propagate import ebsynth_cli, ebsynth_folder, reproject
from gs_diffusion_addon.engine.propagate import run_stage as propagate
from gs_diffusion_addon.engine.splat import dataset as splat_dataset
from gs_diffusion_addon.engine.splat import drawing, tools, training
from gs_diffusion_addon.engine.stylize import control, diffusers_local, geometry, module_of
from gs_diffusion_addon.engine.stylize.try_view import try_view
from tests.engine import synthetic
from tests.engine.splat_helpers import cameras, random_splats
from tests.engine.stylize_helpers import make_turntable, small
from tests.said import Table

TABLE = Table()
says = TABLE.says


def quiet(event: str, **fields: object) -> None:
    """An emitter nobody listens to."""


def black(path: Path, size: tuple[int, int] = (8, 8), channels: int = 4) -> Path:
    """A picture of ``size`` (width, height)."""
    images.write_png(path, np.zeros((size[1], size[0], channels), np.uint8))
    return path


def tiny_run(root: Path, **lens: object) -> tuple[Run, Settings]:
    """A turntable of four small frames."""
    settings = synthetic.with_settings(views=4, rings="none", keys=2, size="16")
    run, _ = synthetic.write_run(root, settings, size=(16, 16), **lens)
    return run, settings


# --- pictures, guides, metrics --------------------------------------------------------------------


@says("x.png does not exist")
def _(tmp_path, monkeypatch):
    images.size_of(tmp_path / "x.png")


@says("y.png does not exist")
def _(tmp_path, monkeypatch):
    images.read_rgba(tmp_path / "y.png")


@says("x.png cannot be read: ")
def _(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(b"no picture")
    report_pictures._load(tmp_path / "x.png", 8)


@says("lists no frames; run the turntable stage first")
def _(tmp_path, monkeypatch):
    run = Run(tmp_path, 1)
    monkeypatch.setattr(guides, "read_transforms", lambda path: [])
    guides.cameras(run)


@says("r_1.exr is 16x16 but its camera is 32x16")
def _(tmp_path, monkeypatch):
    run, _ = tiny_run(tmp_path)
    frame = guides.cameras(run)[1]
    guides.read_view(
        run, dataclasses.replace(frame, camera=dataclasses.replace(frame.camera, width=32))
    )


@says("is of another size than the turntable's frames")
def _(tmp_path, monkeypatch):
    run, _ = tiny_run(tmp_path)
    circle = metrics.load_ring(run, guides.cameras(run), 1)
    metrics._sequence_errors(circle, [black(tmp_path / f"{k}.png") for k in range(4)], {}, 1)


@says("differ in size.")
def _(tmp_path, monkeypatch):
    run, settings = tiny_run(tmp_path)
    for k in range(4):
        black(run.stylized_frame(k), (8, 8))
        black(run.render(k), (9, 8))
    monkeypatch.setattr(metrics, "split_frames", lambda *_: ([], [], [0, 1]))
    metrics.held_out(run, settings, guides.cameras(run), 1)


@says("No training frame sees the model's surface")
def _(tmp_path, monkeypatch):
    dataset._settle(np.zeros((3, 3), np.float32), np.zeros((3, 4)))


# --- CLIP -----------------------------------------------------------------------------------------


@says("CLIP needs the package tokenizers")
def _(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    clip.Clip(tmp_path, 1)


def clip_folder(root: Path) -> Path:
    """A folder with files of a CLIP model's names, which hold nothing."""
    (root / "model.onnx").write_bytes(b"")
    (root / "tokenizer.json").write_text("{}")
    return root


@says("The CLIP model in")
def _(tmp_path, monkeypatch):
    clip.Clip(clip_folder(tmp_path), 1)


@says("is no CLIP model: it lacks text_embeds")
def _(tmp_path, monkeypatch):
    session = SimpleNamespace(get_inputs=list, get_outputs=list)
    monkeypatch.setattr(clip.onnxruntime, "InferenceSession", lambda *_, **__: session)
    (clip_folder(tmp_path) / "tokenizer.json").write_text(
        '{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}'
    )
    clip.Clip(tmp_path, 1)


# --- propagation ----------------------------------------------------------------------------------


@says("and its guide differ in size")
def _(tmp_path, monkeypatch):
    run, settings = tiny_run(tmp_path)
    for k in (0, 2):
        black(run.key(k), (16, 16), 3)
    black(run.frame(0), (8, 8))
    propagate(run, settings, quiet)


@says("EbSynth needs a keyframe; set --keys")
def _(tmp_path, monkeypatch):
    run, settings = tiny_run(tmp_path)
    monkeypatch.setattr(ebsynth_cli, "find_program", lambda settings: Path("ebsynth"))
    monkeypatch.setattr(ebsynth_cli, "used", lambda run, settings: [])
    ebsynth_cli.prepare(run, settings, guides.cameras(run), quiet)


@says("EbSynth paints ring 0, and no keyframe is left there")
def _(tmp_path, monkeypatch):
    run, settings = tiny_run(tmp_path)
    monkeypatch.setattr(ebsynth_folder, "used", lambda run, settings: [])
    ebsynth_folder.prepare(run, settings, guides.cameras(run), quiet)


@says("Keyframe 3 is not a frame of transforms_train_main.json")
def _(tmp_path, monkeypatch):
    run, settings = tiny_run(tmp_path)
    monkeypatch.setattr(reproject, "used", lambda run, settings: [3])
    reproject.load_keys(run, settings, guides.cameras(run)[:2], quiet)


# --- stylizing ------------------------------------------------------------------------------------


@says("There is no stylizer 'crayon'")
def _(tmp_path, monkeypatch):
    module_of("crayon")


@says("No keyframe shows the model, so there is no depth to control with")
def _(tmp_path, monkeypatch):
    control.depth_range([])


@says("do not tell materials apart")
def _(tmp_path, monkeypatch):
    control.material_index(control.Passes(None, np.zeros((2, 2), np.int32)))


@says("does not list frame 9")
def _(tmp_path, monkeypatch):
    run, _ = tiny_run(tmp_path)
    geometry.Geometry(run, [0]).frame(9)


@says("5 views do not fit on a 2x2 page")
def _(tmp_path, monkeypatch):
    settings = small()
    run = make_turntable(tmp_path, settings)
    try_view(run, settings, range(5), 0, tmp_path / "t.png", quiet)


@says("holds no model_index.json or config.json")
def _(tmp_path, monkeypatch):
    diffusers_local.source(str(tmp_path), "--checkpoint")


def made(size: tuple[int, int] = (8, 8), level: int = 90, withheld: bool = False):
    """What a pipeline of diffusers gives back."""
    picture = Image.new("RGB", size, (level,) * 3)
    return SimpleNamespace(images=[picture], nsfw_content_detected=[withheld])


@says("ran out of graphics memory")
def _(tmp_path, monkeypatch):
    class Full(Exception):
        pass

    def pipe(**_: object) -> None:
        raise Full

    (stylizer,) = (
        kind for kind in vars(diffusers_local).values()
        if isinstance(kind, type) and kind.__module__ == diffusers_local.__name__
        and "__call__" in vars(kind)
    )  # fmt: skip
    generator = SimpleNamespace(manual_seed=lambda seed: None)
    torch = SimpleNamespace(OutOfMemoryError=Full, Generator=lambda device: generator)
    me = SimpleNamespace(settings=small(), pipe=pipe, torch=torch)
    stylizer.__call__(me, PAGE, (1, 1), lambda *_: None)


PAGE = np.full((8, 8, 3), 120, np.uint8)


@says("safety checker withheld the picture")
def _(tmp_path, monkeypatch):
    diffusers_local._picture(made(withheld=True), PAGE)


@says("made 16x8 pixels of 8x8; change --page-size")
def _(tmp_path, monkeypatch):
    diffusers_local._picture(made((16, 8)), PAGE)


@says("made a black picture, as it does when its numbers overflow")
def _(tmp_path, monkeypatch):
    diffusers_local._picture(made(level=0), PAGE)


# --- the built-in trainer, gsd splat --------------------------------------------------------------


@says("holds no frames to train on.")
def _(tmp_path, monkeypatch):
    splat_dataset._dataset(tmp_path, [], [])


@says("holds no splat with finite numbers")
def _(tmp_path, monkeypatch):
    splats = random_splats(0, 3)
    drawing.drawable(dataclasses.replace(splats, means=np.full_like(splats.means, np.nan)))


@says("is missing; run the train stage again")
def _(tmp_path, monkeypatch):
    render.run_stage(Run(tmp_path, 1), Settings(), quiet)


def trained(folder: Path, monkeypatch, opacity: float, loss: float = 0.0) -> None:
    """A training whose splats have this logit, and whose loss is this after a step."""
    (camera,) = cameras(1, (16, 16), 1.0, np.zeros(3))
    images.write_png(folder / "r_0.png", np.full((16, 16, 4), 255, np.uint8))
    world = splat_dataset.World.of([camera])
    picture = splat_dataset.load_picture(folder, Frame("./r_0", camera, 0, 0), world)
    found = splat_dataset.Dataset([picture], [], world)
    first = random_splats(0, 20)
    first = dataclasses.replace(first, opacities=np.full(20, opacity, np.float32))
    monkeypatch.setattr(training, "_step", lambda *_: loss)
    monkeypatch.setattr(training, "held_out_psnr", lambda *_: None)
    backend = SimpleNamespace(strategy=None, device="cpu", precision="x", kernels=True)
    recipe = training.Recipe(steps=1)
    training.train(found, lambda: first, recipe, backend)


@says("All splats became transparent during training")
def _(tmp_path, monkeypatch):
    trained(tmp_path, monkeypatch, opacity=-20)


@says("is no folder; --data names the folder")
def _(tmp_path, monkeypatch):
    tools.train_folder({"data": "/nowhere", "out": str(tmp_path)}, Settings(), quiet)


@says("holds a splat.ply of another origin")
def _(tmp_path, monkeypatch):
    (tmp_path / tools.MODEL).touch()
    tools._finished(tmp_path, {})


@says("holds no points to start from")
def _(tmp_path, monkeypatch):
    none = np.empty((0, 3), np.float32)
    write_points(tmp_path / "p.ply", Points(none, none, none.astype(np.uint8)))
    tools.first_splats(None, tmp_path / "p.ply", True, Settings(), quiet)


@says("No splat would be left; nothing was written")
def _(tmp_path, monkeypatch):
    write_splats(tmp_path / "a.ply", random_splats(0, 5))
    tools.prune_file({"file": tmp_path / "a.ply", "faintest": 2.0, "out": "x.ply"}, quiet)


@says("The splat training exploded at step 0")
def _(tmp_path, monkeypatch):
    trained(tmp_path, monkeypatch, opacity=0, loss=float("nan"))


@pytest.mark.parametrize("words", TABLE)
def test_it_is_said(words, tmp_path, monkeypatch):
    TABLE.check(words, tmp_path, monkeypatch)
