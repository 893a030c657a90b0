"""Geometry out of splats, and frames out of videos and bent lenses, against exact scenes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gs_diffusion_addon.core import upstream as folders
from gs_diffusion_addon.core.exr import read_guide
from gs_diffusion_addon.core.ply import Points, Splats, write_splats
from gs_diffusion_addon.core.run import read_json
from gs_diffusion_addon.core.settings import Ring, Settings
from gs_diffusion_addon.engine import drift, upstream
from gs_diffusion_addon.engine.dataset import surface_sample
from gs_diffusion_addon.engine.guides import read_view
from gs_diffusion_addon.engine.images import read_rgba, write_png
from gs_diffusion_addon.engine.splat.dataset import World
from gs_diffusion_addon.engine.splat.drawing import render
from gs_diffusion_addon.engine.splat.initialize import from_points
from gs_diffusion_addon.engine.splat_guides import draw_depth, normals_of, write_guide
from tests.engine import synthetic


def splats_on(frames, more=()):
    """Opaque discs on the scene's surface, and on ``more`` points (N, 3)."""
    rng = np.random.default_rng(0)
    parts = [surface_sample(synthetic.trace(f.camera)[0], 900, rng) for f in frames]
    places = np.concatenate([p for p, _ in parts] + [np.asarray(more).reshape(-1, 3)])
    normals = np.concatenate([n for _, n in parts] + [np.zeros((len(more), 3))])
    colors = np.full(places.shape, 128, np.uint8)
    world = World.of([f.camera for f in frames])
    points = Points(places.astype(np.float32), normals.astype(np.float32), colors)
    local = from_points(points, world, len(places), 0, 0)
    out = world.splats_out(local)
    return Splats(out.means, out.sh, np.full_like(out.opacities, 4.0), out.scales, out.quats)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A run whose geometry is known, and a splat that fits it."""
    settings = synthetic.with_settings(views=8, rings="none", keys=4)
    run, frames = synthetic.write_run(tmp_path_factory.mktemp("run"), settings, size=(96, 96))
    return run, frames, splats_on(frames)


def test_depth_and_normals_of_a_splat_are_the_surfaces(scene, tmp_path):
    _, frames, splats = scene
    camera = frames[1].camera
    truth, _, _ = synthetic.trace(camera)
    drawn = draw_depth(splats, camera)
    both = truth.mask & drawn.mask
    assert both.sum() > 0.95 * truth.mask.sum()
    assert np.median(np.abs(drawn.depth - truth.depth)[both]) < 0.05
    normal = normals_of(camera, drawn.depth, drawn.mask)
    angle = np.degrees(np.arccos(np.clip((normal * truth.normal).sum(-1)[both], -1, 1)))
    assert np.median(angle) < 12
    write_guide(tmp_path / "g.exr", camera, drawn.depth, normal, drawn.mask.astype(np.int32))
    guide = read_guide(tmp_path / "g.exr")
    assert (guide.mask == drawn.mask).all() and (guide.index[drawn.mask] == 1).all()
    rows, columns = np.nonzero(guide.mask)
    pixels, depth = camera.project(guide.position[rows, columns])
    np.testing.assert_allclose(pixels, np.stack([columns + 0.5, rows + 0.5], 1), atol=1e-3)
    np.testing.assert_allclose(depth, guide.depth[rows, columns], rtol=1e-5)


def follow(run, splats):
    second = run.at(2)
    write_splats(run.at(1).splat, splats)
    (second.folder / "drift.json").unlink(missing_ok=True)
    said = []
    drift.follow(second, Settings(), lambda event, **f: said.append((event, f)))
    return second, read_json(second.folder / "drift.json"), said


def test_a_splat_on_the_model_leaves_its_guides_alone(scene):
    second, found, said = follow(scene[0], scene[2])
    assert found["frames_replaced"] == 0 and found["share"] == 0 and found["distance"] < 0.05
    assert not second.own_guide(1).exists() and "warning" not in dict(said)


def test_a_horn_comes_into_the_guides_and_the_alpha(scene):
    run, frames, _ = scene
    rng = np.random.default_rng(1)
    horn = np.array([0.0, 0.0, 1.35]) + 0.25 * rng.normal(size=(400, 3)) * (0.5, 0.5, 1)
    splats = splats_on(frames, horn)
    second, found, said = follow(run, splats)
    assert found["frames_replaced"] == len(frames) and 0.01 < found["share"] < 0.2
    assert "left the model in 8 of 8 views" in dict(said)["warning"]["message"]
    frame = frames[2]
    write_png(run.at(1).render(frame.frame), render(splats, frame.camera))
    plain, own = read_view(run, frame), read_view(second, frame)
    grown = own.mask & ~plain.mask
    # The cloud's middle is where the horn is
    places = frame.camera.unproject(np.argwhere(grown)[:, ::-1] + 0.5, own.depth[grown])
    assert np.abs(np.median(places, axis=0) - (0, 0, 1.5)).max() < 0.35
    same = plain.mask & own.mask
    assert (own.depth[same] == plain.depth[same]).mean() > 0.9
    turntable = read_rgba(run.frame(frame.frame))[..., 3]
    alpha = drift.alpha(second, frame, own, turntable)
    assert alpha[grown].mean() > 150 and turntable[grown].mean() < 5
    assert (drift.alpha(run.at(1), frame, plain, turntable) == turntable).all()


def test_materials_are_told_apart_where_the_splat_left_the_model_too(scene, tmp_path):
    run, frames, splats = scene
    frame = frames[2]
    guide = read_guide(run.guide(frame.frame))
    guide = replace(guide, material=np.where(guide.mask, 3, 0).astype(np.int32))
    drawn = draw_depth(splats, frame.camera)
    apart = np.zeros(guide.mask.shape, bool)
    apart[:40] = True
    write_guide(tmp_path / "own.exr", frame.camera, *drift.merged(frame, guide, drawn, apart))
    own = read_guide(tmp_path / "own.exr")
    assert (own.mask != guide.mask).any() and (own.material == np.where(own.mask, 3, 0)).all()


def test_a_plain_border_becomes_transparent_and_only_that():
    picture = np.full((40, 40, 3), 250, np.uint8)
    picture[10:30, 10:30] = (90, 40, 20)
    picture[18:22, 18:22] = 250  # the same white inside the model stays
    rgba = upstream.keyed(picture)
    assert (rgba[:9, :, 3] == 0).all() and (rgba[10:30, 10:30, 3] == 255).all()
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    assert (upstream.keyed(noise)[..., 3] == 255).all()


def test_a_bent_picture_becomes_straight():
    camera = synthetic.camera(size=(120, 90))
    lens = folders.Lens(k1=-0.2, k2=0.03, p1=0.01, p2=-0.008)
    y, x = np.mgrid[0:90, 0:120]
    straight = np.zeros((90, 120, 4), np.uint8)
    straight[..., 3] = 255
    for c, wave in enumerate((x / 9, y / 7, (x + y) / 11)):
        straight[..., c] = 128 + 100 * np.sin(wave)
    # Bend it by solving for the ray that OpenCV's model takes to each pixel
    u, v = (x + 0.5 - camera.cx) / camera.fl_x, (y + 0.5 - camera.cy) / camera.fl_y
    a, b = u.copy(), v.copy()
    for _ in range(60):
        r = a * a + b * b
        radial = 1 + lens.k1 * r + lens.k2 * r * r
        a = (u - 2 * lens.p1 * a * b - lens.p2 * (r + 2 * a * a)) / radial
        b = (v - lens.p1 * (r + 2 * b * b) - 2 * lens.p2 * a * b) / radial
    row, column = b * camera.fl_y + camera.cy - 0.5, a * camera.fl_x + camera.cx - 0.5
    bent = np.zeros_like(straight)
    bent[..., 3] = 255
    for c, wave in enumerate((column / 9, row / 7, (column + row) / 11)):
        bent[..., c] = 128 + 100 * np.sin(wave)
    out = upstream.undistorted(bent, camera, lens).astype(int)
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(bent.astype(int) - straight)[inner].max() > 25
    assert np.abs(out - straight)[inner].max() < 8


def test_rings_are_told_from_other_paths():
    ring = [f.camera for f in synthetic.orbit([Ring(5, 12)])]
    assert upstream.on_a_ring(ring) and upstream.on_a_ring(ring[::-1])
    assert not upstream.on_a_ring(ring[:6]) and not upstream.on_a_ring(ring[::2] + ring[1::2])
