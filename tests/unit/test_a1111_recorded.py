"""Answers recorded from the real server (tests/recorded/) are understood."""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from gs_diffusion_addon.core import a1111_control as control
from gs_diffusion_addon.core import a1111_names as names
from gs_diffusion_addon.core import a1111_wire as wire
from gs_diffusion_addon.core.a1111_errors import NanFault, fault
from gs_diffusion_addon.core.errors import MissingError, StageError

RECORDED = Path(__file__).resolve().parents[1] / "recorded" / "a1111"


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))


def job(body: dict[str, Any], scheduler: str | None = None) -> wire.Job:
    return wire.Job(
        b"", body["width"], body["height"], body["prompt"], "", body["seed"], body["steps"],
        body["cfg_scale"], body["denoising_strength"], body["sampler_name"], scheduler,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["img2img_ok", "img2img_datauri", "img2img_batch2"])
def test_pictures(name: str) -> None:
    entry = recorded(name)
    if entry["response"]["images"][0].endswith("…"):
        entry["response"]["images"] = [base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()]
    answer = wire.read_answer(entry["response"], job(entry["request"]["body"], "Automatic"))
    assert answer.kind == "png" and answer.seed == 1 and not answer.notes
    assert "Sampler: DDIM" in answer.infotext


def test_the_silently_replaced_sampler() -> None:
    entry = recorded("ok_unknown_sampler_becomes_dpmpp2m")
    entry["response"]["images"] = [base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()]
    with pytest.raises(StageError, match="'DPM\\+\\+ 2M' instead of 'Nope'"):
        wire.read_answer(entry["response"], job(entry["request"]["body"]))


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("err_bad_b64_500", StageError, "Invalid encoded image"),
        ("err_bad_type_422", StageError, "body.width: value is not a valid integer"),
        ("err_nan_500", NanFault, "NaN"),
        ("err_no_init_404", StageError, "Init image not found"),
        ("err_override_key_500", StageError, "not_an_option"),
        ("err_refiner_500", StageError, "Could not find checkpoint with name nope"),
        ("err_set_model_500", StageError, "model 'nope' not found"),
        ("err_two_inits_500", StageError, "bad number of images"),
        ("err_unknown_script_422", StageError, "Script 'nope' not found"),
        ("get_not_found", MissingError, "--api"),
    ],
)
def test_errors(name: str, kind: type, words: str) -> None:
    entry = recorded(name)
    body = json.dumps(entry["response"]).encode()
    error = fault(entry["status"], body, "http://h:7860", False)
    assert type(error) is kind and words in str(error)


def test_lists() -> None:
    samplers, schedulers = recorded("get_samplers"), recorded("get_schedulers")
    lists = samplers["response"], schedulers["response"]
    assert names.resolve_sampler("DPM++ 2M", "Karras", *lists) == ("DPM++ 2M", "Karras")
    assert names.resolve_sampler("DDIM CFG++", "Beta", *lists) == ("DDIM CFG++", "Beta")
    assert names.resolve_sampler("Euler SGMUniform", "", *lists) == ("Euler", "SGM Uniform")
    models = recorded("get_sd_models")["response"]
    assert names.resolve_checkpoint("5eec46fa7a", models)[1] == "tiny-sd15"
    pulse = wire.read_pulse(recorded("get_progress_idle")["response"])
    assert pulse.idle and not pulse.interrupted


def test_the_real_server_knows_every_field_we_send() -> None:
    echoed = recorded("img2img_ok")["response"]["parameters"]
    body = wire.img2img_body(job(recorded("img2img_ok")["request"]["body"], "Karras"), "task(x)")
    assert set(body) <= set(echoed)
    for name, value in body.items():
        known = echoed[name]
        if known is not None and value is not None:
            assert isinstance(value, type(known)) or isinstance(known, float), name


def controlled(name: str) -> tuple[Any, wire.Job]:
    entry = recorded(name)
    images = entry["response"]["images"]
    stand_in = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
    entry["response"]["images"] = [stand_in if i.endswith("…") else i for i in images]
    body = entry["request"]["body"]
    units = tuple(body["alwayson_scripts"]["ControlNet"]["args"])
    return entry["response"], dataclasses.replace(job(body, "Automatic"), units=units)


@pytest.mark.parametrize(("name", "units"), [("img2img_cn_depth", 1), ("img2img_cn_two", 2)])
def test_controlnet_that_acted(name: str, units: int) -> None:
    answer = wire.read_answer(*controlled(name))
    assert len(answer.maps) == units and not answer.notes


@pytest.mark.parametrize(
    "name",
    ["img2img_cn_unknown_model_silently_ignored", "img2img_cn_not_enabled_silently_ignored"],
)
def test_controlnet_that_did_not_act(name: str) -> None:
    with pytest.raises(StageError, match="0 of 1 ControlNet units acted"):
        wire.read_answer(*controlled(name))


def test_controlnet_models_are_found_in_the_recorded_lists() -> None:
    models = recorded("get_cn_models")["response"]["model_list"]
    types = recorded("get_cn_types")["response"]["control_types"]
    defaults = {label: entry["default_model"] for label, entry in types.items()}
    for kind, name in (
        ("depth", "control_v11f1p_sd15_depth"),
        ("normal", "control_v11p_sd15_normalbae"),
        ("canny", "control_v11p_sd15_canny"),
        ("lines", "control_v11p_sd15_canny"),
        ("tile", "control_v11f1e_sd15_tile"),
    ):
        found = control.resolve_model(control.Unit(kind), models, "tiny-sd15", defaults)
        assert found in models and found.startswith(name)
    modules = recorded("get_cn_modules")["response"]["module_list"]
    assert "none" in modules and control.REFERENCE_MODULE in modules


def test_our_units_have_the_recorded_fields_and_types() -> None:
    _, asked = controlled("img2img_cn_depth")
    ours = control.unit_body(control.Unit("depth"), "control_v11f1p_sd15_depth", b"x", False)
    for name, value in asked.units[0].items():
        assert type(ours[name]) is type(value), name
