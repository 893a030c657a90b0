"""What makes a finished stage stale, and what does not."""

from __future__ import annotations

from dataclasses import replace

from gs_diffusion_addon.core import run, stages, stale
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Settings


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
