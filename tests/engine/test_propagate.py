"""Reprojection on an analytic scene: exact geometry and colors to compare with."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.orbit import plan_keys
from gs_diffusion_addon.core.settings import Ring
from gs_diffusion_addon.engine import propagate
from gs_diffusion_addon.engine.guides import View, depth_edges, feather_map
from gs_diffusion_addon.engine.images import read_rgb, read_rgba, to_bytes, write_png
from gs_diffusion_addon.engine.propagate import Painted, finish, kernel, unmixed
from gs_diffusion_addon.engine.propagate.pushpull import fill
from gs_diffusion_addon.engine.propagate.reproject import KeySet, crispened, reproject
from tests.engine import synthetic


def keys_of(frames, scale=1.0, color=None, mode="soft") -> KeySet:
    views, pictures = [], []
    for frame in frames:
        view, colors, _ = synthetic.trace(frame.camera, scale)
        pixels = colors if color is None else color(view, colors)
        views.append(view)
        pictures.append(to_bytes(pixels))
    return KeySet.of(views, np.stack(pictures), mode)


def key_ring(**more):
    return synthetic.orbit([Ring(5, 9), Ring(45, 4)], **more)


@pytest.mark.parametrize("mode", ["soft", "hard", "hidden"])
@pytest.mark.parametrize(
    "lens",
    [
        {},
        {"size": (128, 80), "shift": (9.5, -6.0)},
        {"size": (80, 128), "aspect": 1.25},
    ],
    ids=["square", "shifted landscape", "portrait with wide pixels"],
)
def test_colors_come_back_for_every_lens(lens, mode):
    keys = keys_of(key_ring(**lens), mode=mode)
    target = synthetic.orbit([Ring(12, 7)], **lens)[3]
    view, truth, _ = synthetic.trace(target.camera)
    color, label = reproject(view, keys)
    known = (label >= 0) & view.mask
    error = np.abs(color - truth)[known]
    assert known.sum() > 0.97 * view.mask.sum()
    assert error.mean() < 0.6 / 255
    # Where ball and slab touch, a sample may take a pixel of the other: one in a thousand.
    assert np.quantile(error, 0.999) < 12 / 255
    assert (label[~view.mask] == -1).all()


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_scale_does_not_matter(scale):
    target = synthetic.orbit([Ring(12, 7)])[3]
    view, _, _ = synthetic.trace(target.camera)
    expected, _ = reproject(view, keys_of(key_ring()))
    scaled = synthetic.orbit([Ring(12, 7)], scale=scale)[3]
    other, _, _ = synthetic.trace(scaled.camera, scale)
    color, _ = reproject(other, keys_of(key_ring(scale=scale), scale))
    # A pixel on the rim may fall on the other side of a threshold in float32.
    assert np.mean(np.abs(color - expected).max(-1) > 1 / 255) < 2e-3


def test_far_from_the_origin():
    offset = np.array([4e4, -2e4, 1e4])

    def moved(frame):
        matrix = frame.camera.matrix.copy()
        matrix[:3, 3] += offset
        view, colors, _ = synthetic.trace(frame.camera)
        camera = synthetic.dataclasses.replace(frame.camera, matrix=matrix)
        return View(camera, view.depth, view.normal), colors

    keys = [moved(f) for f in key_ring()]
    stacked = KeySet.of([v for v, _ in keys], np.stack([to_bytes(c) for _, c in keys]))
    view, truth = moved(synthetic.orbit([Ring(12, 7)])[3])
    color, label = reproject(view, stacked)
    assert np.abs(color - truth)[label >= 0].mean() < 0.6 / 255


@pytest.mark.parametrize("mode", ["soft", "hard", "hidden"])
def test_neither_background_nor_the_ball_in_front_bleeds(mode):
    """Keys on a screaming green background with a blue object and a red ball before it."""

    def paint(view, colors):
        red = (colors[..., :1] > 0.9) & (colors[..., 1:2] < 0.1)
        flat = np.where(red, [1.0, 0.0, 0.0], [0.0, 0.0, 1.0])
        return np.where(view.mask[..., None], flat, [0.0, 1.0, 0.0])

    keys = keys_of(
        synthetic.orbit([Ring(5, 9), Ring(45, 4)], size=(128, 128)), color=paint, mode=mode
    )
    for target in synthetic.orbit([Ring(15, 6)], size=(128, 128)):
        view, _, which = synthetic.trace(target.camera)
        color, label = reproject(view, keys)
        out = finish(Painted(color, label >= 0), np.where(view.mask, 255, 0).astype(np.uint8))
        known = label >= 0
        assert out[view.mask][:, 1].max() == 0
        assert color[known & (which == 1)][:, 2].max(initial=0) < 0.02
        assert color[known & (which != 1)][:, 0].max(initial=0) < 0.02


def test_raw_normals_that_face_away_are_turned():
    target = synthetic.orbit([Ring(12, 7)])[3]
    view, _, _ = synthetic.trace(target.camera)
    keys = keys_of(key_ring())
    expected, _ = reproject(view, keys)
    turned = View(view.camera, view.depth, -view.normal)
    color, label = reproject(turned, keys)
    # Only the rim, where facing is undecided, may differ.
    same = np.abs(color - expected).max(-1) < 1e-6
    assert same[view.mask].mean() > 0.9
    assert (label >= 0)[view.mask].mean() > 0.9


@pytest.mark.parametrize("mode", ["soft", "hard", "hidden"])
def test_a_point_gets_one_color_whatever_frame_shows_it(mode):
    """Wildly different keys: the same surface point must look alike in all frames, the seam
    included.
    """
    rng = np.random.default_rng(3)
    keys = keys_of(
        key_ring(), color=lambda view, colors: np.ones_like(colors) * rng.random(3), mode=mode
    )
    frames = synthetic.orbit([Ring(5, 24)])
    colors = []
    point = np.array([0.1, -0.95, -0.3])
    point /= np.linalg.norm(point)
    for frame in (frames[23], frames[0], frames[1]):
        view, _, which = synthetic.trace(frame.camera)
        picture, _ = reproject(view, keys)
        (u, v), _ = frame.camera.project(point)
        assert which[int(v), int(u)] == 0
        colors.append(picture[int(v), int(u)])
    assert np.ptp(colors, axis=0).max() < 0.03


def test_depth_edges_are_steps_and_not_slopes():
    _, x = np.mgrid[0:32, 0:32].astype(np.float32)
    steep = 1 / (0.2 + 0.004 * x)  # a plane, seen at a grazing angle
    assert not depth_edges(steep.astype(np.float32), 40.0).any()
    step = np.where(x < 16, 5.0, 6.0).astype(np.float32)
    columns = np.nonzero(depth_edges(step, 40.0)[8])[0]
    assert columns.tolist() == [15, 16]


def test_feather_grows_from_the_silhouette():
    frame = synthetic.orbit([Ring(5, 9)], size=(256, 256))[4]
    view, _, _ = synthetic.trace(frame.camera)
    feather = feather_map(view)
    assert feather[~view.mask].max() == 0
    assert feather[view.mask].min() > 0
    row = feather[110][view.mask[110]]
    assert row[0] < 0.01
    assert row[len(row) // 2] == 1
    assert np.all(np.diff(row[:4]) >= 0)


def test_feather_does_not_depend_on_the_room_around_the_model():
    frame = synthetic.orbit([Ring(5, 9)], size=(160, 160))[4]
    view, _, _ = synthetic.trace(frame.camera)
    for mask in (view.mask, np.roll(view.mask, -60, 0)):  # the second one is cut by the border
        depth = np.where(mask, np.float32(5), np.float32(1e10))
        inside = np.pad(mask, 1)
        distance = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
        width = 6.0 * 160 / 512
        expected = np.where(mask, np.clip((distance - 1) / width, 1e-3, 1), 0)
        found = feather_map(View(view.camera, depth, view.normal))
        assert np.array_equal(found, expected.astype(np.float32))


def test_crispening_adds_a_thirteenth_of_the_laplacian_inside_the_mask():
    rng = np.random.default_rng(5)
    color = rng.integers(0, 256, (21, 34, 3)).astype(np.uint8)
    mask = rng.random((21, 34)) < 0.8
    expected = color.astype(np.float64)
    for y, x in np.argwhere(mask):
        for j, i in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
            if 0 <= j < 21 and 0 <= i < 34 and mask[j, i]:
                expected[y, x] += (color[y, x] - color[j, i].astype(float)) / 13
    difference = crispened(color, mask) - np.clip(expected, 0, 255)
    assert np.abs(difference).max() <= 0.501
    assert np.array_equal(crispened(color, mask)[~mask], color[~mask])


def test_push_pull_fills_only_what_is_wanted():
    rng = np.random.default_rng(6)
    picture = rng.random((19, 30, 3)).astype(np.float32)
    known, wanted = rng.random((2, 19, 30)) < 0.5
    picture[~known] = np.nan
    whole, part = fill(picture, known), fill(picture, known, wanted)
    assert np.isfinite(whole).all()
    assert np.array_equal(part[known | wanted], whole[known | wanted])
    assert not part[~(known | wanted)].any()


def test_push_pull_keeps_what_is_known_and_interpolates_the_rest():
    h, w = 37, 53
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    picture = np.stack([x / w, y / h, np.full_like(x, 0.25)], -1)
    known = np.ones((h, w), bool)
    known[10:20, 15:30] = False
    known[0, 0] = False
    filled = fill(np.where(known[..., None], picture, 99).astype(np.float32), known)
    assert np.array_equal(filled[known], picture[known])
    assert np.abs(filled - picture)[~known].max() < 0.16
    assert np.allclose(filled[..., 2], 0.25, atol=1e-6)
    assert not fill(picture, np.zeros((h, w), bool)).any()


def test_fringe_takes_its_color_from_inside():
    alpha = np.zeros((16, 16), np.uint8)
    alpha[4:12, 4:12], alpha[3, 4:12] = 255, 90
    known = alpha == 255
    color = np.where(known[..., None], [0.2, 0.4, 0.6], [1.0, 0.0, 1.0]).astype(np.float32)
    out = finish(Painted(color, known), alpha)
    assert np.array_equal(out[..., 3], alpha)
    assert np.array_equal(out[3, 6, :3], [51, 102, 153])
    assert not out[0, 0].any()
    assert not finish(Painted(color, known), np.zeros_like(alpha)).any()


# --- thin and transparent parts ------------------------------------------------------------------


def test_the_backdrop_is_taken_out_of_what_it_shows_through():
    rng = np.random.default_rng(7)
    model, alpha = rng.random((40, 50, 3)), np.zeros((40, 50), np.uint8)
    alpha[10:30, 20] = 160  # a wire thinner than a pixel
    alpha[10:30, 30:40] = 200  # a glass
    alpha[10:30, 25] = 255
    behind = np.array([0.1, 0.9, 0.3])
    share = alpha[..., None] / 255
    key = to_bytes(share * model + (1 - share) * behind)
    found = unmixed(key, alpha, alpha > 0)
    assert np.abs(found[alpha > 0] / 255 - model[alpha > 0]).max() < 0.01
    assert np.array_equal(found[alpha == 0], key[alpha == 0])
    assert np.array_equal(found[alpha == 255], key[alpha == 255])
    opaque = np.full_like(alpha, 255)
    assert np.array_equal(unmixed(key, opaque, alpha > 0), key)


def test_wires_a_pixel_thick_keep_their_color(monkeypatch):
    """Red beads of 1 to 2 pixels before a blue ball and before a green backdrop, antialiased."""
    beads = [(1.25 * np.cos(a), 1.25 * np.sin(a), z, 0.03) for z in (0.2, 1.15)
             for a in np.linspace(0, 2 * np.pi, 12, endpoint=False)]  # fmt: skip
    monkeypatch.setattr(synthetic, "BALLS", ((0.0, 0.0, 0.0, 0.8), *beads))
    monkeypatch.setattr(synthetic, "SLAB", ((-0.3, -0.3, -1.0), (0.3, 0.3, -0.9)))

    def shot(number):
        """Geometry at the pixels' centers, the picture over green and its alpha 3 x 3 finer."""
        fine, coarse = (synthetic.orbit([Ring(8, 18)], size=(s, s))[number] for s in (288, 96))
        _, _, which = synthetic.trace(fine.camera)
        view, _, center = synthetic.trace(coarse.camera)
        bead = (which > 0) & (which <= len(beads))
        flat = np.where(bead[..., None], [1.0, 0, 0], [0, 0, 1.0])
        flat[which < 0] = 0, 1, 0
        mean = [a.reshape(96, 3, 96, 3, -1).mean((1, 3)) for a in (flat, which >= 0)]
        kind = np.where(center < 0, -1, (center > 0) & (center <= len(beads)))
        return view, to_bytes(mean[0]), to_bytes(mean[1][..., 0]), kind

    shots = [shot(k) for k in range(0, 18, 3)]
    views = [view for view, *_ in shots]
    keys = np.stack([unmixed(c, a, v.mask) for v, c, a, _ in shots])
    view, _, alpha, kind = shot(4)
    for mode in ("soft", "hard", "hidden"):
        color, label = reproject(view, KeySet.of(views, keys, mode))
        out = finish(Painted(color, label >= 0), alpha)[..., :3] / 255
        assert (label >= 0)[view.mask].mean() > 0.95
        wire, ball = out[kind == 1], out[kind == 0]
        assert len(wire) > 25
        assert wire[:, 1].mean() < 0.02 and wire[:, 0].mean() > 0.75
        assert ball[:, 1].mean() < 0.01 and ball[:, 2].mean() > 0.95


def test_what_no_key_sees_between_strands_is_not_given_the_strands_color():
    camera = synthetic.camera((40, 40))
    strands = np.zeros((40, 40), bool)
    strands[:, 10:30:4] = True
    depth = np.where(strands, 3.0, 5.0).astype(np.float32)
    view = View(camera, depth, np.broadcast_to(np.float32([0, 0, 1]), (40, 40, 3)).copy())
    canvas = kernel.Canvas.blank((40, 40))
    canvas.label[:] = 0
    canvas.label[:, 11:29][~strands[:, 11:29]] = -1
    canvas.color[:] = np.where(strands[..., None], [1, 0, 0], [0, 0, 1])
    canvas.color[canvas.label < 0] = 0
    kernel.close(canvas, view, 7)
    assert (canvas.label >= 0).mean() > 0.95
    made = canvas.label == 7
    assert made.sum() > 200 and np.allclose(canvas.color[made], [0, 0, 1])
    # A hole in one surface only is left to be filled smoothly, or from patches.
    alone = kernel.Canvas.blank((40, 40))
    alone.label[:, :10] = 0
    kernel.close(alone, View(camera, np.full((40, 40), np.float32(5)), view.normal), 7)
    assert (alone.label[:, 10:] == -1).all()


# --- the stage ------------------------------------------------------------------------------------


class Events(list):
    def __call__(self, event, **fields):
        self.append((event, fields))

    def frames(self):
        return [fields["frame"] for event, fields in self if event == "frame_done"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A turntable with its keys, propagated once; keys are frames on a garish background."""
    settings = synthetic.with_settings()
    run, frames = synthetic.write_run(tmp_path_factory.mktemp("run"), settings, size=(64, 64))
    for k in plan_keys(settings):
        rgba = read_rgba(run.frame(k))
        garish = np.array([255, 0, 255], np.uint8)
        write_png(run.key(k), np.where(rgba[..., 3:] > 0, rgba[..., :3], garish))
    events = Events()
    propagate.run_stage(run, settings, events)
    return run, settings, frames, events


def test_stage_writes_every_frame_with_the_renders_alpha(finished):
    run, _, frames, events = finished
    assert sorted(events.frames()) == [f.frame for f in frames]
    for frame in frames:
        out, source = read_rgba(run.stylized_frame(frame.frame)), read_rgba(run.frame(frame.frame))
        assert np.array_equal(out[..., 3], source[..., 3])
        seen = source[..., 3] > 0
        difference = np.abs(out[seen].astype(int) - source[seen])
        assert difference.mean() < 2
    notes = json.loads((run.folder / "propagation.json").read_text())
    assert set(notes["frames"]) == {str(f.frame) for f in frames}
    assert 0.97 < notes["coverage"] <= 1
    assert notes["coverage"] == pytest.approx(np.mean(list(notes["frames"].values())), abs=1e-4)


def test_stage_resumes_without_doing_a_frame_twice_and_bit_for_bit(finished):
    run, settings, _, _ = finished
    lost = [2, 13]
    before = {k: run.stylized_frame(k).read_bytes() for k in lost}
    untouched = run.stylized_frame(0).stat().st_mtime_ns
    for k in lost:
        run.stylized_frame(k).unlink()
    events = Events()
    one_thread = synthetic.dataclasses.replace(settings, threads=1)
    propagate.run_stage(run, one_thread, events)
    assert events.frames() == lost
    assert run.stylized_frame(0).stat().st_mtime_ns == untouched
    assert {k: run.stylized_frame(k).read_bytes() for k in lost} == before
    again = Events()
    propagate.run_stage(run, settings, again)
    assert again.frames() == []


def test_none_keeps_the_keys_own_picture(tmp_path):
    settings = synthetic.with_settings(views=8, rings="none", propagator="none")
    run, frames = synthetic.write_run(tmp_path, settings, size=(32, 32))
    for k in plan_keys(settings):
        write_png(run.key(k), np.full((32, 32, 3), 10 * k, np.uint8))
    propagate.run_stage(run, settings, Events())
    for frame in frames:
        out = read_rgba(run.stylized_frame(frame.frame))
        assert np.array_equal(out[..., 3], read_rgba(run.frame(frame.frame))[..., 3])
        assert (out[out[..., 3] > 0][:, :3] == 10 * frame.frame).all()


def test_errors_name_the_file(tmp_path, monkeypatch):
    settings = synthetic.with_settings(views=8, rings="none", keys=4)
    run, _ = synthetic.write_run(tmp_path, settings, size=(32, 32))
    with pytest.raises(InputError, match=r"keys00000\.png is missing"):
        propagate.run_stage(run, settings, Events())
    for k in plan_keys(settings):
        write_png(run.key(k), np.zeros((16, 32, 3), np.uint8))
    with pytest.raises(InputError, match=r"is 32x16, but the turntable is 32x32"):
        propagate.run_stage(run, settings, Events())
    run.guide(3).unlink()
    for k in plan_keys(settings):
        write_png(run.key(k), read_rgb(run.frame(k)))
    with pytest.raises(InputError, match=r"r_3\.exr is missing"):
        propagate.run_stage(run, settings, Events())
    with pytest.raises(InputError, match=r"no propagator 'magic'"):
        propagate.backend("magic")
