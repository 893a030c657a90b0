"""Settings: one table, its command line, its ranges and small languages."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gs_diffusion_addon.core import arguments, settings, stages
from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.settings import Ring, Settings


def test_defaults_are_valid_and_every_setting_has_help_group_and_known_stages():
    settings.validate(Settings())
    for name in settings.names():
        knob = settings.knob(name)
        assert len(knob.help) > 10 and not knob.help.endswith("."), name
        assert knob.group in arguments.GROUPS, name
        assert set(knob.stages) <= set(stages.NAMES), name


def test_every_setting_is_an_option_of_run_and_only_given_ones_are_returned():
    parser = arguments.build()
    parsed = parser.parse_args(["run", "--out", "x", "--views", "36", "--no-denoise"])
    assert arguments.given_settings(parsed) == {"views": 36, "denoise": False}
    sample = {bool: None, int: "9", float: "1", str: "none"}
    for name in settings.names():
        value = sample[settings.kind(name)]
        if settings.knob(name).choices:
            value = settings.knob(name).choices[0]
        option = [settings.flag(name)] + ([value] if value is not None else [])
        given_values = arguments.given_settings(parser.parse_args(["run", "--out", "x", *option]))
        assert list(given_values) == [name]


def test_json_round_trip():
    s = dataclasses.replace(Settings(), views=36, prompt='ein "Kopf" ✓', denoise=False)
    assert settings.from_json(settings.to_json(s)) == s
    assert settings.from_json({"strength": 1}).strength == 1.0


@pytest.mark.parametrize(
    "values",
    [
        {"views": 1},
        {"views": 5000},
        {"strength": 1.5},
        {"strength": float("nan")},
        {"views": "72"},
        {"views": True},
        {"denoise": 1},
        {"engine": "povray"},
        {"rings": "30"},
        {"rings": "95:12"},
        {"rings": "30:0"},
        {"rings": "30:x"},
        {"size": "12"},
        {"size": "512x"},
        {"size": "big"},
        {"split": "80/20"},
        {"split": "80/5/20"},
        {"split": "0/50/50"},
        {"no_such": 1},
        {"server": "http://me:secret@host:7860"},
    ],
)
def test_bad_values_give_a_sentence(values):
    with pytest.raises(InputError) as caught:
        settings.from_json(values)
    assert str(caught.value).endswith(".") and "secret" not in str(caught.value)


def test_small_languages():
    assert settings.parse_rings(" 30:24, -25.5:12") == (Ring(30, 24), Ring(-25.5, 12))
    assert settings.parse_rings("none") == ()
    assert settings.parse_size("640x360") == (640, 360)
    assert settings.parse_size("64") == (64, 64)
    assert settings.parse_split("80/5/15") == pytest.approx((0.8, 0.05, 0.15))


@given(st.text(max_size=12))
def test_rings_and_size_never_fail_otherwise(text):
    for parse in (settings.parse_rings, settings.parse_size, settings.parse_split):
        try:
            parse(text)
        except InputError:
            continue


def test_a_wrong_option_is_a_sentence_not_usage(capsys):
    for argv in (["run", "--out", "x", "--nope"], ["stage", "bake", "--out", "x"], []):
        with pytest.raises(InputError, match="--help"):
            arguments.build().parse_args(argv)
    assert capsys.readouterr().err == ""


def test_a_mistyped_option_is_answered_with_the_one_that_was_meant():
    with pytest.raises(InputError, match=r"--strenght: did you mean --strength\? See 'gsd run "):
        arguments.parse(["run", "--out", "x", "--strenght", "0.5"])
    with pytest.raises(InputError, match="no option --zzz: see 'gsd status --help'"):
        arguments.parse(["status", "--out", "x", "--zzz"])
