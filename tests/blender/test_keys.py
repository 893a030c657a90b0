"""The strip of keyframes, the wait for EbSynth, a run left behind, sentences for the panel."""

import sys

import bpy
import pytest

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.run import Run, new_manifest, write_json
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.core.stages import plan, record_name
from gs_diffusion_addon.ui import keys, online, panels, pictures, properties, running, runs
from gs_diffusion_addon.ui.job import Job
from gs_diffusion_addon.ui.text import spoken
from tests.blender.ui_helpers import Layout, drawn

RECORD = {"state": "done", "key": {"settings": "", "inputs": ""}}


pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def run(tmp_path):
    """A chosen run with three restyled keyframes in its second iteration."""
    root = tmp_path / "run-001"
    folder = Run(root, 2)
    folder.keys.mkdir(parents=True)
    Run(root, 1).keys.mkdir(parents=True)
    for number in (0, 4, 8):
        folder.key(number).touch()
    write_json(folder.manifest, new_manifest(Settings(blend="x"), "0"))
    group().folder, group().run = str(tmp_path), "run-001"
    return folder


def group():
    return bpy.context.scene.gs_diffusion


def test_the_strip_shows_the_newest_iterations_keys_and_rejecting_one_is_a_setting(run):
    shown = drawn(panels.GS_DIFFUSION_PT_stylize)
    assert "Keyframes of run-001, Iteration 2" in shown
    assert [s for s in shown if s.startswith("Frame ")] == ["Frame 0", "Frame 4", "Frame 8"]
    bpy.ops.gs_diffusion.reject_key(key=4)
    bpy.ops.gs_diffusion.reject_key(key=8)
    assert group().reject_keys == "4,8" and "--reject-keys=4,8" in properties.options(group())
    assert "4 left out" in drawn(panels.GS_DIFFUSION_PT_stylize)
    with pytest.raises(RuntimeError, match="has to stay"):
        bpy.ops.gs_diffusion.reject_key(key=0)
    bpy.ops.gs_diffusion.reject_key(key=4)
    assert group().reject_keys == "8"


def test_another_run_has_its_own_rejected_keys_and_iterations(run, tmp_path, monkeypatch):
    other = Run(tmp_path / "run-002")
    write_json(other.manifest, new_manifest(Settings(blend="x", reject_keys="0"), "0"))
    commands = []

    class Kept(Job):
        def launch(self):
            commands.append(self.command)
            raise InputError("It is not started here.")

    monkeypatch.setattr(running, "Job", Kept)

    def pressed(stage):
        with pytest.raises(RuntimeError, match="not started here"):
            bpy.ops.gs_diffusion.run_stage(stage=stage)
        running.current = None
        return commands[-1]

    group().iterations = 3
    bpy.ops.gs_diffusion.reject_key(key=4)
    told = pressed("propagate")
    assert f"--out={tmp_path / 'run-001'}" in told and "--reject-keys=4" in told
    assert not any(word.startswith("--iterations") for word in told)
    bpy.ops.gs_diffusion.choose_run(name="run-002")
    assert group().reject_keys == "0"
    bpy.ops.gs_diffusion.choose_run(name="run-002")
    assert (group().run, group().reject_keys) == ("", "")
    told = pressed("propagate")
    assert f"--out={tmp_path / 'run-003'}" in told and told[-1] == "--iterations=1"


def test_reroll_asks_the_worker_for_that_key_of_that_iteration(run, tmp_path, monkeypatch):
    script = tmp_path / "stand_in.py"
    script.write_text(
        "import pathlib, sys\npathlib.Path(__file__ + '.txt').write_text(str(sys.argv))"
    )
    command = [sys.executable, str(script)]
    monkeypatch.setattr(running, "blender_command", lambda _settings: list(command))
    reroll = bpy.ops.gs_diffusion.reroll_key
    assert reroll(folder=str(run.root), key=4, iteration=2) == {"FINISHED"}
    asked = script.with_name("stand_in.py.txt").read_text()
    assert "'reroll'" in asked and "--key=4" in asked and "--iteration=2" in asked
    assert "Propagate" in " ".join(drawn(panels.GS_DIFFUSION_PT_main))
    script.write_text("import sys\nprint('gsd: No such keyframe.')\nsys.exit(2)")
    assert reroll(folder=str(run.root), key=5, iteration=2) == {"CANCELLED"}
    assert "No such keyframe." in " ".join(drawn(panels.GS_DIFFUSION_PT_main))


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"stylizer": "a1111", "server": "http://gpu.example:7860"}, "is another machine"),
        (
            {"stylizer": "diffusers_local", "checkpoint": ".", "later": "checkpoint=owner/name"},
            "'owner/name' is no folder",
        ),
    ],
)
def test_nothing_is_fetched_without_leave_whatever_the_scene_says(
    run, monkeypatch, changes, refusal
):
    """Resume and reroll work with the run's own settings, not with the panel's."""
    settings = Settings(blend="x", iterations=2, **changes)
    write_json(run.manifest, new_manifest(settings, "0"))
    started = []
    monkeypatch.setattr(online, "allowed", lambda: False)
    monkeypatch.setattr(running, "command_of", lambda _settings: started.append(1) or ["none"])
    group().stylizer = "preview"
    for ask in (
        lambda: bpy.ops.gs_diffusion.resume_run(folder=str(run.root)),
        lambda: bpy.ops.gs_diffusion.run_iteration(resume=True),
        lambda: bpy.ops.gs_diffusion.reroll_key(folder=str(run.root), key=4, iteration=2),
    ):
        with pytest.raises(RuntimeError, match=refusal):
            ask()
    assert not started


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"later": "checkpoint=owner/name"}, "owner/name"),
        ({"schedule": "checkpoint=.->.->owner/third"}, "owner/third"),
        ({"later": "vae=owner/vae"}, "owner/vae"),
        ({"later": "control=depth@owner/net"}, "owner/net"),
    ],
)
def test_what_a_later_iteration_would_fetch_is_asked_for_before_the_first(
    run, monkeypatch, changes, wanted
):
    started = []
    monkeypatch.setattr(online, "allowed", lambda: False)
    monkeypatch.setattr(running, "command_of", lambda _settings: started.append(1) or ["none"])
    monkeypatch.setattr(running, "follow", lambda job, done: None)
    settings = group()
    settings.stylizer, settings.checkpoint, settings.iterations = "diffusers_local", ".", 3
    for name, value in changes.items():
        setattr(settings, name, value)
    with pytest.raises(RuntimeError, match=f"'{wanted}' is no folder"):
        bpy.ops.gs_diffusion.run_iterations()
    own = Settings(blend="x", iterations=3)  # the chosen run's, which a stage button goes on with
    write_json(run.manifest, new_manifest(own, "0"))
    settings.iterations = 1
    with pytest.raises(RuntimeError, match=f"'{wanted}' is no folder"):
        bpy.ops.gs_diffusion.run_stage(stage="train")
    assert not started and not (run.root.parent / "run-002").exists()
    online.require_allowed(properties.as_settings(settings), 1)  # the first alone fetches nothing


def test_a_damaged_setting_does_not_break_the_strip(run):
    group().reject_keys = "four"
    assert keys.rejected(group()) == frozenset()
    assert "Frame 4" in drawn(panels.GS_DIFFUSION_PT_stylize)


def test_what_lies_beside_the_keyframes_is_not_one(run):
    """A file manager's copy, another program's backup."""
    for name in ("keys00003 copy.png", "keys00005.png~", "keys.png", "keys00006-old.png"):
        (run.keys / name).touch()
    (Run(run.root, 3).keys).mkdir(parents=True)
    (Run(run.root, 3).keys / "keys00000 (2).png").touch()
    shown = drawn(panels.GS_DIFFUSION_PT_stylize)
    assert [s for s in shown if s.startswith("Frame ")] == ["Frame 0", "Frame 4", "Frame 8"]
    bpy.ops.gs_diffusion.reject_key(key=4)
    bpy.ops.gs_diffusion.reject_key(key=8)
    with pytest.raises(RuntimeError, match="has to stay"):
        bpy.ops.gs_diffusion.reject_key(key=0)


def test_a_misspelled_property_of_a_button_fails():
    button = Layout().operator("gs_diffusion.reroll_key")
    for name, value in (("iteraton", 1), ("key", "4")):
        with pytest.raises(AssertionError):
            setattr(button, name, value)


def test_the_wait_for_ebsynth_is_shown_and_can_be_skipped(run):
    rows = [{"key": k, "first": 0, "last": 5, "done": done} for k, done in ((0, 6), (4, 2), (8, 0))]
    job = Job((), run.root, stage="Carrying the style", iteration=2)
    job._show({"event": "ebsynth", "rows": rows})
    running.become_current(job)
    shown = drawn(panels.GS_DIFFUSION_PT_main)
    assert {"Waiting for EbSynth, rows 1/3", "Open Folder", "gs_diffusion.skip_ebsynth"} <= set(
        shown
    )
    (run.folder / "ebsynth").mkdir()
    bpy.ops.gs_diffusion.skip_ebsynth(folder=str(run.folder / "ebsynth"))
    assert (run.folder / "ebsynth" / "SKIP").is_file()
    with pytest.raises(RuntimeError, match="cannot be written"):
        bpy.ops.gs_diffusion.skip_ebsynth(folder=str(run.root / "none"))
    job._show({"event": "stage_started", "label": "Next"})
    assert "Waiting" not in " ".join(drawn(panels.GS_DIFFUSION_PT_main))
    job.code = 0


def test_a_run_that_was_stopped_amid_a_stage_is_offered(run):
    assert runs.left_behind(run.root.parent) is None
    manifest = new_manifest(Settings(blend="x"), "0")
    manifest["stages"]["0/turntable"] = RECORD | {"state": "running"}
    write_json(run.manifest, manifest)
    assert runs.left_behind(run.root.parent) == run.root
    shown = drawn(panels.GS_DIFFUSION_PT_main)
    assert {"run-001 was stopped", "gs_diffusion.resume_run"} <= set(shown)


def test_a_loop_that_ended_early_is_whole(run):
    settings = Settings(blend="x", iterations=5, stop_below=0.1)
    manifest = new_manifest(settings, "0")
    manifest["stages"] = {record_name(*step): RECORD for step in plan(2)}
    write_json(run.manifest, manifest)
    assert runs.row(run.root).done < runs.row(run.root).stages
    write_json(run.metrics, {"change": {"mean": 0.01}})  # less than stop_below
    write_json(run.manifest, manifest)
    assert runs.row(run.root).done == runs.row(run.root).stages == len(plan(2))


def test_sentences_name_settings_as_the_panel_does():
    assert spoken("Raise --samples or --cfg-scale; see --api.") == (
        "Raise Samples or CFG Scale; see --api."
    )


def test_pictures_that_come_fast_stay_long_enough_to_be_seen(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(pictures.time, "monotonic", lambda: now[0])
    first, second = tmp_path / "1.png", tmp_path / "2.png"
    first.touch(), second.touch()
    assert pictures.newest(first) == first
    now[0] += 0.5
    assert pictures.newest(second) == first
    now[0] += 2
    assert pictures.newest(second) == second
