"""Figures about surface points: deviation between views, its heat map, seams, ST-LPIPS."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from gs_diffusion_addon.core.orbit import plan_keys
from gs_diffusion_addon.core.settings import Ring
from gs_diffusion_addon.engine import guides, metrics_surface, perceptual, propagate
from gs_diffusion_addon.engine.images import read_rgba, to_bytes, write_png
from gs_diffusion_addon.engine.propagate import surface
from tests.engine import synthetic


def ring_of(count=8, size=(96, 96)):
    traced = [synthetic.trace(f.camera)[:2] for f in synthetic.orbit([Ring(20, count)], size=size)]
    return [view for view, _ in traced], [to_bytes(colors) for _, colors in traced]


def test_deviation_is_nothing_where_views_agree_and_known_where_they_do_not():
    views, pictures = ring_of()
    nodes = surface.build(views)
    weights = [metrics_surface._weight(view) for view in views]
    spread, seen = metrics_surface.deviations(nodes, pictures, weights)
    assert seen.mean() > 0.15 and spread[seen].mean() < 0.02
    shifted = [np.clip(p.astype(int) // 2 + 40 * (k % 2), 0, 255).astype(np.uint8)
               for k, p in enumerate(pictures)]  # fmt: skip
    spread, seen = metrics_surface.deviations(nodes, shifted, weights)
    # Two values 40 apart deviate by 20 where both are seen alike, by less where one is seen more.
    assert 15 / 255 < np.median(spread[seen]) < 22 / 255


def test_heat_map_is_dark_where_views_agree_and_yellow_where_they_do_not():
    views, _ = ring_of()
    nodes = surface.build(views)
    seen = np.ones(nodes.count, bool)
    maps = {
        value: metrics_surface.heat_map(nodes, np.full(nodes.count, value), seen, views)
        for value in (0.0, 0.3)
    }
    mask = np.concatenate([views[k].mask for k in (0, 2, 4)], 1)
    assert all((m[..., 3] == np.where(mask, 255, 0)).all() for m in maps.values())
    assert maps[0.0][mask][:, :3].max() < 10 and maps[0.3][mask][:, :2].min() > 240
    unseen = metrics_surface.heat_map(nodes, np.zeros(nodes.count), ~seen, views)
    assert (unseen[mask][:, :3] == 128).all()


@pytest.mark.parametrize("seams", ["hidden", "hard"])
def test_a_runs_figures_and_pictures(tmp_path, seams):
    settings = synthetic.with_settings(views=12, rings="none", keys=6, seams=seams, holes="smooth")
    run, frames = synthetic.write_run(tmp_path, settings, size=(96, 96))
    rng = np.random.default_rng(0)
    for k in plan_keys(settings):
        rgb = read_rgba(run.frame(k))[..., :3].astype(int) + rng.integers(-30, 30, 3)
        write_png(run.key(k), np.clip(rgb, 0, 255).astype(np.uint8))
    sequences = {
        "source": [run.frame(f.frame) for f in frames],
        "propagated": [run.stylized_frame(f.frame) for f in frames],
        "splat": [run.render(f.frame) for f in frames],
    }
    circle = (frames, [guides.read_view(run, f) for f in frames])

    def figures():
        return metrics_surface.surface_figures(run, settings, frames, circle, sequences)

    before = figures()
    assert before["point_deviation"]["propagated"] is None and before["seams"] is None
    propagate.run_stage(run, settings, lambda event, **fields: None)
    found = figures()
    assert found["point_deviation"]["propagated"] < 0.06
    assert found["point_deviation"]["splat"] is None
    assert set(found["seams"]) == {"across", "beside", "ratio"} and found["seams"]["ratio"] > 0
    picture = read_rgba(run.folder / "heat" / "Disagreement_of_the_restyled_frames.png")
    assert picture.shape == (96, 3 * 96, 4) and np.ptp(picture[picture[..., 3] > 0][:, 0]) > 0


def test_st_lpips_is_absent_with_a_reason(monkeypatch):
    black = np.zeros((8, 8, 3), np.uint8)
    monkeypatch.setattr(perceptual, "installed", lambda: False)
    assert perceptual.st_lpips([(black, black)]) == {
        "value": None,
        "reason": "The package stlpips_pytorch is not installed.",
    }
    monkeypatch.setattr(perceptual, "installed", lambda: True)
    assert perceptual.st_lpips([])["reason"] == "There are no pictures to compare."
    monkeypatch.setitem(sys.modules, "stlpips_pytorch", None)
    found = perceptual.st_lpips([(black, black)])
    assert found["value"] is None and "cannot be used" in found["reason"]


def test_st_lpips_is_called_as_its_package_wants_it(monkeypatch):
    """A stand-in with the package's interface; the real one was tried by hand."""
    asked = {}

    class LPIPS:
        def __init__(self, **options):
            asked.update(options)

        def __call__(self, a, b):
            assert a.shape == (1, 3, 8, 6) and a.min() >= -1 and a.max() <= 1
            return (a - b).abs().mean((1, 2, 3), keepdim=True)

    package = types.ModuleType("stlpips_pytorch")
    package.stlpips = types.ModuleType("stlpips_pytorch.stlpips")
    package.stlpips.LPIPS = LPIPS
    monkeypatch.setitem(sys.modules, "stlpips_pytorch", package)
    monkeypatch.setitem(sys.modules, "stlpips_pytorch.stlpips", package.stlpips)
    black, white = np.zeros((8, 6, 3), np.uint8), np.full((8, 6, 3), 255, np.uint8)
    monkeypatch.setattr(perceptual, "installed", lambda: True)
    found = perceptual.st_lpips([(black, white), (black, black)])
    assert found["value"] == pytest.approx(1.0) and found["reason"] is None
    assert asked == {"net": "alex", "variant": "shift_tolerant"}
