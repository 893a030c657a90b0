"""The further videos and animated pictures, read back by ffmpeg and Pillow; the contact sheet."""

from __future__ import annotations

import re

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.run import new_manifest, write_json, write_text
from gs_diffusion_addon.core.sweep_run import PLAN, SHEETS
from gs_diffusion_addon.engine import contact_sheet, videos
from gs_diffusion_addon.engine.images import read_rgb, write_png
from tests.engine import synthetic
from tests.engine.test_propagate import Events


def ball(k: int, count: int) -> np.ndarray:
    """A red ball that wanders to the right over nothing."""
    y, x = np.mgrid[0:31, 0:45]
    inside = (y - 15) ** 2 + (x - 8 - 28 * k / count) ** 2 < 49
    out = np.zeros((31, 45, 4), np.uint8)
    out[..., 0] = 200
    out[..., 3] = 255 * inside
    return out


def write_renders(root, views=10, prompt="a bust", seed=1):
    """A finished run of one iteration, as far as videos and sheets look at it."""
    settings = synthetic.with_settings(views=views, rings="none", prompt=prompt, seed=seed)
    run, frames = synthetic.write_run(root, settings, size=(45, 31))
    for frame in frames:
        write_png(run.render(frame.frame), ball(frame.frame, views))
    manifest = new_manifest(settings, "1.2.3")
    key = {"settings": "s", "inputs": "i"}
    manifest["stages"] = {"1/render": {"key": key, "state": "done", "seconds": 1.0}}
    write_json(run.manifest, manifest)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_renders(tmp_path_factory.mktemp("run"))


def film(path) -> np.ndarray:
    """(n, h, w, 3) of a video as ffmpeg decodes it."""
    reader = imageio_ffmpeg.read_frames(str(path), pix_fmt="rgb24")
    facts = next(reader)
    width, height = facts["size"]
    assert facts["fps"] == 30 and facts["pix_fmt"].startswith("yuv420p")
    return np.array([np.frombuffer(f, np.uint8).reshape(height, width, 3) for f in reader])


def place(picture) -> float:
    """Column of the red ball's middle."""
    return float(np.nonzero(picture[..., 0].astype(int) - picture[..., 1] > 80)[1].mean())


def test_side_by_side(run):
    path = videos.make(run.root, 1, "side-by-side", 0)
    shown = film(path)
    assert path.name == "iter1-side-by-side.mp4" and shown.shape == (10, 32, 98, 3)
    for k in (0, 4, 9):
        left = read_rgb(run.frame(k)).astype(int)
        inside = np.array(Image.open(run.frame(k)))[..., 3] > 0
        assert np.abs(shown[k, :31, :45].astype(int) - left)[inside].mean() < 16
        assert abs(place(shown[k, :, 53:]) - place(ball(k, 10) * (ball(k, 10)[..., 3:] > 0))) < 1
    assert shown[:, :, 46:52].max() < 24


def test_ping_pong_shows_no_frame_twice_in_a_row(run):
    shown = film(videos.make(run.root, 1, "ping-pong", 0))
    places = [place(frame) for frame in shown]
    assert len(places) == 18
    assert np.allclose(places[:10], sorted(places[:10])) and max(places) == places[9]
    assert np.allclose(places[10:], places[8:0:-1], atol=0.5)


def test_gif_and_webp(run):
    with Image.open(videos.make(run.root, 1, "gif", 30)) as gif:
        assert gif.size == (30, 21) and gif.n_frames == 5 and gif.info["loop"] == 0
        assert gif.convert("RGB").getpixel((29, 0)) == (255, 255, 255)
    with Image.open(videos.make(run.root, 1, "webp", 400)) as webp:
        assert webp.size == (45, 31) and webp.n_frames == 10
        webp.seek(9)
        last = np.array(webp.convert("RGBA"))
        assert last[0, 0, 3] == 0 and last[15, 32, 3] == 255
        assert abs(int(last[15, 32, 0]) - 200) < 20 and last[15, 32, 1] < 20


def test_what_is_missing_is_told(run, tmp_path):
    with pytest.raises(InputError, match="10 renders of iteration 2 are missing"):
        videos.make(run.root, 2, "gif", 320)
    with pytest.raises(InputError, match="--width"):
        videos.make(run.root, 1, "gif", 3)


def test_a_contact_sheet_shows_every_run(tmp_path):
    out = tmp_path / "sweep"
    for name, seed, prompt in (("one", 1, "<b>bold</b>"), ("two", 2, "plain")):
        made = write_renders(out / name, prompt=prompt, seed=seed)
        if name == "one":
            write_json(made.metrics, {"psnr_test_object": 21.25, "splats": 1234})
            write_text(made.report, "x")
    runs: list[object] = [{"name": n, "settings": {}} for n in ("two", "one", "three")]
    runs += [{"name": "../elsewhere"}, {"name": 7}, "nonsense"]
    write_json(out / PLAN, {"program": "GS Diffusion sweep", "runs": runs})
    events = Events()
    contact_sheet.make(out, events)
    page = (out / SHEETS[1]).read_text(encoding="utf-8")
    assert re.findall(r"<b>(?:<a[^>]*>)?(\w+)", page) == ["two", "one", "three"]
    assert 'href="one/report.html"' in page and "21.2 dB · 1,234 splats" in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page and "<b>bold" not in page
    assert "2 of 3 runs finished." in page and "waiting" in page
    assert "--seed" in page and "--views" not in page  # the same in all
    with Image.open(out / SHEETS[0]) as sheet:
        pixels = np.array(sheet)
    red = pixels[..., 0].astype(int) - pixels[..., 1] > 80
    assert red[:, :272].any() and red[:, 272:544].any() and not red[:, 544:].any()
    write_text(out / "two" / "run.json", "{")
    contact_sheet.make(out, events)
    page = (out / SHEETS[1]).read_text(encoding="utf-8")
    assert "damaged" in page and "1 of 3 runs finished." in page
    with pytest.raises(InputError, match="holds no runs"):
        contact_sheet.make(tmp_path / "empty", events)
