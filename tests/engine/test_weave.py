"""Keys woven into one surface: gains, labels, borders that hide. Inconsistent keys on exact
geometry.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from gs_diffusion_addon.core.settings import Ring
from gs_diffusion_addon.engine.guides import interior
from gs_diffusion_addon.engine.images import to_bytes
from gs_diffusion_addon.engine.measures import sharpness
from gs_diffusion_addon.engine.propagate import labels, surface, weave
from gs_diffusion_addon.engine.propagate.reproject import KeySet, reproject
from tests.engine import synthetic


def views_of(count=6, size=(96, 96)):
    return [synthetic.trace(f.camera)[:2] for f in synthetic.orbit([Ring(20, count)], size=size)]


def noisy_keys(size=(128, 128)):
    """Keys whose fine texture has nothing to do with each other's, and whose brightness differs."""
    rng = np.random.default_rng(1)
    views, pictures = [], []
    for view, colors in views_of(12, size=size):
        noise = ndimage.gaussian_filter(rng.normal(0, 0.4, view.depth.shape), 1.2)[..., None]
        noise += rng.normal(0, 0.05)
        views.append(view)
        pictures.append(to_bytes(np.where(view.mask[..., None], colors * 0.7 + 0.1 + noise, 0)))
    return views, np.stack(pictures)


def test_surface_graph_is_symmetric_and_keeps_the_two_sides_of_a_thin_part_apart():
    views = [view for view, _ in views_of()]
    nodes = surface.build(views)
    edges = {
        (a, int(b))
        for a in range(nodes.count)
        for b in nodes.neighbor[nodes.first[a] : nodes.first[a + 1]]
    }
    assert edges and all((b, a) in edges for a, b in edges)
    a, b = np.array(sorted(edges)).T
    rounding = 1e-5
    apart = np.linalg.norm(nodes.position[a] - nodes.position[b], axis=1)
    assert apart.max() < surface.REACH + rounding
    alike = np.einsum("ec,ec->e", nodes.normal[a], nodes.normal[b])
    assert alike.min() > surface.SAME_SIDE - rounding


def test_values_go_to_the_surface_and_back():
    views = [view for view, _ in views_of()]
    nodes = surface.build(views)
    shape = views[0].depth.shape
    _, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    picture = np.dstack([x, np.full(shape, 7.0, np.float32)])
    values, weight = surface.gather(nodes, 2, picture, np.ones(shape, np.float32))
    seen = weight > 0
    assert np.allclose(values[seen, 1], 7)
    back = surface.spread(nodes, 2, np.where(seen[:, None], values, 7), shape)
    inside = interior(views[2], 4)
    assert np.abs(back[..., 1] - 7)[views[2].mask].max() < 1e-4
    assert np.abs(back[..., 0] - x)[inside].mean() < 2
    assert not back[~views[2].mask].any()


def chain(count, keys, unseen, seed):
    """The problem of a chain of nodes, a tenth of them hidden from some keys, ``unseen`` from all.

    Costs and colors are random. On a chain message passing is exact.
    """
    rng = np.random.default_rng(seed)
    data = rng.random((count, keys)).astype(np.float32)
    color = rng.random((count, keys, 3)).astype(np.float32)
    seen = (rng.random((count, keys)) > 0.1).astype(np.float32)
    seen[:, 0] = 1
    seen[list(unseen)] = 0
    data[seen == 0] = labels.NEVER
    pairs = [[b for b in (a - 1, a + 1) if 0 <= b < count] for a in range(count)]
    first = np.cumsum([0, *map(len, pairs)]).astype(np.int32)
    return first, np.concatenate(pairs).astype(np.int32), data, color, seen


@pytest.mark.parametrize("unseen", [(), (3,), (1, 4, 5), (0, 6)])
@pytest.mark.parametrize("seed", range(4))
def test_labels_reach_the_best_energy_of_a_small_chain(unseen, seed):
    """Against trying all labelings."""
    problem = chain(7, 3, unseen, seed)
    # Costs of nodes that no key sees are all the same, and would swallow the others' digits.
    problem[2][list(unseen)] = 0
    best = min(
        labels.energy(*problem, 0.3, np.array(guess, np.int32))
        for guess in itertools.product(range(3), repeat=7)
    )
    problem[2][list(unseen)] = labels.NEVER
    found = labels.solve(*problem, 0.3, 8)
    problem[2][list(unseen)] = 0
    assert labels.energy(*problem, 0.3, found) == pytest.approx(best, abs=1e-5)


def test_gains_undo_known_ones():
    views = views_of()
    wanted = np.array([1.1, 0.9, 1.0, 0.95, 1.05, 1.0])
    colors = np.stack([to_bytes(c * 0.8 / g) for (_, c), g in zip(views, wanted, strict=True)])
    woven = weave.weave([v for v, _ in views], colors, "soft", 8.0)
    found = woven.gains.mean(1)
    assert np.ptp(found / wanted) < 0.04
    assert np.ptp(1 / wanted) > 0.2


def test_hidden_borders_are_sharp_where_soft_ones_blur():
    views, pictures = noisy_keys()
    target, _, which = synthetic.trace(synthetic.orbit([Ring(20, 24)], size=(128, 128))[1].camera)
    inside = interior(target, 3) & (which == 0)
    crisp = {}
    for mode in ("soft", "hidden"):
        color, label = reproject(target, KeySet.of(views, pictures, mode))
        crisp[mode] = sharpness(to_bytes(color), inside)
        assert (label >= 0)[target.mask].mean() > 0.97
    assert crisp["soft"] < 0.85 * crisp["hidden"]


def test_two_flat_keys_meet_without_a_step(monkeypatch):
    """Keys of different plain colors: the coarse band has to close the step between them."""
    monkeypatch.setattr(weave, "solve_gains", lambda *_: np.ones((6, 3), np.float32))
    views = [view for view, _ in views_of(size=(160, 160))]
    rng = np.random.default_rng(5)
    flat = [np.full((*v.depth.shape, 3), rng.integers(90, 160), np.uint8) for v in views]
    target, _, which = synthetic.trace(synthetic.orbit([Ring(20, 12)], size=(160, 160))[1].camera)
    steps = {}
    for mode in ("hard", "hidden"):
        woven = weave.weave(views, np.stack(flat), mode, 8.0)
        assert woven.share.sum() == pytest.approx(1)
        color, _ = reproject(target, KeySet.of(views, np.stack(flat), mode))
        ball = interior(target, 3) & (which == 0)
        both = ball[:, 1:] & ball[:, :-1]
        steps[mode] = np.abs(np.diff(color[..., 0], axis=1))[both].max()
    assert steps["hidden"] < 0.5 * steps["hard"]


def test_weaving_is_the_same_every_time():
    views, pictures = noisy_keys((64, 64))
    a, b = (weave.weave(views, pictures, "hidden", 8.0) for _ in range(2))
    assert np.array_equal(a.color, b.color) and np.array_equal(a.weight, b.weight)


def test_keys_that_see_nothing_paint_nothing():
    view, _ = views_of(size=(32, 32))[0]
    empty = type(view)(view.camera, np.full_like(view.depth, 1e10), view.normal)
    colors = np.zeros((1, *view.depth.shape, 3), np.uint8)
    color, label = reproject(view, KeySet.of([empty], colors, "hidden"))
    assert (label == -1).all() and not color.any()
