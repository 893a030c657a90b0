"""``try``: one view or page restyled in seconds, before and after side by side, without a run."""

from __future__ import annotations

import shutil

from .program import TINY, gsd, png_facts, temporaries


def test_a_view_of_a_model_without_a_run(scene, tmp_path):
    picture = tmp_path / "try.png"
    done = gsd("try", "--blend", scene, "--view", "5", "--out", picture, *TINY)
    assert done.code == 0, done.err
    assert done.out.strip() == str(picture)
    assert png_facts(picture)[:2] == (128, 64)
    assert [p.name for p in tmp_path.iterdir()] == ["try.png"]


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
