"""The loop's decisions: schedules, where it begins and ends, what a changed schedule spoils."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gs_diffusion_addon.core import loop, stages, stale
from gs_diffusion_addon.core.arguments import complete
from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.presets import expand
from gs_diffusion_addon.core.run import Run, write_json
from gs_diffusion_addon.core.settings import Settings, at_iteration, from_json
from gs_diffusion_addon.core.settings_loop import parse_schedule


def test_a_schedule_gives_each_iteration_its_value_and_the_last_one_stays():
    text = "sampler=DPM++ 2M->DDIM; strength=0.9..0.5/3; train-steps=500->500->900"
    settings = from_json({"schedule": text})
    at = [at_iteration(settings, k) for k in (1, 2, 3, 9)]
    assert [s.sampler for s in at] == ["DPM++ 2M", "DDIM", "DDIM", "DDIM"]
    assert [s.strength for s in at] == pytest.approx([0.9, 0.7, 0.5, 0.5])
    assert [s.train_steps for s in at] == [500, 500, 900, 900]
    assert at_iteration(Settings(), 3) == Settings()


def test_pictures_in_a_schedule_are_found_from_wherever_the_run_goes_on(tmp_path):
    picture = tmp_path / "a.png"
    picture.touch()
    given = {"schedule": "strength=0.9->0.5; style=a.png->3", "later": "style=b.png"}
    found = complete(given, tmp_path)
    assert parse_schedule(found["schedule"])["style"] == [str(picture.resolve()), "3"]
    assert found["later"] == "style=b.png"


def test_a_folder_with_a_model_is_found_from_anywhere_and_other_names_stay(tmp_path):
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "models" / "empty").mkdir()
    (tmp_path / "models" / "tiny" / "model_index.json").touch()
    for name, found in (
        ("models/tiny", str(tmp_path / "models" / "tiny")),
        ("models/empty", "models/empty"),
        ("segmind/tiny-sd", "segmind/tiny-sd"),
        ("sd15.safetensors", "sd15.safetensors"),
        ("", ""),
    ):
        assert complete({"checkpoint": name}, tmp_path)["checkpoint"] == found
        assert complete({"vae": name}, tmp_path)["vae"] == found


@pytest.mark.parametrize(
    "text",
    ["strength", "strength=", "=3", "strength=0.5->2", "views=9->12", "strength=1..0/1",
     "nothing=1", "train_steps=many", "strength=0.5->x"],
)  # fmt: skip
def test_a_bad_schedule_is_a_sentence(text):
    with pytest.raises(InputError, match=r"--schedule|--strength"):
        from_json({"schedule": text})


@given(st.text(max_size=30))
def test_schedules_never_fail_otherwise(text):
    try:
        parse_schedule(text)
    except InputError:
        return


def test_the_experiments_preset_takes_its_collage_first_and_ddim_with_controlnet_after():
    settings = from_json(expand("experiment"))
    first, second = at_iteration(settings, 1), at_iteration(settings, 2)
    assert (first.sampler, second.sampler) == ("DPM++ 2M", "DDIM")
    assert first.sides == second.sides == 4 and "canny" in second.control


def test_changing_later_iterations_spoils_only_those():
    old = from_json({"schedule": "strength=0.9->0.5->0.4"})
    new = from_json({"schedule": "strength=0.9->0.5->0.3"})
    done = ["0/turntable", "1/stylize", "1/train", "2/stylize"]
    assert loop.changed_stages(done, "schedule", old, new) == []
    assert loop.changed_stages([*done, "3/stylize"], "schedule", old, new) == ["stylize"]
    assert stale.settings_digest("stylize", 3, old) != stale.settings_digest("stylize", 3, new)
    asked = replace(old, prompt="gold", propagator="none")
    assert loop.changed_stages(done, "prompt", old, asked) == ["stylize", "stylize"]
    assert loop.changed_stages(["1/stylize", "1/propagate"], "seams", old, asked) == []
    done = ["1/stylize", "1/propagate", "a stranger's", "x/stylize", "1/seams"]
    assert loop.changed_stages(done, "propagator", old, asked) == ["stylize", "propagate"]
    asked = replace(old, propagator="patchmatch")
    assert loop.changed_stages(done, "propagator", old, asked) == ["propagate"]


def change(root, iteration, value):
    write_json(Run(root, iteration).metrics, {"change": {"mean": value}})


def test_the_loop_ends_where_nothing_changes_any_more(tmp_path):
    settings = from_json({"iterations": 5, "stop_below": 0.01})
    for k, value in ((1, None), (2, 0.08), (3, 0.009)):
        change(tmp_path, k, value)
    assert loop.stopped(tmp_path, settings, 1) is None
    assert loop.stopped(tmp_path, settings, 2) is None
    sentence = loop.stopped(tmp_path, settings, 3)
    assert "0.0090" in sentence and "--stop-below 0.01" in sentence
    assert loop.last_iteration(tmp_path, settings) == 3
    assert loop.plan(tmp_path, settings)[-1] == ("import", 3)
    assert loop.last_iteration(tmp_path, from_json({"iterations": 5})) == 5


def test_only_the_last_iteration_ends_early():
    settings = from_json({"iterations": 2})
    whole = stages.plan(2)
    assert loop.todo(settings, "import") == whole
    assert loop.todo(settings, "turntable") == [("turntable", 0)]
    assert loop.todo(settings, "train") == whole[: whole.index(("train", 2)) + 1]
    assert ("render", 1) in loop.todo(settings, "stylize")
    assert loop.todo(settings, "propagate", 1) == [("stylize", 2), ("propagate", 2)]


def test_a_start_needs_the_results_before_it(tmp_path):
    settings = from_json({"iterations": 3})
    loop.require_start(tmp_path, settings, 0)
    with pytest.raises(InputError, match=r"splat_iter2\.ply"):
        loop.require_start(tmp_path, settings, 2)
    with pytest.raises(InputError, match="--end 4"):
        loop.require_start(tmp_path, settings, 3)


def test_what_is_restyled_is_the_last_splat_or_what_was_put_there(tmp_path):
    run = Run(tmp_path, 2)
    assert Run(tmp_path, 1).source(3) == run.frame(3)
    assert run.source(3) == run.at(1).render(3)
    own = run.sources / "00003.png"
    own.parent.mkdir(parents=True)
    own.touch()
    assert run.source(3) == own
