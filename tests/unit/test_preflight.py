"""What settings say of stages to come, looked at before a run's first stage; no child is started
for the embedded backends.
"""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from gs_diffusion_addon.core import preflight, stages, stale
from gs_diffusion_addon.core.errors import InputError, MissingError, StageError
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Settings

BUILT_IN = Settings(stylizer="preview", propagator="reproject", trainer="builtin")


def said(settings: Settings, tmp_path, monkeypatch) -> list[str]:
    """The problems that are found without asking any child."""
    monkeypatch.setattr(preflight, "run_child", lambda *a, **k: pytest.fail("a child was started"))
    steps = preflight.steps_of(settings, stages.plan(settings.iterations))
    found = preflight.problems(steps, tmp_path / "log", lambda e: None, threading.Event())
    return [str(problem.error) for problem in found]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"style": "bronce"}, "no style 'bronce': --style can be bronze"),
        ({"schedule": "style=3->nope", "iterations": 2}, "no style 'nope'"),
        ({"later": "style=nope", "iterations": 2}, "no style 'nope'"),
        ({"page_size": 64, "sides": 2}, "--page-size 64 leaves 32 pixels"),
        ({"keys": 1, "ring_keys": 0, "reject_keys": "0"}, "--reject-keys leaves no keyframe"),
        (
            {"propagator": "ebsynth_folder", "views": 8, "keys": 2, "reject_keys": "0,4"},
            "EbSynth paints ring 0, and no keyframe is left there",
        ),
        ({"main_folder": "x", "control": "materials"}, "--control seg"),
    ],
)
def test_what_settings_alone_cannot_do(changes, words, tmp_path, monkeypatch):
    assert said(BUILT_IN, tmp_path, monkeypatch) == []
    assert any(words in s for s in said(replace(BUILT_IN, **changes), tmp_path, monkeypatch))


def test_settings_of_no_stage_to_come_are_not_looked_at(tmp_path, monkeypatch):
    once = replace(BUILT_IN, schedule="style=3->nope", iterations=1)
    assert said(once, tmp_path, monkeypatch) == []
    steps = preflight.steps_of(replace(BUILT_IN, style="nope"), [("turntable", 0), ("train", 1)])
    assert [step.stage for step in steps] == ["train"]


def test_each_different_need_is_looked_at_once():
    settings = replace(BUILT_IN, iterations=5, schedule="strength=0.9..0.1/5; sampler=DDIM->Euler")
    steps = preflight.steps_of(settings, stages.plan(5))
    assert [s.settings.sampler for s in steps if s.stage == "stylize"] == ["DDIM", "Euler"]


def test_only_stages_that_are_not_begun_as_they_are_to_be_count(tmp_path):
    run = Run(tmp_path, 1)
    todo = [("stylize", 1), ("train", 1)]
    record = {"key": stale.stage_key("stylize", run, BUILT_IN), "state": "running"}
    records = {"1/stylize": record}
    assert preflight.pending(tmp_path, records, BUILT_IN, todo) == [("train", 1)]
    other = replace(BUILT_IN, style="4")
    assert preflight.pending(tmp_path, records, other, todo) == todo


def test_the_disk_is_warned_of_or_refused(tmp_path, monkeypatch):
    todo, warned = stages.plan(1), []
    needed = preflight.folder_bytes(BUILT_IN, True, 1)
    for share, refused in ((1.1, False), (0.7, False), (0.4, True)):
        free = SimpleNamespace(free=int(needed * share))
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: free)
        if refused:
            with pytest.raises(StageError, match="free some, or choose another --out"):
                preflight.require_space(tmp_path, BUILT_IN, todo, warned.append)
        else:
            preflight.require_space(tmp_path, BUILT_IN, todo, warned.append)
    assert len(warned) == 1 and "are free on the disk" in warned[0]
    # What is done already needs no more room.
    preflight.require_space(tmp_path, BUILT_IN, [("report", 1)], warned.append)


def test_a_run_says_what_it_works_with_and_what_it_costs():
    asked = {"settings": {"stylizer": "auto", "propagator": "reproject", "trainer": "auto"}}
    text = preflight.sentence(asked, BUILT_IN, new=True)
    assert (
        "stylizer preview (auto, no diffusion), propagator reproject, trainer builtin (auto); "
        in text
    )
    assert " on disk, roughly." in text
    assert "disk" not in preflight.sentence(asked, BUILT_IN, new=False)


def test_a_new_runs_source(tmp_path):
    with pytest.raises(InputError, match="either --blend FILE"):
        preflight.require_startable(Settings())
    with pytest.raises(InputError, match="does not exist"):
        preflight.require_startable(Settings(model="none.obj"))
    model = tmp_path / "a.obj"
    model.touch()
    with pytest.raises(MissingError, match="no Blender at nowhere"):
        preflight.require_startable(Settings(model=str(model), blender="nowhere"))
