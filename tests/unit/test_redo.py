"""What a changed setting or file makes the supervisor do anew, with stages that are played."""

from __future__ import annotations

import pytest

from gs_diffusion_addon.core.errors import InputError

from .played import Play

CHOSEN = {"stylizer": "preview", "propagator": "reproject", "trainer": "builtin"}
LOOP = ["stylize", "propagate", "dataset", "train", "render", "report"]


@pytest.fixture
def play(tmp_path, monkeypatch):
    """A finished run of a model with the embedded backends, restyled frames not compared."""
    model = tmp_path / "model.obj"
    model.write_text("v 0 0 0")
    played = Play(tmp_path / "run", monkeypatch)
    played.run(model=str(model), compare_independent="no", **CHOSEN)
    assert played.did == ["0/turntable", *(f"1/{name}" for name in [*LOOP, "import"])]
    return played


def test_another_propagator_keeps_the_keyframes_also_painted_ones(play):
    painted = play.root / "iter1" / "keys" / "keys00000.png"
    painted.write_text("painted over")
    with pytest.raises(InputError, match="its stage propagate would be stale"):
        play.run(propagator="patchmatch")
    play.run(propagator="patchmatch", redo=True)
    assert play.did == [f"1/{name}" for name in [*LOOP[1:], "import"]]
    assert painted.read_text() == "painted over"
    assert not list(play.root.glob("superseded/*/iter1/keys"))


def test_a_comparison_asked_for_later_is_added_to_the_keyframes(play):
    with pytest.raises(InputError, match="its stage report would be stale"):
        play.run(compare_independent="yes")
    play.run(compare_independent="yes", redo=True)
    assert play.did == ["1/stylize", "1/report"]
    assert (play.root / "iter1" / "independent" / "r_0.png").is_file()
    assert not list(play.root.glob("superseded/*/iter1/keys"))
    play.run()
    assert play.did == []


def test_a_run_that_is_to_end_early_does_the_iterations_before_it_whole(play):
    play.run(iterations=3, until="train")
    assert play.did == [*(f"2/{name}" for name in LOOP), *(f"3/{name}" for name in LOOP[:4])]
    play.run(train_steps=7, until="propagate", redo=True)
    assert play.did == [f"{k}/{name}" for k in (1, 2) for name in LOOP[0 if k > 1 else 3:]] + [
        "3/stylize", "3/propagate"]  # fmt: skip


def test_another_server_goes_on_with_the_pages_there_are(play):
    play.run(server="https://pod-2.example:7860")
    assert play.did == []
