"""ControlNet units, presets and flavours: the parts that need no server."""

from __future__ import annotations

import pytest

from gs_diffusion_addon.core import a1111_flavours as flavours
from gs_diffusion_addon.core import arguments, presets
from gs_diffusion_addon.core.a1111_control import (
    MODES,
    Unit,
    parse_control,
    resolve_model,
    stem,
    unit_body,
)
from gs_diffusion_addon.core.a1111_names import check_loras, resolve_vae, same_model
from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.settings import Settings, at_iteration, from_json, validate
from tests.servers.a1111_control import MODELS, MODULES, RESIZE
from tests.servers.a1111_control import MODES as KNOWN_MODES

# The types of a unit's fields, as the extension declares them.
FIELDS = {
    "enabled": bool, "module": str, "model": str, "weight": float, "image": str,
    "resize_mode": str, "low_vram": bool, "processor_res": int, "threshold_a": (int, float),
    "threshold_b": (int, float), "guidance_start": float, "guidance_end": float,
    "pixel_perfect": bool, "control_mode": str, "save_detected_map": bool,
    "union_control_type": str,
}  # fmt: skip


def test_units_are_parsed() -> None:
    assert parse_control("") == parse_control("none") == ()
    assert parse_control("depth") == (Unit("depth"),)
    assert parse_control("depth:0.8, canny@xinsir:1:0-0.8:control") == (
        Unit("depth", "", 0.8),
        Unit("canny", "xinsir", 1.0, 0.0, 0.8, "control"),
    )


@pytest.mark.parametrize(
    "text", ["pose", "depth:x", "depth:3", "depth:1:0.5", "depth:1:0.8-0.2", "depth:1:0-1:loud"]
)
def test_bad_units_are_named(text: str) -> None:
    with pytest.raises(InputError, match="--control"):
        parse_control(text)


@pytest.mark.parametrize(
    ("kind", "checkpoint", "model"),
    [
        ("depth", "v1-5", "control_v11f1p_sd15_depth"),
        ("normal", "v1-5", "control_v11p_sd15_normalbae"),
        ("lines", "v1-5", "control_v11p_sd15_lineart"),
        ("depth", "sd_xl_base", "diffusers_xl_depth_full"),
        ("canny", "sd_xl_base", "controlnet-union-sdxl-promax"),
    ],
)
def test_models_fit_the_kind_and_the_family(kind: str, checkpoint: str, model: str) -> None:
    found = resolve_model(Unit(kind), MODELS, checkpoint, {})
    assert found in MODELS and stem(found) == model
    body = unit_body(Unit(kind), found, b"png", False)
    assert ("union_control_type" in body) == ("union" in model)


def test_a_part_of_a_name_is_enough_if_only_one_has_it() -> None:
    assert stem(resolve_model(Unit("canny", "v11p_sd15_canny"), MODELS, "v1-5", {})).endswith(
        "canny"
    )
    with pytest.raises(InputError, match="several ControlNet models"):
        resolve_model(Unit("depth", "depth"), MODELS, "v1-5", {})


@pytest.mark.parametrize("kind", ["depth", "reference"])
def test_the_request_has_the_fields_and_words_servers_take(kind: str) -> None:
    for mode in MODES:
        body = unit_body(Unit(kind, mode=mode), "None", b"png", False)
        assert all(isinstance(v, FIELDS[k]) for k, v in body.items())
        assert body["enabled"] is True
        assert body["module"] in MODULES and body["resize_mode"] in RESIZE
        assert body["control_mode"] in KNOWN_MODES


@pytest.mark.parametrize("name", list(presets.PRESETS))
def test_presets_are_valid_settings(name: str) -> None:
    parsed = arguments.build().parse_args(["run", "--out", "x", "--preset", name, "--seed", "4"])
    settings = from_json(arguments.given_settings(parsed))
    assert settings.preset == name and settings.seed == 4
    for key, value in presets.PRESETS[name].items():
        assert getattr(settings, key) == value


def test_what_is_given_wins_over_a_preset_and_iterations_may_differ() -> None:
    line = ["run", "--out", "x", "--preset", "experiment,rodin", "--cfg-scale", "3"]
    settings = from_json(arguments.given_settings(arguments.build().parse_args(line)))
    assert settings.cfg_scale == 3 and settings.strength == 0.9 and "Rodin" in settings.prompt
    assert at_iteration(settings, 1).sampler == "DPM++ 2M"
    assert at_iteration(settings, 2).sampler == at_iteration(settings, 5).sampler == "DDIM"
    with pytest.raises(InputError, match="no preset 'nope'"):
        from_json({"preset": "nope"})


@pytest.mark.parametrize("text", ["sampler", "views=9", "strength=much", "strength=7"])
def test_bad_later_settings_are_named(text: str) -> None:
    with pytest.raises(InputError, match=r"--later|--strength"):
        validate(Settings(later=text))


def test_flavours() -> None:
    assert flavours.detect({"forge_preset": 1}, [], False) is flavours.FORGE
    assert flavours.detect({"a": 1, "b": 2}, [{"hash": "8888888888"}], False) is flavours.SDCPP
    assert flavours.detect({"a": 1, "b": 2}, [{"hash": "x"}], False) is flavours.KOBOLD
    many = dict.fromkeys("abc")
    assert flavours.detect(many, [], True) is flavours.SDNEXT
    assert flavours.detect(many, [], False) is flavours.A1111
    assert flavours.KOBOLD.lacks({"--vae": False, "--control": True}) == "--control"


def test_names_of_files() -> None:
    assert same_model("sub/tiny.safetensors [abc]", "tiny")
    assert not same_model("v1.5", "v1.4")
    assert resolve_vae("ft-mse", [{"model_name": "ft-mse.safetensors"}]) == "ft-mse.safetensors"
    check_loras("a <lora:Bronze:0.5> head", [{"name": "x", "alias": "bronze"}])
