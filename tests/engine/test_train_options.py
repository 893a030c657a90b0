"""The built-in trainer's options: weights of frames, the depth term, presets."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from gs_diffusion_addon.core.presets import expand
from gs_diffusion_addon.core.run import Run, write_json
from gs_diffusion_addon.core.settings import Settings, from_json
from gs_diffusion_addon.core.splat_arguments import PRESETS
from gs_diffusion_addon.engine.splat.dataset import Picture, load
from gs_diffusion_addon.engine.splat.depth import EVERY, depth_loss
from gs_diffusion_addon.engine.splat.rasterizer import rasterize
from gs_diffusion_addon.engine.train.session import prepared
from tests.engine.splat_helpers import random_splats, random_view, tensors, write_dataset
from tests.engine.trainer_helpers import guide_of


def loss_of(arguments, depth):  # type: ignore[no-untyped-def]
    view = random_view(5)
    picture = Picture(None, None, view, (0, 1, 0, 1), 0, depth=depth)  # type: ignore[arg-type]
    return depth_loss(tuple(arguments), picture, rasterize)


def test_depth_is_pulled_towards_the_one_of_the_render():
    arguments = tensors(random_splats(4, 12), torch.float64)
    view = random_view(5)
    depth = np.full((view.height, view.width), 9.0, np.float32)  # behind all splats
    depth[:, :10] = np.inf
    loss = loss_of(arguments, depth)
    loss.backward()
    toward = torch.from_numpy(view.rotation[2])
    for n in (2, 7):
        step = torch.zeros_like(arguments[0])
        step[n] = 1e-5 * toward
        moved = [(a.detach() + step if k == 0 else a.detach()) for k, a in enumerate(arguments)]
        back = [(a.detach() - step if k == 0 else a.detach()) for k, a in enumerate(arguments)]
        slope = float(loss_of(moved, depth) - loss_of(back, depth)) / 2e-5
        assert abs(slope - float(arguments[0].grad[n] @ toward)) < 1e-3 * abs(slope) + 1e-7
    assert float(loss_of(arguments, np.full_like(depth, np.inf)).detach()) == 0
    # Drawn at the depth itself, as flat splats facing the camera, nothing is wrong.
    flat = [a.detach().clone() for a in arguments]
    flat[0] += (4 - (flat[0] @ toward + float(view.translation[2])))[:, None] * toward
    assert float(loss_of(flat, np.full_like(depth, 4.0))) < 1e-9


def test_frames_get_their_weight_and_depth(tmp_path):
    from gs_diffusion_addon.core.exr import write_exr

    run = Run(tmp_path, 1)
    write_dataset(run.gs, views=5)
    dataset, plain = load(run.gs), Settings()
    first, second = dataset.train[:2]
    shares = {str(first.frame): 0.4, str(second.frame): 0.0}
    write_json(run.folder / "propagation.json", {"coverage": 0.9, "frames": shares})
    write_exr(run.guide(second.frame), guide_of(second.camera))
    assert [p.weight for p in prepared(run, plain, dataset).train] == [1.0] * len(dataset.train)
    wanted = dataclasses.replace(plain, frame_weights=True, depth_weight=0.1)
    got = prepared(run, wanted, dataset).train
    assert [p.weight for p in got[:3]] == [0.4, 0.1, 1.0]
    assert [p.depth is not None for p in got[:3]] == [False, True, False]
    depth = got[1].depth
    assert depth is not None
    middle = depth[depth.shape[0] // 2, depth.shape[1] // 2]
    away = np.linalg.norm(second.camera.position - dataset.world.center) / dataset.world.scale
    assert np.isinf(depth[0, 0]) and 0.3 * away < middle < away
    assert EVERY > 1


def test_training_presets_are_the_same_in_a_run_and_for_a_folder():
    for name, values in PRESETS.items():
        assert expand(f"train-{name}") == values
    default = Settings()
    assert from_json(PRESETS["default"]) == default
