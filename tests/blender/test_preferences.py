"""The preferences: what is found, the worker's environment, presets of the user's own."""

import json
import sys
import threading
from types import SimpleNamespace

import bpy
import pytest

import gs_diffusion_addon
from gs_diffusion_addon.ui import environment, findings, preferences, prompts, properties
from gs_diffusion_addon.ui.drawing import draw_settings
from tests.blender.ui_helpers import Layout
from tests.processes import wait_for


@pytest.fixture(autouse=True)
def registered(empty_scene, tmp_path, monkeypatch):
    monkeypatch.setenv("GSD_ENVIRONMENT", str(tmp_path / "worker"))
    monkeypatch.setattr(findings, "lines", [])
    monkeypatch.setattr(findings, "_looked", False)
    monkeypatch.setattr(environment, "environment_job", None)
    monkeypatch.setattr(environment, "check_job", None)
    gs_diffusion_addon.register()
    yield
    gs_diffusion_addon.unregister()


def stand_in(monkeypatch, code: str) -> list[tuple[str, ...]]:
    """Let the operators start a line of Python; returns what they would have asked for."""
    asked: list[tuple[str, ...]] = []
    head = (
        "import sys, time, json\n"
        "def event(e, **f): print('\\x1e' + json.dumps({'event': e, **f}), flush=True)\n"
    )

    def program(*words):
        asked.append(words)
        return [sys.executable, "-c", head + code]

    monkeypatch.setattr(environment, "_program", program)
    return asked


def drawn() -> list[str]:
    layout = Layout()
    panel = type("Panel", (), {"worker_python": "", "layout": layout})()
    panel.bl_rna = preferences.GS_DIFFUSION_AP_preferences.bl_rna
    panel._draw_environment = lambda box: preferences.GS_DIFFUSION_AP_preferences._draw_environment(
        panel, box
    )
    preferences.GS_DIFFUSION_AP_preferences.draw(panel, bpy.context)
    return layout.shown


def test_what_was_found_is_a_line_each(monkeypatch):
    lines = [
        {"name": "Torch", "ok": True, "detail": "2.13 works", "todo": "", "required": True},
        {"name": "EbSynth", "ok": False, "detail": "none", "todo": "Get it.", "required": False},
    ]
    asked = stand_in(monkeypatch, f"print({json.dumps(json.dumps(lines))})")
    assert "Not looked at yet: press Check Again." in drawn()
    bpy.ops.gs_diffusion.check()
    assert asked[0][:2] == ("check", "--json")
    shown = " ".join(drawn())
    assert "Torch: 2.13 works" in shown and "EbSynth: none" in shown and "Get it." in shown


def test_backends_that_were_not_found_say_so_and_files_stay_valid(monkeypatch):
    settings = bpy.context.scene.gs_diffusion
    settings.trainer = "gsplat"
    choices = properties._offered("trainer")
    before = choices(None, None)
    lines = [
        {"name": "gsplat (CUDA)", "ok": False, "detail": "no CUDA card",
         "todo": "Nothing to do; to use it, buy --samples.",
         "required": False},
        {"name": "Brush", "ok": True, "detail": "found", "todo": "", "required": False},
    ]  # fmt: skip
    stand_in(monkeypatch, f"print({json.dumps(json.dumps(lines))})")
    bpy.ops.gs_diffusion.check()
    after = {item[0]: item for item in choices(None, None)}
    assert after["gsplat"][1] == "gsplat (no CUDA card)"
    assert "At the last check: no CUDA card. Buy Samples." in after["gsplat"][2]
    layout = Layout()
    draw_settings(layout, settings, ("train",), "x")
    assert "At the last check: no CUDA card. Buy Samples." in " ".join(layout.shown)
    settings.trainer = "brush"
    layout = Layout()
    draw_settings(layout, settings, ("train",), "x")
    assert "At the last check" not in " ".join(layout.shown)
    settings.trainer = "gsplat"
    assert after["brush"][1] == "Brush"
    assert [(i[0], i[4]) for i in before] == [(i[0], i[4]) for i in after.values()]
    assert settings.trainer == "gsplat"
    monkeypatch.setattr(findings, "lines", [])
    monkeypatch.setattr(findings, "_looked", False)  # as in a new session
    assert findings.lacking("gsplat")["detail"] == "no CUDA card"
    findings.file().write_text('[1, {"name": 2}, {"name": "gsplat (CUDA)"}]')
    monkeypatch.setattr(findings, "lines", [])
    monkeypatch.setattr(findings, "_looked", False)
    assert findings.lacking("gsplat") is None


def test_the_check_looks_where_the_scene_says_but_beyond_this_machine_only_when_allowed(
    monkeypatch,
):
    asked = stand_in(monkeypatch, "print('[]')")
    settings = bpy.context.scene.gs_diffusion
    settings.ebsynth, settings.server = "/opt/ebsynth", "http://127.0.0.1:9"
    monkeypatch.setattr(environment.online, "allowed", lambda: False)
    bpy.ops.gs_diffusion.check()
    assert {"--ebsynth=/opt/ebsynth", "--server=http://127.0.0.1:9"} <= set(asked[-1])
    settings.server = "http://far.example:7860"
    bpy.ops.gs_diffusion.check()
    assert not [word for word in asked[-1] if "far.example" in word]
    monkeypatch.setattr(environment.online, "allowed", lambda: True)
    bpy.ops.gs_diffusion.check()
    assert "--server=http://far.example:7860" in asked[-1]


def test_the_environment_is_announced_made_and_removed(monkeypatch, tmp_path):
    assert "to download" in " ".join(drawn()) and "are free" in " ".join(drawn())
    monkeypatch.setattr(environment.online, "allowed", lambda: True)
    asked = stand_in(monkeypatch, "event('phase', message='Installing torch')")
    assert bpy.ops.gs_diffusion.environment(action="create") == {"FINISHED"}
    assert asked[-1] == ("environment", "create", f"--folder={tmp_path / 'worker'}")
    assert environment.environment_job.succeeded and "Done." in drawn()
    assert "Remove" not in drawn(), "there is nothing to remove"
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "pyvenv.cfg").touch()
    assert "Remove" in drawn() and "Renew" in drawn()
    stand_in(monkeypatch, "print('gsd: No room on the disk.'); sys.exit(3)")
    bpy.ops.gs_diffusion.environment(action="remove")
    assert "No room on the disk." in " ".join(drawn())


def test_asking_for_a_card_does_not_hold_the_window(monkeypatch):
    release, timers = threading.Event(), []
    monkeypatch.setattr(environment, "has_nvidia", lambda: release.wait(60))
    register = SimpleNamespace(register=lambda function, first_interval: timers.append(function))
    window = SimpleNamespace(app=SimpleNamespace(background=False, timers=register))
    monkeypatch.setattr(environment, "bpy", window)
    environment._question.cache_clear()
    assert environment.announcement().startswith("Looking whether") and timers[0]() == 0.1
    release.set()
    environment._question()[0].join()
    assert "Torch's CUDA build" in environment.announcement()
    assert timers[0]() is None and len(timers) == 1, "it was asked twice"
    environment._question.cache_clear()


def test_creating_the_environment_needs_permission_to_go_online(monkeypatch):
    monkeypatch.setattr(environment.online, "allowed", lambda: False)
    with pytest.raises(RuntimeError, match="Allow Online Access"):
        bpy.ops.gs_diffusion.environment(action="create")


def test_progress_is_shown_and_it_can_be_canceled(monkeypatch, tmp_path):
    stand_in(monkeypatch, "event('phase', message='Installing torch')\ntime.sleep(300)")
    job = environment.Job(environment._program("x"), tmp_path, stage="Making the environment")
    job.start()
    environment.environment_job = job
    wait_for(lambda: job.detail, job.poll)
    assert "Making the environment: Installing torch (0:0" in " ".join(drawn())
    started = environment._since[1]
    monkeypatch.setattr(environment, "_since", ("Installing torch", started - 75))
    assert "Installing torch (1:1" in " ".join(drawn()), "nobody sees that it works"
    bpy.ops.gs_diffusion.environment(action="cancel")
    job.wait()
    assert job.cancelled and "Cancel" not in drawn()


def test_prompt_presets_the_programs_and_the_users(monkeypatch, tmp_path):
    monkeypatch.setattr(prompts, "own_file", lambda: tmp_path / "prompts.json")
    settings = bpy.context.scene.gs_diffusion
    assert {"rodin", "red-hair", "elf"} <= set(prompts.every())
    bpy.ops.gs_diffusion.prompt_preset(name="rodin")
    assert "Rodin" in settings.prompt and settings.negative_prompt
    settings.prompt = "a jade dragon"
    bpy.ops.gs_diffusion.save_prompt_preset(name="Jade")
    settings.prompt = ""
    bpy.ops.gs_diffusion.prompt_preset(name="Jade")
    assert settings.prompt == "a jade dragon"
    for damaged in ("damaged", '{"mine": 3}', "[]"):
        (tmp_path / "prompts.json").write_text(damaged)
        assert set(prompts.every()) == set(prompts.PRESETS)
    with pytest.raises(RuntimeError, match="needs a name"):
        bpy.ops.gs_diffusion.save_prompt_preset(name=" ")
    assert replaced("rodin") and not replaced("another")


def replaced(name: str) -> bool:
    """Whether the dialog says that a preset of this name is there already."""
    stand_in = SimpleNamespace(layout=Layout(), name=name)
    stand_in.bl_rna = SimpleNamespace(properties=["name"])
    prompts.GS_DIFFUSION_OT_save_prompt_preset.draw(stand_in, bpy.context)
    return "OK replaces the preset of this name" in stand_in.layout.shown


def offered() -> list[str]:
    layout = Layout()
    environment.draw_offer(layout)
    return layout.shown


def found_worker(ok: bool) -> str:
    line = {"name": "Worker environment", "ok": ok, "detail": "-", "todo": "", "required": True}
    return f"print({json.dumps(json.dumps([line]))})"


def test_the_main_panel_offers_the_environment_where_there_is_none(monkeypatch):
    """Nobody has to look for it in the preferences; nothing is offered before the first check."""
    assert not offered()
    stand_in(monkeypatch, found_worker(True))
    bpy.ops.gs_diffusion.check()
    assert not offered()
    stand_in(monkeypatch, found_worker(False))
    bpy.ops.gs_diffusion.check()
    monkeypatch.setattr(environment.online, "allowed", lambda: False)
    shown = " ".join(offered())
    assert "Once, before the first run" in shown and "to download" in shown
    assert "Allow Online Access" in shown and shown.endswith("Create")
    monkeypatch.setattr(environment.online, "allowed", lambda: True)
    stand_in(monkeypatch, "print('gsd: The package index cannot be reached.'); sys.exit(3)")
    bpy.ops.gs_diffusion.environment(action="create")
    assert offered() == ["The package index cannot be", "reached.", "Create"]
    stand_in(monkeypatch, "event('phase', message='Installing torch')")
    bpy.ops.gs_diffusion.environment(action="create")
    assert offered() == ["The environment is ready"]
    monkeypatch.setattr(environment.running, "current", environment.environment_job)
    assert not offered(), "it is old news once there was a run"


def test_a_canceled_environment_goes_on_with_create(monkeypatch, tmp_path):
    monkeypatch.setattr(environment.online, "allowed", lambda: True)
    stand_in(monkeypatch, "time.sleep(60)")
    job = environment.Job(environment._program("x"), tmp_path, stage="Making the environment")
    job.start()
    environment.environment_job = job
    assert offered()[0].startswith("Making the environment") and offered()[-1] == "Cancel"
    bpy.ops.gs_diffusion.environment(action="cancel")
    job.wait()
    assert " ".join(offered()) == "Stopped; Create goes on from here. Create"
