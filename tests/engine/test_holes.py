"""What no key sees: filled with the keys' own texture, and the same in every frame. And the kernel
below: detail seen from nearer than the frame does not alias.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy import ndimage

from gs_diffusion_addon.core.orbit import plan_keys
from gs_diffusion_addon.core.settings import Ring
from gs_diffusion_addon.engine import propagate
from gs_diffusion_addon.engine.guides import eroded, interior
from gs_diffusion_addon.engine.images import read_rgba, to_bytes, write_png
from gs_diffusion_addon.engine.measures import sharpness, warp_error
from gs_diffusion_addon.engine.propagate import Painted, finish, holes, kernel
from gs_diffusion_addon.engine.propagate.reproject import KeySet, reproject
from tests.engine import synthetic

SIZE = (160, 160)


@pytest.fixture(scope="module")
def capped():
    """Three keys from the side, frames from above: the top of the ball is a hole. Keys have grain
    of their own on plain gray.
    """
    frames = synthetic.orbit([Ring(0, 9), Ring(55, 9)], size=SIZE)
    views = [synthetic.trace(f.camera)[0] for f in frames]
    rng = np.random.default_rng(3)
    keys = []
    for view in views[:9:3]:
        grain = ndimage.gaussian_filter(rng.normal(0, 0.5, (*view.depth.shape, 1)), (1.2, 1.2, 0))
        keys.append(to_bytes(np.where(view.mask[..., None], 0.5 + np.repeat(grain, 3, 2), 0)))
    woven = KeySet.of(views[:9:3], np.stack(keys), "hidden")
    gray = np.full((*views[0].depth.shape, 3), 128, np.uint8)
    full = holes.filled(woven, frames, lambda f: views[f.frame], lambda f: gray, 2)
    return frames, views, woven, full


def picture(view, keys):
    color, label = reproject(view, keys)
    alpha = np.where(view.mask, 255, 0).astype(np.uint8)
    return np.ascontiguousarray(finish(Painted(color, label >= 0), alpha)[..., :3]), label


def test_holes_get_the_keys_texture_and_a_blur_does_not(capped):
    _, views, woven, full = capped
    assert full.fills is not None and len(full.fills.pictures.views) <= 6
    kinds = {"around": [], "patches": [], "smooth": []}
    for view in views[9:]:
        blurred, label = picture(view, woven)
        patched, _ = picture(view, full)
        hole = eroded(view.mask & (label < 0), 2)
        rest = eroded((label >= 0) & interior(view, 3), 2)
        kinds["around"].append(sharpness(patched, rest))
        kinds["patches"].append(sharpness(patched, hole))
        kinds["smooth"].append(sharpness(blurred, hole))
    crisp = {kind: np.mean(values) for kind, values in kinds.items()}
    assert crisp["patches"] > 0.4 * crisp["around"]
    assert crisp["smooth"] < 0.5 * crisp["patches"]


def test_a_filled_hole_is_the_same_in_every_frame(capped):
    _, views, woven, full = capped
    made = {k: picture(views[k], full) for k in (9, 10, 12)}
    filled = {k: label >= len(woven.pictures.views) for k, (_, label) in made.items()}
    assert all(f.sum() > 200 for f in filled.values())
    inside = {k: filled[k] & interior(views[k], 2) for k in made}
    for a, b in ((9, 10), (9, 12)):
        error = warp_error(views[a], views[b], inside[a], inside[b], made[a][0], made[b][0])
        own = made[a][0][inside[a]].astype(float) / 255
        assert error is not None and error < 0.15 * own.var(0).mean()


def test_what_the_keys_show_stays_as_it_is(capped):
    _, views, woven, full = capped
    before, label = reproject(views[12], woven)
    after, filled = reproject(views[12], full)
    assert np.array_equal(before[label >= 0], after[label >= 0])
    assert np.array_equal(label[label >= 0], filled[label >= 0])
    assert (filled >= 0).sum() > (label >= 0).sum()


def test_coverage_counts_what_keys_see_whatever_is_filled(tmp_path):
    noted = {}
    for kind in ("patches", "smooth"):
        settings = synthetic.with_settings(
            views=9, rings="55:5", keys=3, ring_keys=0, holes=kind, compare_independent="no"
        )
        run, frames = synthetic.write_run(tmp_path / kind, settings)
        for k in plan_keys(settings):
            write_png(run.key(k), read_rgba(run.frame(k))[..., :3].copy())
        propagate.run_stage(run, settings, lambda event, **fields: None)
        noted[kind] = json.loads((run.folder / "propagation.json").read_text())["frames"]
        # Resumed on one thread, the holes are the same.
        again = run.stylized_frame(frames[-1].frame)
        before = again.read_bytes()
        again.unlink()
        propagate.run_stage(run, dataclasses.replace(settings, threads=1), lambda e, **f: None)
        assert again.read_bytes() == before
    assert noted["patches"] == noted["smooth"]
    assert min(noted["patches"].values()) < 0.97


@pytest.mark.parametrize("taps", [1, kernel.MOST_TAPS])
def test_detail_seen_from_nearer_does_not_alias(taps):
    """A checkerboard as fine as the key's pixels is gray from four times as far."""
    near = synthetic.orbit([Ring(20, 9)], distance=5.0, size=(240, 240), focal=1.35)[0].camera
    far = synthetic.orbit([Ring(20, 9)], distance=20.0, size=(240, 240), focal=1.35)[0].camera
    key, target = synthetic.trace(near)[0], synthetic.trace(far)[0]
    y, x = np.mgrid[0:240, 0:240]
    board = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, 2)
    pictures = kernel.Pictures.of([key], board[None])
    canvas = kernel.Canvas.blank((240, 240))
    kernel.paint(canvas, target, pictures, key.mask[None].astype(np.float32), taps)
    inside = interior(target, 2)
    noise = canvas.color[inside].std()
    assert noise < 0.08 if taps > 1 else noise > 0.1
    assert abs(canvas.color[inside].mean() - 0.5) < 0.05
