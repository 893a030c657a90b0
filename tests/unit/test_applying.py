"""Which settings count under which others."""

import dataclasses

import pytest

from gs_diffusion_addon.core.applying import ONLY, WITH, applies
from gs_diffusion_addon.core.settings import Settings, kind, knob, names


def shown(**values) -> set[str]:
    settings = dataclasses.replace(Settings(), **values)
    return {name for name in names() if applies(settings, name)}


@pytest.mark.parametrize("name", ONLY)
def test_the_table_names_settings_and_their_choices(name):
    assert name in names()
    for other, choices in ONLY[name].items():
        assert set(choices) <= set(knob(other).choices), other


def test_the_table_of_texts_names_texts():
    assert all(name in names() and kind(other) is str for name, (other, _) in WITH.items())


def test_each_backend_brings_its_settings_and_no_others(monkeypatch):
    monkeypatch.delenv("GSD_GRAPHDECO", raising=False)
    preview, server, local = (shown(stylizer=s) for s in ("preview", "a1111", "diffusers_local"))
    assert "style" in preview and "sampler" not in preview and "server" not in preview
    assert "style" not in server and {"sampler", "server", "refiner"} <= server
    assert "sampler" in local and not {"server", "server_verify", "refiner"} & local
    assert {"style", "server", "sampler"} <= shown(stylizer="auto")
    assert "ebsynth" not in shown(propagator="auto") and "seams" in shown(propagator="patchmatch")
    assert "ebsynth" in shown(propagator="ebsynth_cli") and "seams" not in shown(propagator="none")
    assert "sharpness" not in shown() and "sharpness" in shown(seams="soft")
    assert "lens" in shown() and "lens" not in shown(camera="scene")
    assert "source_blend" not in shown() and "source_blend" in shown(source="blend")


def test_auto_is_graphdeco_only_where_a_checkout_is_named(monkeypatch):
    monkeypatch.delenv("GSD_GRAPHDECO", raising=False)
    assert not {"graphdeco", "graphdeco_python", "brush", "silence"} & shown()
    assert {"graphdeco_python", "strategy"} <= shown(graphdeco="/checkout")
    assert "strategy" not in shown(trainer="builtin") and "graphdeco" in shown(trainer="graphdeco")


def test_a_text_that_a_run_stumbles_over_is_seen_until_it_is_emptied():
    assert "control" not in shown(stylizer="preview")
    assert "control" in shown(stylizer="preview", control="depht")
    assert "refiner" in shown(stylizer="diffusers_local", refiner="x")
    assert "canny_low" not in shown() and "canny_low" in shown(control="canny")
    assert "main_frames" not in shown() and "main_frames" in shown(main_folder="/frames")
