"""What a changed setting or file makes the supervisor do anew, with stages that are played."""

from __future__ import annotations

import pytest

from gs_diffusion_addon.core import folder
from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.run import read_manifest, write_json

from .played import Play

CHOSEN = {"stylizer": "preview", "propagator": "reproject", "trainer": "builtin"}
LOOP = ["stylize", "propagate", "dataset", "train", "render", "report"]


@pytest.fixture
def play(tmp_path, monkeypatch):
    """A finished run of a model with the embedded backends, restyled frames not compared."""
    model = tmp_path / "model.obj"
    model.write_text("v 0 0 0")
    played = Play(tmp_path / "run", monkeypatch)
    style = tmp_path / "style.png"
    style.write_text("of a style")
    played.run(model=str(model), style=str(style), compare_independent="no", **CHOSEN)
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


def test_a_model_that_is_gone_makes_nothing_stale_but_hides_no_other_change(play, tmp_path):
    model = tmp_path / "model.obj"
    model.rename(tmp_path / "elsewhere.obj")
    play.run()
    assert play.did == []
    with pytest.raises(InputError, match=r"model\.obj, into whose scene .* --until report"):
        play.run(train_steps=7, redo=True)
    assert play.did == [] and not (play.root / "superseded").exists()
    play.run(train_steps=7, redo=True, until="report")
    assert play.did == ["1/train", "1/render", "1/report"]
    with pytest.raises(InputError, match="into whose scene"):
        play.run(redo=True)
    assert folder.status(play.root)[-1].state == "stale"
    (tmp_path / "elsewhere.obj").rename(model)
    play.run(redo=True)
    assert play.did == ["1/import"]


def test_a_style_that_is_gone_does_not_keep_old_keys_on_a_new_turntable(play, tmp_path):
    (tmp_path / "style.png").unlink()
    play.run()
    assert play.did == []
    play.run(lens=85.0, redo=True)
    assert play.did[:3] == ["0/turntable", "1/stylize", "1/propagate"]
    (tmp_path / "model.obj").unlink()
    with pytest.raises(InputError, match=r"model file .*model\.obj does not exist\."):
        play.run(lens=50.0, redo=True)
    assert play.did == []


def test_a_run_of_an_earlier_version_noted_no_sources_and_goes_on_without_them(play, tmp_path):
    manifest = read_manifest(play.root)
    for record in manifest["stages"].values():
        del record["sources"]
    write_json(play.root / "run.json", manifest)
    play.run()
    assert play.did == []
    (tmp_path / "model.obj").write_text("v 1 1 1")
    with pytest.raises(InputError, match=r"Stage turntable .* is stale: its input files changed"):
        play.run()
    (tmp_path / "model.obj").unlink()
    (tmp_path / "style.png").unlink()
    play.run()
    assert play.did == []


def test_what_later_iterations_begin_with_leaves_the_first_alone(play):
    play.run(iterations=2, source="original", warm_start=True, follow_splat=False)
    assert play.did == [*(f"2/{name}" for name in LOOP), "2/import"]
    with pytest.raises(InputError, match="its stage train would be stale"):
        play.run(warm_start=False)
    play.run(warm_start=False, redo=True)
    assert play.did == ["2/train", "2/render", "2/report", "2/import"]


def test_a_run_that_is_to_end_early_does_the_iterations_before_it_whole(play):
    play.run(iterations=3, until="train")
    assert play.did == [*(f"2/{name}" for name in LOOP), *(f"3/{name}" for name in LOOP[:4])]
    play.run(train_steps=7, until="propagate", redo=True)
    assert play.did == [f"{k}/{name}" for k in (1, 2) for name in LOOP[0 if k > 1 else 3:]] + [
        "3/stylize", "3/propagate"]  # fmt: skip


def test_another_server_goes_on_with_the_pages_there_are(play):
    play.run(server="https://pod-2.example:7860")
    assert play.did == []
