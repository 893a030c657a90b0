"""The report: one file, everything escaped, nothing secret, nothing from the network."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import io
import json
import re
import shlex
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gs_diffusion_addon.core.arguments import build, given_settings
from gs_diffusion_addon.core.orbit import plan_keys
from gs_diffusion_addon.core.ply import Splats, write_splats
from gs_diffusion_addon.core.run import Run, new_manifest, read_json, write_json
from gs_diffusion_addon.core.settings import flag, knob, names, to_json
from gs_diffusion_addon.engine import report, report_numbers, report_pictures, report_settings
from gs_diffusion_addon.engine.images import read_rgb, write_png
from gs_diffusion_addon.engine.report_curves import Curve, curves, ticks
from gs_diffusion_addon.engine.report_html import h
from gs_diffusion_addon.engine.report_incidents import incident_list, incidents
from gs_diffusion_addon.engine.report_page import duration
from tests.engine import synthetic
from tests.engine.test_propagate import Events

PROMPT = 'A <b>bronze</b> bust & "Rodin" </title><script>alert(1)</script>'


class Page(HTMLParser):
    """Tags, attributes and text of a document; checks that elements close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, k, v) for k, v in attrs]
        if tag not in ("img", "input", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def of(self, tag, name):
        return [v for t, k, v in self.attributes if t == tag and k == name]


def splats(seed, count=50):
    """Random splats around the origin."""
    rng = np.random.default_rng(seed)
    shapes = (count, 3), (count, 1, 3), (count,), (count, 3), (count, 4)
    return Splats(*(rng.normal(size=s).astype(np.float32) for s in shapes))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of two iterations with everything in it, and its report."""
    settings = synthetic.with_settings(
        rings="-30:4",
        prompt=PROMPT,
        negative_prompt="<i>blurry</i>",
        server="http://me:hunter2@10.0.0.1:7860/?token=abc",
        model="/models/my head.obj",
        iterations=2,
        denoise=False,
    )
    run, frames = synthetic.write_run(tmp_path_factory.mktemp("run"), settings, size=(48, 40))
    for k in (1, 2):
        at = run.at(k)
        for frame in frames:
            for target in (at.stylized_frame(frame.frame), at.render(frame.frame)):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(run.frame(frame.frame), target)
            if frame.ring == 0 and k == 1:
                write_png(at.independent / f"r_{frame.frame}.png", read_rgb(run.frame(frame.frame)))
        for key in plan_keys(settings):
            write_png(at.key(key), read_rgb(run.frame(key)))
        write_splats(at.splat, splats(k))
        write_png(at.folder / report.HEAT / "warp_error.png", np.full((20, 20, 3), k, np.uint8))
        for page in (at.input / "input0.png", at.output / "00000-input0.png"):
            write_png(page, np.full((96, 120, 3), 90, np.uint8))
    manifest = new_manifest(settings, "1.2.3")
    manifest["settings"] |= {"stylizer": "auto"}
    manifest["resolved"] = {"stylizer": "preview"}
    manifest["versions"] = {"blender": "4.5.15", "worker": {"numba": "0.68.1"}, "odd": "<x>"}
    done = {"key": {"settings": "s", "inputs": "i"}, "state": "done"}
    manifest["stages"] = {
        "0/turntable": {**done, "seconds": 100.0},
        "1/train": {**done, "seconds": 40.0},
        "2/train": {**done, "seconds": 41.0},
    }
    write_json(run.manifest, manifest)
    events = Events()
    report.run_stage(run, settings, events)
    report.run_stage(run.at(2), settings, events)
    return run.at(2), settings, run.report.read_text(encoding="utf-8")


def test_metrics_and_report_are_written(made):
    run, _, text = made
    for k in (1, 2):
        found = json.loads(run.at(k).metrics.read_text())
        assert found["iteration"] == k
        assert found["seconds"] == {"turntable": 100.0, "train": 39.0 + k}
    assert len(text) < report.LARGEST
    assert not list(run.root.rglob(".gsd-tmp-*"))


def test_one_file_without_network(made):
    page = Page(made[2])
    assert {"link", "iframe", "object", "embed", "base"}.isdisjoint(page.tags)
    assert page.of("script", "src") == []
    sources = page.of("img", "src")
    assert sources and all(s.startswith("data:image/webp;base64,") for s in sources)
    urls = re.findall(r"url\(([^)]*)\)", made[2])
    assert len(urls) == 4 and all(u.startswith("data:image/webp;base64,") for u in urls)
    assert "@import" not in made[2]
    assert not re.search(r"""(src|href)=["']?https?:""", made[2])


def test_everything_is_escaped(made):
    page = Page(made[2])
    models = [v for v in page.of("script", "type")]
    assert models == ["application/spz+base64"] * 2
    assert page.tags.count("script") == len(models) + 3  # the library and our two
    assert PROMPT in "".join(page.text)
    assert "<i>blurry</i>" in "".join(page.text)
    assert "<x>" in page.text
    assert h("p", "<&>", title='"') == '<p title="&quot;">&lt;&amp;&gt;</p>'


def test_no_secret_is_shown(made):
    assert "hunter2" not in made[2]
    assert "token=" not in made[2]
    assert "10.0.0.1:7860" in made[2]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://127.0.0.1:7860", "http://127.0.0.1:7860"),
        ("https://me:p@ss/w:rd@host:1/sd", "https://***@host:1/sd"),
        ("me:secret@host:7860", "***@host:7860"),
        ("HTTP://me@host?key=1", "HTTP://***@host"),
    ],
)
def test_addresses_lose_their_secrets(address, expected):
    assert report_settings.without_secrets(address) == expected


def test_pictures_show_what_they_should(made):
    run, _, text = made
    page = Page(text)
    pictures = dict(zip(page.of("img", "alt"), page.of("img", "src"), strict=True))
    data = base64.b64decode(pictures["Turntable, view 0"].partition(",")[2])
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (48, 40)
        small = np.array(image.convert("RGBA"), int)
    with Image.open(run.frame(0)) as image:
        truth = np.array(image, int)
    assert np.array_equal(small[..., 3] > 127, truth[..., 3] > 127)
    inside = truth[..., 3] > 0
    assert np.abs(small - truth)[inside].mean() < 12
    assert any("ring 1" in name for name in pictures)


def test_says_what_counts(made):
    text = "".join(Page(made[2]).text)
    assert "This is not diffusion" in text
    assert "preview (chosen by auto)" in text
    parts = (
        "Iteration 1",
        "Iteration 2",
        "Over the iterations",
        "The splat, iteration 2",
        "Splat 1",
    )
    for part in (*parts, "warp error", "Difference", "The splat in 3-D"):
        assert part in text
    assert "PSNR" in text and "SSIM" in text and "60° apart" in text
    assert "3 min 1 s in all" in text
    for name in names():
        assert flag(name) in text
        assert knob(name).help in text


def test_diffusion_has_no_such_note(made):
    run, settings, _ = made
    other = dataclasses.replace(settings, stylizer="a1111")
    assert "This is not diffusion" not in report.report(run, other)


def test_the_command_makes_the_same_settings(made):
    run, settings, _ = made
    manifest = json.loads(run.manifest.read_text())
    words = shlex.split(report_settings.command(run, settings, manifest).replace("\\\n", " "))
    assert words[:2] == ["gsd", "run"]
    given = given_settings(build().parse_args(words[1:]))
    given["server"] = settings.server  # its secrets are not in the command
    again = to_json(dataclasses.replace(synthetic.Settings(), **given))
    assert again == manifest["settings"]


def test_a_bare_turntable_gives_a_report_too(tmp_path):
    settings = synthetic.with_settings(views=8, rings="none", keys=1)
    run, _ = synthetic.write_run(tmp_path, settings, size=(32, 32))
    report.run_stage(run, settings, Events())
    page = Page(run.report.read_text(encoding="utf-8"))
    assert "Untitled model, restyled" in page.text
    assert json.loads(run.metrics.read_text())["warp_error"]["propagated"] is None


def test_too_big_a_report_is_made_smaller(made, monkeypatch):
    run, settings, text = made
    monkeypatch.setattr(report, "LARGEST", len(text) - 1)
    small = tuple(
        dataclasses.replace(d, thumb=d.thumb // 8, page=d.page // 8, spin=d.spin // 8)
        for d in report_pictures.DETAILS
    )
    monkeypatch.setattr(report, "DETAILS", (report_pictures.DETAILS[0], *small))
    assert len(report.report(run, settings)) < len(text)


def test_many_iterations_are_told_by_a_few():
    assert report._told(3, 8) == [3, 2, 1]
    told = report._told(100, 8)
    assert told[0] == 100 and told[-1] == 1 and len(told) == 8


@pytest.mark.parametrize(
    ("circle", "keys", "expected"),
    [
        (72, [0, 8, 16, 24, 32, 40, 48, 56, 64], [0, 8, 16, 24, 32, 40, 48, 56, 64]),
        (16, [0], [0, 2, 4, 6, 8, 10, 12, 14]),
        (72, [0, 24, 48], [0, 9, 18, 24, 36, 45, 48, 63]),
        (5, [], [0, 1, 2, 3, 4]),
    ],
)
def test_strips_show_keys_where_there_are_some(circle, keys, expected):
    views = report.strip_views(list(range(circle)), keys)
    assert len(views) <= 9
    if circle != 72 or len(keys) != 3:
        assert views == expected
    else:
        assert set(keys) <= set(views) and len(views) >= 7


def test_numbers_read_well():
    assert [duration(s) for s in (0.04, 9.96, 42, 75.2, 3725)] == [
        "0.0 s",
        "10.0 s",
        "42 s",
        "1 min 15 s",
        "1 h 2 min",
    ]
    assert [report_numbers.significant(v) for v in (0.0341, 3.41, 34.1, 341.0, 0)] == [
        "0.034",
        "3.4",
        "34",
        "341",
        "0",
    ]


def test_report_is_found_from_any_iteration(made):
    run, settings, text = made
    first = report.report(Run(run.root, 1), settings)
    assert "Iteration 2" not in first
    assert "Iteration 2" in text


def test_an_earlier_iteration_reported_again_takes_nothing_from_later_ones(made, tmp_path):
    run, settings, text = made
    again = Run(tmp_path / "again", 1)
    shutil.copytree(run.root, again.root)
    again.metrics.unlink()  # lost
    report.run_stage(again, settings, Events())
    page = Page(again.report.read_text(encoding="utf-8"))
    assert page.of("details", "class") == Page(text).of("details", "class")
    assert [row["iteration"] for row in read_json(again.history)["iterations"]] == [1, 2]
    report.run_stage(again, dataclasses.replace(settings, iterations=1), Events())
    assert [row["iteration"] for row in read_json(again.history)["iterations"]] == [1]


def test_what_went_wrong_is_told_once(tmp_path):
    path = tmp_path / "events.jsonl"
    said = {"event": "warning", "stage": "stylize", "message": "The <server> was away."}
    lines = [json.dumps(said), json.dumps({"event": "progress", "done": 1}), json.dumps(said), "{"]
    path.write_text("\n".join(lines))
    assert incidents(path) == ["stylize: The <server> was away."]
    assert incidents(tmp_path / "none") == []
    html = "".join(str(part) for part in incident_list(incidents(path)))
    assert "The &lt;server&gt; was away." in html and incident_list([]) == []


def test_models_in_the_page_are_spz_files(made):
    found = re.findall(r'<script type="application/spz\+base64" id="splat(\d)">([^<]*)<', made[2])
    assert [k for k, _ in found] == ["2", "1"]
    for k, text in found:
        raw = gzip.decompress(base64.b64decode(text, validate=True))
        usable = int((splats(int(k)).opacities > -4.6).sum())
        assert raw[:4] == b"NGSP" and int.from_bytes(raw[8:12], "little") == usable


def test_the_difference_is_a_heat_map(tmp_path):
    one = np.zeros((8, 8, 4), np.uint8)
    one[:, 2:] = (100, 100, 100, 255)
    other = one.copy()
    other[:, 5:, :3] += 64
    for name, pixels in (("a.png", one), ("b.png", other)):
        write_png(tmp_path / name, pixels)
    shown = report_pictures.difference(tmp_path / "a.png", tmp_path / "b.png", 8, 100)
    data = base64.b64decode(shown.uri.partition(",")[2])
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.array(image.convert("RGBA"), int)
    assert (pixels[:, :2, 3] == 0).all() and (pixels[:, 2:, 3] == 255).all()
    assert pixels[:, 3, :3].max() < 60 and pixels[:, 6:, :2].min() > 200
    assert report_pictures.difference(tmp_path / "a.png", tmp_path / "c.png", 8, 100) is None


def test_a_chart_has_a_line_for_every_sequence():
    line = [("splat", [1.0, None, 3.0]), ("keys <a>", [2.0, 2.5, 2.0])]
    text = str(h("div", curves([Curve("PSNR & co", line)])))
    assert "splat from 1 to 3" in text and "iteration 3: 3" in text
    assert text.count("<polyline") == 2 and text.count("<circle") == 5
    assert "keys &lt;a&gt;" in text and "PSNR &amp; co" in text
    assert curves([]) is None


@pytest.mark.parametrize(
    ("values", "bounds", "expected"),
    [
        ([605.0, 60.0, 22.0], {}, [0, 200, 400, 600, 800]),
        ([0.414, 0.0443, None], {}, [0, 0.2, 0.4, 0.6]),
        ([0.0, 0.0], {}, [0, 1]),
        ([25.0, 25.1], {}, [24, 25, 26, 27]),
        ([0.994, 0.999], {"most": 1.0}, [0.94, 0.96, 0.98, 1.0]),
        ([-0.2, 0.3], {"least": -1.0}, [-0.2, 0, 0.2, 0.4]),
        ([-0.1, 0.5], {}, [-0.2, 0, 0.2, 0.4, 0.6]),
    ],
)
def test_an_axis_is_round_and_never_where_no_value_can_be(values, bounds, expected):
    assert ticks(Curve("c", [("one", values)], **bounds)) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=12))
def test_an_axis_holds_all_values(values):
    marks = ticks(Curve("c", [("one", values)]))
    assert 0 <= marks[0] <= min(values) + 1e-6 * marks[-1] and 2 <= len(marks) <= 8
    assert marks[-1] >= max(values) * (1 - 1e-6)


def test_earlier_iterations_are_folded(made):
    page = Page(made[2])
    assert page.of("details", "class") == ["iteration", "printed"]
    assert made[2].index("<h2>Iteration 2") < made[2].index("<summary>Iteration 1")
    places = [v for v in page.of("a", "href")]
    found = {v for _, k, v in page.attributes if k == "id"}
    assert len(places) >= 5 and all(p.removeprefix("#") in found for p in places)
