"""Between iterations: what is restyled, the splat as a guide, a warm start, what is measured."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from gs_diffusion_addon.core.orbit import plan_keys
from gs_diffusion_addon.core.ply import Splats, write_splats
from gs_diffusion_addon.core.run import write_json
from gs_diffusion_addon.engine import metrics_loop
from gs_diffusion_addon.engine.guides import read_view, ring
from gs_diffusion_addon.engine.images import read_rgba, write_png
from gs_diffusion_addon.engine.likeness import cosine, style_of, subject
from gs_diffusion_addon.engine.report_history import history_curves
from gs_diffusion_addon.engine.splat.dataset import Dataset, World
from gs_diffusion_addon.engine.stylize import run_stage
from gs_diffusion_addon.engine.stylize.reroll import reroll
from gs_diffusion_addon.engine.stylize.sources import mixed, prepare_sources, toward
from gs_diffusion_addon.engine.train.session import first_splats
from tests.engine import synthetic

SETTINGS = {"views": 10, "rings": "none", "keys": 4, "sides": 2, "stylizer": "preview",
            "style": "3", "compare_independent": "no", "page_size": 256}  # fmt: skip


@pytest.fixture
def second(tmp_path):
    """A run before its second iteration, whose splat is twice as dark as the turntable."""
    settings = synthetic.with_settings(**SETTINGS)
    run, frames = synthetic.write_run(tmp_path, settings, size=(48, 48))
    for f in frames:
        rgba = read_rgba(run.frame(f.frame))
        rgba[..., :3] //= 2
        write_png(run.at(1).render(f.frame), rgba)
    return run.at(2), settings, frames


@pytest.mark.parametrize(("source", "share"), [("original", 0.0), ("blend", 0.25)])
def test_sources_are_the_turntable_or_a_mix(second, source, share):
    run, settings, frames = second
    prepare_sources(run, synthetic.with_settings(**SETTINGS, source=source, source_blend=0.25))
    for f in frames:
        turntable, shown = read_rgba(run.frame(f.frame)), read_rgba(run.source(f.frame))
        assert run.source(f.frame).parent == run.sources
        opaque = turntable[..., 3] == 255
        expected = turntable[opaque][:, :3] * (1 - share / 2)
        assert np.abs(shown[opaque][:, :3] - expected).max() <= 1.01
    assert settings.source == "last"
    shutil.rmtree(run.sources)
    prepare_sources(run, settings)
    assert not run.sources.exists()


def test_mixing_keeps_colors_where_only_one_shows_something():
    a, b = np.zeros((1, 2, 4), np.uint8), np.zeros((1, 2, 4), np.uint8)
    a[0, 0], b[0, 1] = (200, 100, 50, 255), (20, 40, 60, 255)
    both = mixed(a, b, 0.25)
    assert both[0, 0].tolist() == [200, 100, 50, 191] and both[0, 1].tolist() == [20, 40, 60, 64]


def test_the_guide_moves_broad_colors_and_keeps_detail():
    rng = np.random.default_rng(0)
    detail = rng.integers(-20, 20, (96, 96, 3))
    styled = np.clip(100 + detail, 0, 255).astype(np.uint8)
    guide = np.full((96, 96, 4), 160, np.uint8)
    guide[..., 3] = 255
    moved = toward(styled, guide, 0.5).astype(int)
    assert moved.mean() == pytest.approx(130, abs=1)
    assert np.corrcoef((moved - moved.mean()).ravel(), detail.ravel())[0, 1] > 0.98
    guide[..., 3] = 0
    assert (toward(styled, guide, 1.0) == styled).all()


def test_keys_of_the_original_follow_the_last_splat_as_a_guide(second):
    run, _, _ = second
    keys = {}
    for guide in (0.0, 1.0):
        settings = synthetic.with_settings(**SETTINGS, source="original", splat_guide=guide)
        run_stage(run, settings, lambda event, **fields: None)
        pictures = [read_rgba(run.key(k)) for k in plan_keys(settings)]
        masks = [read_rgba(run.frame(k))[..., 3] == 255 for k in plan_keys(settings)]
        keys[guide] = np.mean([p[m][:, :3].mean() for p, m in zip(pictures, masks, strict=True)])
        shutil.rmtree(run.folder)
    splat = np.mean([read_rgba(run.at(1).render(k))[m][:, :3].mean()
                     for k, m in zip(plan_keys(settings), masks, strict=True)])  # fmt: skip
    assert abs(keys[1.0] - splat) < 0.3 * abs(keys[0.0] - splat)
    fresh = run.root / "reroll.png"  # a key that is made anew follows it, too
    reroll(run, settings, plan_keys(settings)[0], 7, fresh, lambda event, **fields: None)
    again = read_rgba(fresh)[masks[0]][:, :3].mean()
    assert abs(again - splat) < 0.5 * abs(keys[0.0] - splat)


def test_a_warm_start_is_the_last_splat(second):
    run, _, frames = second
    rng = np.random.default_rng(1)
    n = 60
    splats = Splats(
        rng.normal(size=(n, 3)).astype(np.float32),
        rng.normal(size=(n, 4, 3)).astype(np.float32),
        np.full(n, 9.0, np.float32),
        np.full((n, 3), -3.0, np.float32),
        rng.normal(size=(n, 4)).astype(np.float32),
    )
    write_splats(run.at(1).splat, splats)
    world = World.of([f.camera for f in frames])
    settings = synthetic.with_settings(**SETTINGS, warm_start=True)
    first = first_splats(run, settings, lambda event, **fields: None, Dataset([], [], world))
    np.testing.assert_allclose(world.splats_out(first).means, splats.means, atol=1e-5)
    assert (first.sh == splats.sh).all() and first.opacities.max() < 5


def test_the_change_is_the_mean_difference_inside_the_silhouettes(second):
    run, _, frames = second
    for f in frames:
        rgba = read_rgba(run.at(1).render(f.frame))
        rgba[..., :3][rgba[..., 3] > 0] += 10
        write_png(run.render(f.frame), rgba)
    found = metrics_loop.change(run, frames, 1)
    assert found["mean"] == pytest.approx(10 / 255, rel=0.02)
    assert metrics_loop.change(run.at(1), frames, 1)["mean"] is None


def test_style_likeness_tells_the_keys_style_from_the_turntables(second):
    run, settings, frames = second
    run_stage(run, settings, lambda event, **fields: None)
    for k in plan_keys(settings):
        shutil.copy(run.key(k), run.stylized / f"r_{k}.png") if run.stylized.exists() else None
    circle = ring(frames)
    views = [read_view(run, f) for f in circle]
    figures = metrics_loop.style_likeness(run, settings, circle, views, 1)
    assert figures["propagated"] is None and -1 <= figures["source"] < 0.99
    key = read_rgba(run.key(0))[..., :3]
    other = subject(np.roll(key, 30, axis=2), views[0].mask)
    own = style_of([subject(key, views[0].mask)])
    assert cosine(own, own) == pytest.approx(1)
    assert cosine(own, style_of([255 - other])) < 0.95 and cosine(own, None) is None


def test_the_history_has_a_line_an_iteration_and_gives_the_curves(second):
    run, _, _ = second
    lags = {lag: {"raw": 1e-3, "over_source": 1.0} for lag in ("1", "key_gap", "60deg", "loop")}
    for k in (1, 2):
        write_json(
            run.at(k).metrics,
            {
                "warp_error": {"propagated": lags, "splat": None},
                "psnr_test": 20.0 + k,
                "psnr_test_object": 18.0 + k,
                "change": {"mean": None if k == 1 else 0.02},
                "seconds": {"turntable": 99.0, "train": 2.0, "render": 1.0},
            },
        )
    rows = metrics_loop.history(run)
    assert [r["iteration"] for r in rows] == [1, 2]
    assert rows[1]["warp_before"]["60deg"] == 1e-3 and rows[1]["warp_after"] is None
    drawn = {c.title: dict(c.lines) for c in history_curves(rows)}
    assert drawn["Warp error, 60° apart, × 10⁴"]["before splatting"] == [10.0, 10.0]
    assert drawn["Change from the last iteration, % of full range"]["splat"] == [None, 2.0]
    assert drawn["Seconds an iteration"]["all stages"] == [3.0, 3.0]
    assert "Sharpness" not in drawn and history_curves(rows[:1]) == []
