"""Every backend that needs something says before the run what it lacks, as it would later."""

from __future__ import annotations

import pytest

from gs_diffusion_addon.core.preflight import Step
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.engine.preflight import look
from tests.engine.stylize_helpers import Recorder
from tests.servers.a1111_server import A1111Server


def asked(stage: str, **changes: object) -> list[dict]:
    """The problems of one stage."""
    emit = Recorder()
    look([Step(stage, Settings(**changes))], emit)
    return emit.of("problem")


@pytest.mark.parametrize(
    ("stage", "changes", "code", "words"),
    [
        ("stylize", {"stylizer": "preview", "style": "{text}"}, 2, "cannot be read"),
        ("stylize", {"stylizer": "diffusers_local", "checkpoint": "x.ckpt"}, 2, "is a pickle"),
        ("propagate", {"propagator": "ebsynth_cli", "ebsynth": "/no/e"}, 3, "/no/e cannot be run"),
        ("train", {"trainer": "brush", "brush": "/no/b"}, 3, "no program /no/b"),
        ("train", {"trainer": "opensplat", "opensplat": "/no/o"}, 3, "no program /no/o"),
        ("train", {"trainer": "graphdeco", "graphdeco": "/no/g"}, 3, "correct --graphdeco"),
        ("report", {"clip_model": "/no/c"}, 2, "correct --clip-model"),
    ],
)
def test_what_is_missing(tmp_path, monkeypatch, stage, changes, code, words):
    text = tmp_path / "text.png"
    text.write_text("no picture")
    monkeypatch.setattr("gs_diffusion_addon.engine.stylize.diffusers_local.NEEDS", ())
    filled = {n: str(v).format(text=text) for n, v in changes.items()}
    (problem,) = asked(stage, **filled)
    assert problem["of"] == stage and problem["code"] == code
    assert words in problem["message"] and problem["message"].endswith(".")


def test_what_needs_nothing_has_no_problem():
    assert not asked("stylize", stylizer="preview", style="3")
    assert not asked("propagate", propagator="patchmatch")
    assert not asked("train", trainer="builtin")
    assert not asked("report")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampler": "DPM++ 2N"}, "'DPM++ 2N'; --sampler can be DPM++ 2M,"),
        ({"scheduler": "Karas"}, "'Karas'; --scheduler can be Karras,"),
        ({"prompt": "<lora:bronce:1>"}, "no LoRA called 'bronce', which --prompt names; it has b"),
        ({"checkpoint": "tiny-randon"}, "--checkpoint can be tiny-random, tiny-sd15"),
        ({"vae": "nobodys"}, "no VAE called 'nobodys'"),
        ({"refiner": "nobodys"}, "no diffusion model called 'nobodys'"),
        ({"refiner": "tiny-sd15"}, "is the diffusion model itself"),
        ({"control": "depth@nobodys"}, "no ControlNet model called 'nobodys'"),
        ({"control": "depth,normal,canny,tile"}, "heeds 3 ControlNet units"),
    ],
)
def test_a_server_is_asked_for_every_name_and_changed_in_nothing(changes, words):
    with A1111Server() as server:
        settings = {"stylizer": "a1111", "server": server.address, "prompt": "x"}
        assert not asked("stylize", **settings)
        (problem,) = asked("stylize", **{**settings, **changes})
        assert problem["code"] == 2 and words in problem["message"]
        assert not server.jobs and all(method == "GET" for method, _, _ in server.requests)


def test_a_page_that_is_too_large_for_the_program_is_told():
    with A1111Server(flavour="kobold", models=("tiny",)) as server:
        chosen = {"stylizer": "a1111", "server": server.address, "sampler": "Euler a"}
        chosen |= {"scheduler": "Automatic", "keys": 9, "sides": 3, "ring_keys": 0}
        (problem,) = asked("stylize", **chosen, page_size=1536)
        assert "lower --page-size to 1024" in problem["message"]
        assert not asked("stylize", **chosen, page_size=1024)
        assert not asked("stylize", **chosen, page_size=1536, sequential=True)


def test_servers_are_told_as_the_stage_would_take_them():
    with A1111Server() as one, A1111Server(models=("other",)) as two:
        both = {"stylizer": "a1111", "server": f"{one.address},{two.address}", "prompt": "x"}
        assert "different models loaded" in asked("stylize", **both)[0]["message"]
        gone = {**both, "server": f"http://127.0.0.1:9,{one.address}"}
        assert not asked("stylize", **gone)
        (problem,) = asked("stylize", **{**both, "server": "http://127.0.0.1:9"})
        assert problem["code"] == 3 and "No server is running" in problem["message"]
