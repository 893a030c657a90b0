"""Measures against independent implementations and against values known in advance."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from scipy import ndimage

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.orbit import plan_keys
from gs_diffusion_addon.core.run import new_manifest, write_json
from gs_diffusion_addon.core.settings import Ring
from gs_diffusion_addon.engine import metrics
from gs_diffusion_addon.engine.guides import interior
from gs_diffusion_addon.engine.images import read_rgb, read_rgba, to_bytes, write_png
from gs_diffusion_addon.engine.measures import (
    intersection_over_union,
    psnr,
    seam_contrast,
    sharpness,
    ssim,
    warp_error,
)
from tests.engine import synthetic


def scipy_ssim(a, b):
    """SSIM from scipy's own Gaussian filter (radius 5, zeros beyond the border)."""
    x, y = a.astype(np.float64) / 255, b.astype(np.float64) / 255

    def blur(z):
        return ndimage.gaussian_filter(z, (1.5, 1.5, 0), mode="constant", radius=(5, 5, 0))

    mx, my = blur(x), blur(y)
    xx, yy, xy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    top = (2 * mx * my + 1e-4) * (2 * xy + 9e-4)
    return (top / ((mx * mx + my * my + 1e-4) * (xx + yy + 9e-4))).mean()


@pytest.mark.parametrize("noise", [2, 20, 90])
def test_ssim_agrees_with_scipy(noise):
    rng = np.random.default_rng(noise)
    a = to_bytes(ndimage.gaussian_filter(rng.random((45, 61, 3)), (3, 3, 0)) * 2 - 0.5)
    b = np.clip(a + rng.normal(0, noise, a.shape), 0, 255).astype(np.uint8)
    assert ssim(a, b) == pytest.approx(scipy_ssim(a, b), abs=2e-5)
    assert ssim(a, a) == pytest.approx(1, abs=1e-5)


def test_psnr():
    a = np.full((8, 8, 3), 100, np.uint8)
    b = a.copy()
    b[:4] += 10
    assert psnr(a, a) == 100
    assert psnr(a, a + np.uint8(10)) == pytest.approx(20 * np.log10(25.5))
    assert psnr(a, b) == pytest.approx(20 * np.log10(25.5) + 10 * np.log10(2))
    where = np.zeros((8, 8), bool)
    where[:4] = True
    assert psnr(a, b, where) == pytest.approx(20 * np.log10(25.5))


def test_sharpness_falls_with_blur_and_overlap_is_counted():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
    soft = ndimage.gaussian_filter(a.astype(float), (1, 1, 0)).astype(np.uint8)
    everywhere = np.ones((40, 40), bool)
    assert sharpness(soft, everywhere) < 0.3 * sharpness(a, everywhere)
    expected = ndimage.laplace(a @ np.array([0.2126, 0.7152, 0.0722]) / 255, mode="nearest")
    assert sharpness(a, everywhere) == pytest.approx(np.sqrt(np.mean(expected**2)), rel=1e-5)
    left = np.arange(40) < 20
    some = np.arange(40) < 30
    assert intersection_over_union(left, some) == pytest.approx(20 / 30)
    assert intersection_over_union(~everywhere, ~everywhere) == 1


def pair(size=(128, 128), lens=()):
    """Two views 20 degrees apart with exact colors."""
    frames = synthetic.orbit([Ring(5, 18)], size=size, **dict(lens))
    return [synthetic.trace(f.camera)[:2] for f in frames[:2]]


@pytest.mark.parametrize("lens", [{}, {"shift": (7.0, -5.0), "aspect": 1.2}])
def test_consistent_views_have_next_to_no_warp_error(lens):
    (a, color_a), (b, color_b) = pair(lens=lens.items())
    inside = interior(a, 2), interior(b, 2)
    assert warp_error(a, b, *inside, to_bytes(color_a), to_bytes(color_b)) < 1e-5


def test_warp_error_of_a_constant_difference_is_its_square():
    (a, color_a), (b, color_b) = pair()
    inside = interior(a, 2), interior(b, 2)
    darker = to_bytes(0.5 * color_b)
    even = to_bytes(np.full_like(color_a, 0.5)), to_bytes(np.full_like(color_b, 0.4))
    assert warp_error(a, b, *inside, *even) == pytest.approx((26 / 255) ** 2, rel=1e-5)
    assert warp_error(a, b, *inside, to_bytes(color_a), darker) > 0.01


def test_warp_error_of_noise_is_its_variance():
    (a, color_a), (b, color_b) = pair()
    rng = np.random.default_rng(0)
    noisy = to_bytes(0.5 + rng.normal(0, 0.1, color_a.shape))
    gray = to_bytes(np.full_like(color_b, 0.5))
    inside = interior(a, 2), interior(b, 2)
    assert warp_error(a, b, *inside, noisy, gray) == pytest.approx(0.01, rel=0.05)


def test_views_without_a_common_point_have_no_warp_error():
    frames = synthetic.orbit([Ring(0, 2)], size=(48, 48))
    (a, color_a), (b, color_b) = (synthetic.trace(f.camera)[:2] for f in frames)
    nothing = np.zeros((48, 48), bool)
    colors = to_bytes(color_a), to_bytes(color_b)
    assert warp_error(a, b, nothing, interior(b, 2), *colors) is None


def test_interior_leaves_out_inner_silhouettes():
    (a, _), _ = pair()
    _, _, which = synthetic.trace(a.camera)
    inside = interior(a, 2)
    two = ndimage.maximum_filter(which, 3) != ndimage.minimum_filter(which, 3)
    touching = (which == 2) | (ndimage.maximum_filter(which, 3) == 2)  # ball and slab do meet
    assert not inside[two & ~touching].any()
    assert inside.sum() > 0.6 * a.mask.sum()


@pytest.mark.parametrize(("count", "gap"), [(72, 8), (10, 3), (8, 8), (7, 1)])
def test_lags_close_the_loop(count, gap):
    pairs = metrics.lag_pairs(count, gap)
    assert len(pairs["1"]) == count
    assert (count - 1, 0) in pairs["1"]
    assert all((b - a) % count == gap % count for a, b in pairs["key_gap"] + pairs["loop"])
    assert all(a > b or gap == count for a, b in pairs["loop"])
    assert len(pairs["loop"]) == gap
    assert all((b - a) % count == max(1, round(count / 6)) for a, b in pairs["60deg"])


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run whose restyled frames are consistent, whose independent ones are not."""
    settings = synthetic.with_settings(views=12, rings="35:4", keys=4)
    run, frames = synthetic.write_run(tmp_path_factory.mktemp("run"), settings, size=(64, 64))
    rng = np.random.default_rng(0)
    for frame in frames:
        rgba = read_rgba(run.frame(frame.frame))
        run.stylized.mkdir(parents=True, exist_ok=True)
        shutil.copy(run.frame(frame.frame), run.stylized_frame(frame.frame))
        off = rgba.copy()
        off[..., :3] = np.where(
            rgba[..., 3:] > 0, np.minimum(off[..., :3].astype(int) + 10, 255), 0
        )
        write_png(run.render(frame.frame), off)
        if frame.ring == 0:
            gain = rng.uniform(0.6, 1.0, 3)
            write_png(
                run.independent / f"r_{frame.frame}.png", to_bytes(rgba[..., :3] / 255 * gain)
            )
    for k in plan_keys(settings):
        write_png(run.key(k), read_rgb(run.frame(k)))
    manifest = new_manifest(settings, "1.0")
    states = {"0/turntable": ("done", 12.5), "1/train": ("done", 30.0)}
    states |= {"1/render": ("running", 1.0), "2/train": ("done", 99.0)}
    key = {"settings": "", "inputs": ""}
    manifest["stages"] = {
        name: {"state": state, "seconds": seconds, "key": key}
        for name, (state, seconds) in states.items()
    }
    write_json(run.manifest, manifest)
    write_json(run.folder / "propagation.json", {"coverage": 0.987, "frames": {}})
    return run, settings, metrics.measure(run, settings)


def test_metrics_have_the_promised_keys_and_survive_json(measured):
    _, _, found = measured
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found["warp_error"]) == {"source", "stylized_independent", "propagated", "splat"}
    for lags in found["warp_error"].values():
        assert set(lags) == {"1", "key_gap", "60deg", "loop"}
        assert all(set(entry) == {"raw", "over_source"} for entry in lags.values())
    assert found["coverage"] == 0.987
    assert found["seconds"] == {"turntable": 12.5, "train": 30.0}
    assert found["test"]["on_ring"]["frames"] + found["test"]["off_ring"]["frames"] >= 5


def test_metrics_tell_consistent_from_inconsistent(measured):
    _, _, found = measured
    table = found["warp_error"]
    for lag in ("1", "key_gap", "60deg", "loop"):
        assert table["source"][lag]["over_source"] == 1
        assert table["propagated"][lag]["over_source"] == 1
        assert table["stylized_independent"][lag]["raw"] > 20 * table["propagated"][lag]["raw"]
    assert found["l1_keys"] == 0
    assert found["silhouette_iou"] == 1
    assert found["sharpness"]["propagated_over_keys"] > 0.5


def test_held_out_quality_is_what_was_put_in(measured):
    _, _, found = measured
    # Renders are the frames plus 10 levels inside the silhouette (a little less where they clip).
    assert found["psnr_test_object"] == pytest.approx(20 * np.log10(25.5), abs=0.3)
    assert found["psnr_test"] > found["psnr_test_object"] + 3
    assert 0.5 < found["ssim_test"] < 1


def test_what_is_not_there_is_null(measured, tmp_path):
    run, settings, _ = measured
    other = tmp_path / "run"
    shutil.copytree(run.root, other)
    bare = type(run)(other, 1)
    for folder in (bare.renders, bare.independent):
        shutil.rmtree(folder)
    (bare.folder / "propagation.json").unlink()
    bare.manifest.unlink()
    found = metrics.measure(bare, settings)
    assert found["warp_error"]["stylized_independent"] is None
    assert found["warp_error"]["splat"] is None
    assert found["warp_error"]["propagated"] is not None
    for name in ("psnr_test", "psnr_test_object", "ssim_test", "coverage", "silhouette_iou"):
        assert found[name] is None
    assert found["seconds"] == {}
    bare.transforms_main.unlink()
    with pytest.raises(InputError, match="does not exist"):
        metrics.measure(bare, settings)


def test_splats_are_counted_from_the_header(tmp_path):
    path = tmp_path / "x.ply"
    path.write_bytes(b"ply\nformat binary_little_endian 1.0\nelement vertex 42\nend_header\n\x00")
    assert metrics.splat_count(path) == 42
    assert metrics.splat_count(tmp_path / "none.ply") is None


def test_seam_contrast_sees_a_step_and_nothing_in_noise():
    rng = np.random.default_rng(0)
    noise = rng.integers(90, 110, (64, 64, 1)).repeat(3, 2).astype(np.uint8)
    label = np.zeros((64, 64), int)
    label[:, 32:] = 1
    inside = np.ones((64, 64), bool)
    across, beside = seam_contrast(noise, label, inside)
    assert 0.8 < across / beside < 1.2
    noise[:, 32:] += 60
    across, beside = seam_contrast(noise, label, inside)
    assert across / beside > 5
    assert seam_contrast(noise, label * 0, inside) == (0.0, 0.0)
