"""Patch synthesis and blending: what must hold of the numbers, and the patchmatch propagator."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy import ndimage
from scipy.sparse.linalg import spsolve

from gs_diffusion_addon.core.orbit import plan_keys
from gs_diffusion_addon.core.settings import Ring
from gs_diffusion_addon.engine import propagate
from gs_diffusion_addon.engine.guides import interior
from gs_diffusion_addon.engine.images import read_rgba, to_bytes, write_png
from gs_diffusion_addon.engine.measures import warp_error
from gs_diffusion_addon.engine.propagate import blend, chains, guidance, patchmatch, rows
from gs_diffusion_addon.engine.propagate.synthesis import (
    AREA,
    RADIUS,
    Effort,
    _boxed,
    _distance,
    stack,
    synthesize,
)
from tests.engine import synthetic
from tests.processes import LIMIT


def textured(h=48, w=56, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (h, w, 3)).astype(np.uint8)


def place_guide(h, w):
    y, x = np.mgrid[0:h, 0:w]
    return np.dstack([y * 4, x * 4, y * 0]).astype(np.uint8)


def test_a_picture_guided_by_itself_comes_back():
    style = textured()
    guide = [(place_guide(48, 56), 40.0)]
    mask = np.ones((48, 56), bool)
    source, target = stack(style, guide), stack(np.zeros_like(style), guide)
    colors, error = synthesize(style, source, target, mask, Effort(3, 4, uniformity=0.0))
    inner = (slice(RADIUS, -RADIUS), slice(RADIUS, -RADIUS))
    assert (np.abs(colors[inner].astype(int) - style[inner]).max(-1) < 2).mean() > 0.7
    assert np.median(error[inner]) < 1


def test_a_start_is_kept_where_it_is_right_and_a_shift_is_followed():
    style = textured(60, 60)
    shifted = np.roll(style, (3, 5), (0, 1))
    y, x = np.mgrid[0:60, 0:60]
    start = np.stack([y - 3, x - 5], -1).astype(np.int32)
    guide = place_guide(60, 60)
    moved = np.roll(guide, (3, 5), (0, 1))
    mask = np.zeros((60, 60), bool)
    mask[12:48, 12:48] = True
    target = stack(np.zeros_like(style), [(moved, 4.0)])
    effort = Effort(2, 1, window=4, uniformity=0.0)
    colors, _ = synthesize(style, stack(style, [(guide, 4.0)]), target, mask, effort, start)
    assert np.array_equal(colors[14:46, 14:46], shifted[14:46, 14:46])
    assert not colors[~mask].any()


def test_uniformity_spreads_the_use_of_the_source():
    style = textured(40, 40)
    flat = [(np.zeros((40, 40, 3), np.uint8), 1.0)]
    mask = np.ones((40, 40), bool)
    spread = {}
    for weight in (0.0, 20000.0):
        effort = Effort(3, 3, 1, uniformity=weight)
        target = stack(np.zeros_like(style), flat)
        colors, _ = synthesize(style, stack(style, flat), target, mask, effort)
        spread[weight] = colors.reshape(-1, 3).std(0).mean()
    assert spread[20000.0] > spread[0.0]


def test_distance_and_box_sums_against_brute_force():
    rng = np.random.default_rng(0)
    s, t = (rng.random((20, 22, 16)).astype(np.float32) for _ in range(2))
    window = slice(8 - RADIUS, 8 + RADIUS + 1), slice(9 - RADIUS, 9 + RADIUS + 1)
    other = slice(11 - RADIUS, 11 + RADIUS + 1), slice(6 - RADIUS, 6 + RADIUS + 1)
    expected = ((t[window] - s[other]) ** 2).sum()
    assert _distance(s, t, 8, 9, 11, 6, np.float32(1e30)) == pytest.approx(expected, rel=1e-5)
    a = rng.random((9, 13)).astype(np.float32)
    padded = np.pad(a, RADIUS)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * RADIUS + 1,) * 2)
    assert windows[0, 0].size == AREA
    assert np.allclose(_boxed(a), windows.sum((2, 3)), atol=1e-5)


def test_screened_poisson_against_a_sparse_solver():
    rng = np.random.default_rng(2)
    h, w, weight = 17, 23, 1.7
    base, along_y, along_x = (rng.random((h, w)).astype(np.float32) for _ in range(3))
    number = np.arange(h * w).reshape(h, w)

    def differences(a, b):
        m = a.size
        rows = np.repeat(np.arange(m), 2)
        columns = np.stack([a.ravel(), b.ravel()], 1).ravel()
        return sparse.csr_matrix((np.tile([-1.0, 1.0], m), (rows, columns)), (m, h * w))

    d = sparse.vstack(
        [differences(number[:-1], number[1:]), differences(number[:, :-1], number[:, 1:])]
    )
    g = np.concatenate([along_y[:-1].ravel(), along_x[:, :-1].ravel()])
    matrix = sparse.identity(h * w) + weight**2 * d.T @ d
    expected = spsolve(matrix.tocsc(), base.ravel() + weight**2 * d.T @ g).reshape(h, w)
    assert np.allclose(blend.screened_poisson(base, along_y, along_x, weight), expected, atol=1e-4)


def test_blends_end_at_their_pictures_and_poisson_keeps_contrast():
    rng = np.random.default_rng(3)
    left, right = (rng.integers(40, 200, (40, 40, 3)).astype(np.uint8) for _ in range(2))
    even = np.ones((40, 40), np.float32)
    inside = even > 0
    assert np.array_equal(blend.crossfade(left, right, 0.0), left)
    assert np.array_equal(blend.poisson(left, right, even, even, 0.0, inside), left)
    assert blend.crossfade(left, right, 0.5).std() < 0.8 * left.std()
    mixed = blend.poisson(left, right, even, even, 0.5, inside)
    assert 0.9 * left.std() < mixed.std() < 1.1 * left.std()
    assert np.abs(mixed.mean() - (left.mean() + right.mean()) / 2) < 3
    worse = even.copy()
    worse[:, 20:] = 100
    choice = blend.select(worse, even, 0.5)
    assert choice[:, 30:].all() and choice[:, 20:].mean() > 0.8


def keyed(tmp_path, **values):
    settings = synthetic.with_settings(
        **({"views": 8, "keys": 4, "rings": "30:4", "ring_keys": 0} | values)
    )
    run, frames = synthetic.write_run(tmp_path, settings, size=(80, 80))
    for k in plan_keys(settings):
        write_png(run.key(k), read_rgba(run.frame(k))[..., :3].copy())
    return run, settings, frames


@pytest.mark.parametrize("start", ["reproject", "plain"])
@pytest.mark.parametrize("blending", ["crossfade", "poisson"])
def test_patchmatch_paints_what_it_should(tmp_path, start, blending):
    run, settings, frames = keyed(
        tmp_path, propagator="patchmatch", patch_start=start, blending=blending
    )
    propagate.run_stage(run, settings, lambda event, **fields: None)
    for frame in frames:
        out, truth = read_rgba(run.stylized_frame(frame.frame)), read_rgba(run.frame(frame.frame))
        assert np.array_equal(out[..., 3], truth[..., 3])
        seen = truth[..., 3] > 0
        # Synthesis is no copy: the colors are right, a fifth of the steps of the texture may shift.
        assert np.abs(out[seen][:, :3].astype(int) - truth[seen][:, :3]).mean() < 16


def test_patchmatch_does_not_depend_on_threads_or_on_being_resumed(tmp_path):
    pictures = []
    for threads in (1, 3):
        run, settings, _ = keyed(
            tmp_path / str(threads), propagator="patchmatch", threads=threads, rings="none"
        )
        propagate.run_stage(run, settings, lambda event, **fields: None)
        pictures.append([run.stylized_frame(k).read_bytes() for k in range(8)])
    run.stylized_frame(5).unlink()
    propagate.run_stage(run, settings, lambda event, **fields: None)
    pictures.append([run.stylized_frame(k).read_bytes() for k in range(8)])
    assert pictures[0] == pictures[1] == pictures[2]


@pytest.mark.parametrize("keys", [[2], [0, 3], [1, 4, 6]])
def test_chains_reach_every_frame_from_both_sides(keys):
    frames = synthetic.orbit([Ring(10, 8)])
    places = rows.places(keys, frames)
    planned, of_frame = patchmatch.plan(places)
    assert set(of_frame) == set(range(8))
    for number, pair in of_frame.items():
        made = [planned[k] for k in pair]
        if number in keys:
            assert {c.key for c in made} == {number}
            continue
        assert [c.key for c in made] == [places[number].left.frame, places[number].right.frame]
        assert all(number in c.steps for c in made)
    for chain in planned:
        line = [chain.key, *chain.steps]
        gaps = {(b - a) % 8 for a, b in itertools.pairwise(line)}
        assert gaps in (set(), {1}, {7})  # step by step in one direction


def test_the_last_picture_guides_and_frames_flicker_less(tmp_path, monkeypatch):
    """Of keys with grain of their own, neighbors are more alike than frames made one by one."""
    rng = np.random.default_rng(4)
    run, settings, frames = keyed(
        tmp_path,
        patch_start="plain",
        blending="crossfade",
        rings="none",
        views=24,
        keys=4,
        threads=1,
    )
    for k in plan_keys(settings):
        grain = ndimage.gaussian_filter(rng.normal(0, 90, (80, 80, 3)), (1, 1, 0))
        write_png(run.key(k), np.clip(128 + grain, 0, 255).astype(np.uint8))
    views = {f.frame: synthetic.trace(f.camera)[0] for f in frames}
    found = {}
    for weight in (0.0, guidance.LAST):
        monkeypatch.setattr(guidance, "LAST", weight)
        patches = patchmatch.Patches.of(run, settings, frames, lambda f: views[f.frame])
        made = [patches.picture(k) for k in range(7)]
        inside = [interior(views[k], 3) for k in range(7)]
        pairs = [(views[k], views[k + 1], *inside[k : k + 2], *made[k : k + 2]) for k in range(6)]
        found[weight] = np.mean([warp_error(*pair) for pair in pairs])
    assert found[guidance.LAST] < 0.6 * found[0.0]


def test_a_picture_is_moved_by_the_exact_motion():
    a, b = synthetic.orbit([Ring(10, 36)], size=(96, 96))[:2]
    (one, colors, _), (other, truth, _) = synthetic.trace(a.camera), synthetic.trace(b.camera)
    whole = slice(0, 96), slice(0, 96)
    piece = patchmatch.Piece(one, whole, one.mask, to_bytes(colors), np.zeros((96, 96), np.float32))
    found = patchmatch.moved(other, piece)
    assert not found[~other.mask].any()
    assert np.abs(found - 255 * truth)[interior(other, 3)].mean() < 3


def test_chains_are_made_once_by_many_threads_and_their_errors_reach_everybody():
    made, gate = [], threading.Barrier(4)

    def make(number):
        made.append(number)
        if number < 4:
            gate.wait(LIMIT)  # passes only if four threads make one each at once
        if number == 5:
            raise ValueError("broken")
        return number * 10

    shared = chains.Chains(make, 6, 4)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(shared.get, [0, 0, 0, 0, 1, 2, 3, 3])) == [0, 0, 0, 0, 10, 20, 30, 30]
        failures = [pool.submit(shared.get, 5).exception() for _ in range(2)]
    assert [str(f) for f in failures] == ["broken", "broken"]
    assert sorted(set(made)) == sorted(made)


def test_correspondence_is_the_exact_motion():
    a, b = (f.camera for f in synthetic.orbit([Ring(10, 18)], size=(96, 96))[:2])
    views = [synthetic.trace(c)[0] for c in (a, b)]
    whole = slice(0, 96), slice(0, 96)
    empty = np.zeros((96, 96, 16), np.float32)
    frame, key = (
        patchmatch.Guided(v, whole, empty, v.mask, np.zeros((96, 96, 3), np.uint8)) for v in views
    )
    found = patchmatch.correspondence(frame, key)
    world = guidance.world(views[0])
    pixels, _ = b.project(world)
    inside = interior(views[0], 6)
    error = np.abs(found[..., ::-1] + 0.5 - pixels).max(-1)[inside]
    assert np.quantile(error, 0.9) <= 0.51
    assert to_bytes(views[0].normal).shape == (96, 96, 3)
