"""``try``: one view or page restyled in seconds, before and after side by side, without a run."""

from __future__ import annotations

import json
import shutil

from .program import TINY, gsd, png_facts, temporaries
from .server import PASSWORD, USER, server


def test_a_view_of_a_model_without_a_run(scene, tmp_path):
    picture = tmp_path / "try.png"
    done = gsd("try", "--blend", scene, "--view", "5", "--out", picture, *TINY)
    assert done.code == 0, done.err
    assert done.out.strip() == str(picture)
    assert png_facts(picture)[:2] == (128, 64)
    assert [p.name for p in tmp_path.iterdir()] == ["try.png"]


def test_control_images_reach_the_server(scene, tmp_path):
    """Without a run, so the view's geometry is rendered for it."""
    picture, record = tmp_path / "try.png", tmp_path / "record.jsonl"
    with server([], record) as address:
        options = ("--stylizer", "a1111", "--server", address, "--control", "normal,materials:0.5")
        done = gsd(
            "try", "--blend", scene, "--view", "5", "--out", picture, *TINY, *options,
            env={"GSD_A1111_AUTH": f"{USER}:{PASSWORD}"},
        )  # fmt: skip
    assert done.code == 0, done.err
    (sent,) = [json.loads(line) for line in record.read_text().splitlines()]
    assert ["normalbae" in sent["models"][0], "_seg" in sent["models"][1]] == [True, True]
    assert png_facts(picture)[1] == 64 and "ControlNet" not in done.err
    assert {p.name for p in tmp_path.iterdir()} == {"try.png", "record.jsonl"}


def test_a_page_of_a_finished_run(finished, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(finished, root)
    before = (root / "run.json").read_bytes()
    done = gsd("try", "--out", root, "--view", "4", "--page", "--style", "8")
    assert done.code == 0, done.err
    width, height = png_facts(root / "try" / "view_4.png")[:2]
    assert (width, height) == (256, 128)
    assert (root / "run.json").read_bytes() == before
    assert not temporaries(root)


def test_wrong_views_and_places_are_sentences(scene, tmp_path):
    for options, word in (
        (["--view", "99", "--out", tmp_path / "x.png"], "--view"),
        (["--view", "0", "--out", tmp_path / "nothing"], "nothing"),
        (["--view", "0", "--out", tmp_path / "x.png", "--style", "nope"], "nope"),
    ):
        done = gsd("try", "--blend", scene, *TINY, *options)
        assert done.code == 2 and word in done.err.splitlines()[-1], done.err
    assert list(tmp_path.iterdir()) == []
