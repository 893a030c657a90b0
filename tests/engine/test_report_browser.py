"""The report in a real browser, opened from disk: it draws the splat, turns it, says nothing on the
console and asks nobody for anything.
"""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from gs_diffusion_addon.core.ply import Splats, write_splats
from gs_diffusion_addon.core.run import write_text
from gs_diffusion_addon.engine import report
from gs_diffusion_addon.engine.report_viewer import viewer, visible
from tests.engine import browser, synthetic

SIGHT = ".sight"
PROMPT = "</script><script>console.error('out')</script><b>bronze</b>"


def splats(colors, count: int = 900, behind=None, toward=None) -> Splats:
    """Round, opaque splats on the scene's two balls in two colors; with ``behind``, of those colors
    when looked at along the direction ``toward``, and of that one when from the other side.
    """
    means, _, which = synthetic.surface_points(count)
    sh = ((np.array(colors)[which] - 0.5) / 0.28209479177387814)[:, None, :]
    if behind is not None:
        front, back = np.array(colors)[which], np.array(behind)
        slope = (front - back)[:, None, :] / 2 / 0.4886025119029199
        x, y, z = toward
        sh = np.concatenate([np.zeros_like(sh), np.array([-y, z, -x])[None, :, None] * slope], 1)
        sh[:, 0] = ((front + back) / 2 - 0.5) / 0.28209479177387814
    scales = np.full((count, 3), np.log(0.07))
    quats = np.tile([1.0, 0, 0, 0], (count, 1))
    parts = means, sh, np.full(count, 6.0), scales, quats
    return Splats(*(p.astype(np.float32) for p in parts))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two iterations: a green and red splat first; after it one that is blue from the
    first view's side, and green from the other.
    """
    settings = synthetic.with_settings(views=6, rings="none", keys=2, prompt=PROMPT, iterations=2)
    made, frames = synthetic.write_run(tmp_path_factory.mktemp("run"), settings, size=(48, 48))
    toward = -frames[0].camera.matrix[:3, 2]
    write_splats(made.at(1).splat, splats([(0.1, 0.8, 0.1), (0.9, 0.1, 0.1)]))
    two_sided = splats([(0.1, 0.1, 0.9)] * 2, behind=(0.1, 0.9, 0.1), toward=toward)
    write_splats(made.at(2).splat, two_sided)
    for k in (1, 2):
        for frame in frames:
            target = made.at(k).render(frame.frame)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(made.frame(frame.frame), target)
    write_text(made.report, report.report(made.at(2), settings))
    return made.at(2), settings, frames


def share(picture, channel: int) -> float:
    """How much of the picture has one channel far above the others."""
    others = np.delete(picture, channel, -1).max(-1)
    return float((picture[..., channel].astype(int) - others > 60).mean())


@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "never")
def test_it_draws_and_turns_in_a_browser(run):
    with browser.opened(run[0].report) as page:
        page.page.locator(SIGHT).scroll_into_view_if_needed()
        blue = page.wait(SIGHT, lambda p: share(p, 2) > 0.05)
        assert share(blue, 2) > 0.05 and share(blue, 1) < 0.001, page.said
        # From behind it has the other color; arrow keys go there.
        canvas = page.page.locator(".sight canvas")
        for _ in range(13):  # half around, however slowly it is drawn
            canvas.press("ArrowLeft")
        behind = page.wait(SIGHT, lambda p: share(p, 1) > 0.05)
        assert share(behind, 1) > 0.05, page.said
        page.page.get_by_role("button", name="Reset the view").click()
        again = page.wait(SIGHT, lambda p: share(p, 1) < 0.001)
        assert abs(share(again, 2) - share(blue, 2)) < 0.02
        page.page.get_by_role("button", name="Iteration 1").click()
        first = page.wait(SIGHT, lambda p: share(p, 1) > 0.05 and share(p, 2) < 0.001)
        assert share(first, 1) > 0.05 and share(first, 2) < 0.001, page.said
        # The small red ball stands before the big green one, to the right and above the middle.
        rows, columns = np.nonzero(first[..., 0].astype(int) - first[..., 1:].max(-1) > 60)
        height, width = first.shape[:2]
        assert len(rows) > 100
        assert columns.mean() > width / 2 and rows.mean() < height / 2
        assert "900 splats" in page.page.locator(".said").inner_text()

        box = page.page.locator(".sight canvas").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.page.mouse.move(x, y)
        page.page.mouse.down()
        page.page.mouse.move(x + 0.9 * box["width"] / 2, y, steps=3)
        page.page.mouse.up()

        def different(picture) -> bool:
            return bool((np.abs(picture.astype(int) - first).max(-1) > 60).mean() > 0.01)

        turned = page.wait(SIGHT, different)
        assert different(turned) and share(turned, 1) > 0.03
        page.page.get_by_role("button", name="Reset the view").click()
        back = page.wait(SIGHT, lambda p: not different(p))
        assert not different(back)

        page.page.emulate_media(color_scheme="dark")
        dark = page.wait(SIGHT, lambda p: p[:8, :8].mean() < 80)
        assert dark[:40, :40].mean() < 80 < 200 < back[:40, :40].mean()
        page.page.emulate_media(color_scheme="dark", media="print")
        paper = page.wait(SIGHT, lambda p: p[:40, :40].mean() > 200)
        assert paper[:40, :40].mean() > 200
        assert not page.page.locator(".sight canvas").is_visible()
        assert page.page.locator(".sight img").is_visible()
        assert page.said == []
        outside = [url for url in page.asked if not url.startswith(("file:", "data:", "blob:"))]
        assert outside == []
        assert sum(url.startswith("file:") for url in page.asked) == 1  # itself


def test_the_file_is_small_enough(run):
    made, settings, frames = run
    view = viewer(made, (2, 1), frames, None)
    assert view.shown == 1800 and [m.iteration for m in view.models] == [2, 1]
    assert made.report.stat().st_size <= report.LARGEST
    # A bigger model may make a bigger file, in proportion.
    big = 120_000
    rng = np.random.default_rng(0)
    noise = Splats(
        rng.normal(size=(big, 3)).astype(np.float32),
        0.3 * rng.normal(size=(big, 16, 3)).astype(np.float32),
        rng.normal(size=big).astype(np.float32),
        rng.normal(-5, 0.5, (big, 3)).astype(np.float32),
        rng.normal(size=(big, 4)).astype(np.float32),
    )
    write_splats(made.at(1).splat, noise)
    size = len(report.report(made.at(1), settings).encode())
    assert size <= 8_000_000 * big / 100_000


def test_only_what_is_seen_is_shown():
    model = splats([(1, 0, 0), (0, 1, 0)], count=100)
    faint = model.opacities.copy()
    faint[:30] = -8
    assert visible(dataclasses.replace(model, opacities=faint)).count == 70
    scales = model.scales.copy()
    scales[:10] += 1
    biggest = visible(dataclasses.replace(model, scales=scales), most=10)
    np.testing.assert_array_equal(biggest.means, model.means[:10])


@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "never")
def test_it_fits_a_phone_a_keyboard_and_paper(run):
    with browser.opened(run[0].report, width=360, height=640, reduced_motion="reduce") as page:
        for size in ("", "24px"):  # a machine's fonts may be wide, a reader's large
            wide, most = page.page.evaluate(
                "size => { document.documentElement.style.fontSize = size;"
                "return [document.documentElement.scrollWidth, innerWidth] }",
                size,
            )
            assert wide <= most
        page.page.evaluate("document.documentElement.style.fontSize = ''")
        still = page.page.locator(".turn").input_value()
        page.page.locator(".turn").press("ArrowRight")
        assert int(page.page.locator(".turn").input_value()) == int(still) + 1
        play = page.page.locator(".play")
        assert play.inner_text() == "Turn"  # who asked for little motion has to ask for it
        play.press("Enter")
        page.page.wait_for_function("document.querySelector('.turn').value != 1")
        play.press("Enter")
        assert play.inner_text() == "Turn"
        folded = page.page.locator("details.iteration")
        assert not folded.locator("img").first.is_visible()
        folded.locator("summary").first.press("Enter")
        assert folded.locator("img").first.is_visible()
        paper = page.page.pdf(format="A4")
        assert paper[:5] == b"%PDF-" and 2 <= paper.count(b"/Type /Page\n") <= 20
        assert page.said == []
