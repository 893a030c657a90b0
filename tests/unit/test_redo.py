"""What a changed setting or file makes the supervisor do anew, with stages that are played."""

from __future__ import annotations

from pathlib import Path

import pytest

from gs_diffusion_addon.core import folder, pipeline
from gs_diffusion_addon.core.digests import digest, file_digest
from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.run import Run, read_manifest, run_settings, write_json

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


def inputs_hash_of_a808938(stage, run, settings):
    """How the version of that commit hashed the files of a stage in the first iteration."""
    styles, models = [Path(settings.style)], [Path(settings.model)]
    paths = {
        "turntable": models,
        "stylize": [run.train_main, *styles],
        "propagate": [run.keys, run.transforms_main, run.guides],
        "dataset": [run.stylized, run.transforms_main],
        "train": [run.gs / "train", run.gs / "transforms_train.json", run.gs / "points3d.ply"],
        "render": [run.model / "point_cloud", run.transforms_main],
        "report": [run.renders, run.stylized, run.independent],
        "import": [run.splat, *models],
    }[stage]
    parts = []
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            inside = file.is_relative_to(run.root)
            named = file.relative_to(run.root).as_posix() if inside else file.name
            big = run.guides in file.parents
            parts += [named, str(file.stat().st_size) if big else file_digest(file)]
    return digest(parts)


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


def test_a_corrected_frame_reaches_what_it_is_carried_to_though_the_keys_stay(play, monkeypatch):
    """The second frame is no key, and its alpha is what the propagated frame gets."""
    monkeypatch.setitem(play.fixed, "stylize", "the keys of frame 0")
    play.run(prompt="gold", redo=True)
    (play.root / "train_main" / "r_1.png").write_text("corrected")
    play.run(redo=True)
    assert play.did[:3] == ["1/stylize", "1/propagate", "1/dataset"]
    play.run(iterations=2)
    (play.root / "iter1" / "renders" / "00000.png").write_text("painted over")
    play.run(redo=True)
    assert {"2/stylize", "2/propagate"} <= set(play.did)


def test_a_scheduled_style_and_source_count_in_their_iteration(play, tmp_path):
    later = tmp_path / "later.png"
    later.write_text("of a style")
    schedule = f"style={tmp_path / 'style.png'}->{later}; source=last->original"
    play.run(iterations=2, schedule=schedule)
    later.write_text("of another style")
    play.run(redo=True)
    assert play.did == [*(f"2/{name}" for name in LOOP), "2/import"]
    (play.root / "train_main" / "r_1.png").write_text("corrected")
    states = {(s.stage, s.iteration): s.state for s in folder.status(play.root)}
    assert states["stylize", 2] == states["propagate", 2] == "stale"


def test_a_run_of_an_earlier_version_noted_no_sources_and_goes_on_without_them(play, tmp_path):
    manifest = read_manifest(play.root)
    settings = run_settings(manifest)
    for name, record in manifest["stages"].items():
        del record["sources"]
        iteration, _, stage = name.partition("/")
        made_from = inputs_hash_of_a808938(stage, Run(play.root, int(iteration)), settings)
        record["key"] = {"settings": "by other rules", "inputs": made_from}
    write_json(play.root / "run.json", manifest)
    play.run()
    assert play.did == []
    assert all(state.state == "done" for state in folder.status(play.root))
    key = play.root / "iter1" / "keys" / "keys00000.png"
    painted = key.read_text()
    key.write_text("painted over")
    with pytest.raises(InputError, match=r"Stage propagate .* is stale: its input files changed"):
        play.run()
    key.write_text(painted)
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


@pytest.mark.parametrize("until", ["train", "report", "import"])
def test_a_run_says_how_far_it_was_asked_to_go(play, until):
    play.run(until=until)
    assert [e["until"] for e in play.events if e["event"] == "run_started"] == [until]


def test_one_stage_says_that_it_is_all(play):
    events: list[dict] = []
    pipeline.Supervisor(play.root, events.append).one_stage("train", 1, {})
    assert [e["until"] for e in events if e["event"] == "run_started"] == ["train"]
