"""What makes a finished stage stale, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gs_diffusion_addon.core import run, stages, stale
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Settings, stage_values


def test_only_the_stages_that_depend_on_a_setting_change_with_it():
    a, b = Settings(), Settings(prompt="x")
    changed = [
        n for n in stages.NAMES if stale.settings_digest(n, 1, a) != stale.settings_digest(n, 1, b)
    ]
    assert changed == ["stylize"]


def test_an_edited_key_makes_propagate_stale_and_nothing_else(tmp_path):
    r = Run(tmp_path)
    for path in (r.key(0), r.key(8), r.frame(0), r.stylized_frame(0)):
        run.write_text(path, path.name)
    before = {n: stale.inputs_digest(n, r, Settings()) for n in stages.NAMES}
    run.write_text(r.key(8), "repainted")
    after = {n: stale.inputs_digest(n, r, Settings()) for n in stages.NAMES}
    assert [n for n in stages.NAMES if before[n] != after[n]] == ["propagate"]


def test_a_setting_that_a_later_version_brought_makes_nothing_stale(tmp_path):
    r, settings = Run(tmp_path), Settings(prompt="x", strength=0.5)
    done = {"key": {"settings": "of an earlier version", "inputs": "gone"}, "values": {}}
    done["values"] = stale.settings_of("stylize", 1, settings)
    del done["values"]["view_prompts"]
    assert stale.stage_key("stylize", r, settings, done)["settings"] == "of an earlier version"
    for changed in (Settings(prompt="y", strength=0.5), replace(settings, view_prompts=True)):
        assert stale.stage_key("stylize", r, changed, done)["settings"] != "of an earlier version"
    assert stale.changed_values("stylize", 1, Settings(prompt="x"), done["values"]) == ["strength"]


def test_the_files_own_view_layer_leaves_fingerprints_as_they_were():
    """Also for turntables that are borrowed, whose runs may be of an earlier version."""
    assert "view_layer" not in stale.settings_of("turntable", 0, Settings())
    assert stale.settings_of("turntable", 0, Settings(view_layer="A"))["view_layer"] == "A"


def record(stage, settings, **more):
    """What run.json holds of a stage that an earlier version did, with every value it was given."""
    values = stage_values(settings, stage)
    if stage == "stylize":
        values["server"] = settings.server
    return {"key": {"settings": "of an earlier version", "inputs": "x"}, "values": values, **more}


def stale_by(old, new, tmp_path, iteration=1):
    """The stages of an iteration that a change of settings makes stale."""
    run_ = Run(tmp_path, iteration)
    keys = {n: stale.stage_key(n, run_, new, record(n, old))["settings"] for n in stages.NAMES}
    digests = {n: [stale.settings_digest(n, iteration, s) for s in (old, new)] for n in keys}
    hit = [n for n, key in keys.items() if key != "of an earlier version"]
    assert hit == [n for n, (before, after) in digests.items() if before != after]
    return hit


@pytest.mark.parametrize(
    ("old", "new", "hit"),
    [
        ({}, {"propagator": "ebsynth_folder"}, ["propagate"]),
        ({"propagator": "patchmatch"}, {}, ["propagate"]),
        ({}, {"propagator": "none"}, ["stylize", "propagate"]),
        ({"propagator": "none"}, {}, ["stylize", "propagate"]),
        ({"compare_independent": "no"}, {"compare_independent": "yes"}, ["report"]),
        ({}, {"server": "http://10.0.0.2:7861, http://10.0.0.3:7860"}, []),
        ({}, {"style": "/a.png"}, ["stylize"]),
        ({"stylizer": "a1111"}, {"stylizer": "a1111", "style": "/a.png"}, []),
        ({"control": "depth"}, {"control": "depth", "canny_low": 50, "canny_high": 90}, []),
        ({"control": "canny"}, {"control": "canny", "canny_low": 50}, ["stylize"]),
    ],
)
def test_a_setting_that_is_not_in_use_makes_nothing_stale(old, new, hit, tmp_path):
    base = Settings(stylizer="preview", propagator="reproject", trainer="builtin")
    assert stale_by(replace(base, **old), replace(base, **new), tmp_path) == hit


@pytest.mark.parametrize(
    ("old", "new", "second"),
    [
        ({}, {"source": "original"}, ["stylize"]),
        ({}, {"schedule": "source=last->original"}, ["stylize"]),
        ({}, {"source_blend": 0.2}, []),
        ({"source": "blend"}, {"source": "blend", "source_blend": 0.2}, ["stylize"]),
        ({"source": "blend"}, {"source": "blend", "splat_guide": 0.2}, []),
        ({"source": "original"}, {"source": "original", "splat_guide": 0.2}, ["stylize"]),
        ({}, {"warm_start": True}, ["train"]),
        ({}, {"follow_splat": False}, ["stylize", "propagate"]),
    ],
)
def test_what_the_last_splat_is_used_for_is_nothing_to_the_first_iteration(
    old, new, second, tmp_path
):
    base = Settings(stylizer="preview", propagator="reproject", trainer="builtin")
    now = replace(base, **new)
    assert stale_by(replace(base, **old), now, tmp_path, 1) == []
    assert stale_by(replace(base, **old), now, tmp_path, 2) == second


def test_a_setting_that_a_stage_took_no_notice_of_in_an_earlier_version_is_no_change(tmp_path):
    done = record("report", replace(Settings(), compare_independent="yes"))
    del done["values"]["compare_independent"]
    for value in ("yes", "no"):
        now = replace(Settings(), compare_independent=value)
        assert stale.changed_values("report", 1, now, done["values"]) == []
