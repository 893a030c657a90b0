"""The panel's side: registering, properties made from the settings, operators, and a job's life."""

import sys
from pathlib import Path

import bpy
import numpy as np
import pytest

import gs_diffusion_addon
from gs_diffusion_addon.core.arguments import build, given_settings
from gs_diffusion_addon.core.ply import Splats, write_splats
from gs_diffusion_addon.core.run import SCENE_COPY, Run, new_manifest, write_json
from gs_diffusion_addon.core.settings import Settings, from_json, kind, knob, names
from gs_diffusion_addon.core.stages import plan
from gs_diffusion_addon.ui import panels, properties, run_panels, running, runs, splat_panel
from gs_diffusion_addon.ui.job import Job
from gs_diffusion_addon.ui.places import runs_folder
from tests.blender.ui_helpers import drawn, finished_run, stand_in_worker
from tests.processes import wait_for

pytestmark = pytest.mark.usefixtures("registered")


def group():
    return bpy.context.scene.gs_diffusion


def child(code: str, tmp_path) -> Job:
    """A job whose worker is a line of Python; it can call event(name, field=value)."""
    head = (
        "import sys, time, json\n"
        "def event(e, **f): print('\\x1e' + json.dumps({'event': e, **f}), flush=True)\n"
    )
    job = Job([sys.executable, "-c", head + code], tmp_path, until="import")
    job.start()
    return job


def test_register_and_unregister_any_number_of_times():
    draw = bpy.types.VIEW3D_MT_object.draw._draw_funcs
    entries = [f for f in draw if f.__module__.startswith("gs_diffusion_addon")]
    assert len(entries) == 1
    gs_diffusion_addon.register()
    entries = [f for f in draw if f.__module__.startswith("gs_diffusion_addon")]
    assert len(entries) == 1
    for _ in range(2):
        gs_diffusion_addon.unregister()
        assert not hasattr(bpy.types.Scene, "gs_diffusion")
        assert not [f for f in draw if f.__module__.startswith("gs_diffusion_addon")]
        assert "run_iteration" not in dir(bpy.ops.gs_diffusion)
    gs_diffusion_addon.register()
    assert "run_iteration" in dir(bpy.ops.gs_diffusion)
    assert bpy.ops.gs_diffusion.run_iteration.get_rna_type().name == "Run Diffusion Iteration"


@pytest.mark.parametrize("name", names())
def test_every_setting_is_a_property_with_its_help_default_and_range(name):
    found = group().bl_rna.properties[name]
    k, default = knob(name), getattr(Settings(), name)
    assert k.help[1:] in found.description and found.description[0].isupper()
    unit = {"px": "pixels", "s": "seconds"}.get(k.unit, k.unit)
    assert unit in found.description, "the tooltip names no unit"
    assert (k.unit == "degrees") == found.name.endswith(" (°)")
    assert getattr(group(), name) == pytest.approx(default)
    if name in properties.BACKENDS:
        choices = properties._offered(name)(None, None)
        assert tuple((c[0], c[4]) for c in choices) == tuple(
            (c, i) for i, c in enumerate(k.choices)
        )
    elif k.choices:
        assert tuple(i.identifier for i in found.enum_items) == k.choices
    elif kind(name) in (int, float) and k.low is not None:
        assert found.hard_min == pytest.approx(k.low)
        assert found.hard_max == pytest.approx(min(k.high, 2**31 - 1))


def test_options_are_what_the_command_line_makes_the_same_settings_of():
    values = group()
    values.prompt, values.negative_prompt = 'bronze "bust", -- old', "-x"
    values.views, values.denoise, values.rings, values.strength = 24, False, "-25:12", 0.3
    values.stylizer, values.objects = "preview", "A, B"
    parsed = build().parse_args(["run", "--out", "x", *properties.options(values)])
    settings = from_json(given_settings(parsed))
    expected = {"prompt": 'bronze "bust", -- old', "negative_prompt": "-x", "views": 24}
    expected |= {"denoise": False, "rings": "-25:12", "strength": 0.3, "stylizer": "preview"}
    expected |= {"objects": "A, B"}
    assert settings == Settings(**expected)


def test_import_splat_operator(tmp_path):
    splats = Splats(*(np.ones(s, np.float32) for s in ((3, 3), (3, 1, 3), (3,), (3, 3), (3, 4))))
    write_splats(tmp_path / "one.ply", splats)
    assert bpy.ops.gs_diffusion.import_splat(filepath=str(tmp_path / "one.ply")) == {"FINISHED"}
    item = bpy.context.active_object
    assert item.name == "one" and item.select_get() and len(item.modifiers) == 2
    assert bpy.context.scene.view_settings.view_transform == "Standard"
    assert bpy.ops.gs_diffusion.splat_display(viewport="gaussians") == {"FINISHED"}
    assert item.modifiers["GS Diffusion Gaussians"].show_viewport
    with pytest.raises(RuntimeError, match="does not exist"):
        bpy.ops.gs_diffusion.import_splat(filepath=str(tmp_path / "none.ply"))


def test_use_selection_and_toggle_model():
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.active_object
    bpy.ops.gs_diffusion.use_selection()
    assert group().objects == "Cube"
    bpy.ops.gs_diffusion.toggle_source()
    assert cube.hide_render
    bpy.ops.gs_diffusion.toggle_source()
    assert not cube.hide_render and not cube.hide_viewport
    cube.select_set(False)
    assert bpy.ops.gs_diffusion.toggle_source() == {"CANCELLED"}, "there was nothing to hide"


def test_a_selected_rig_stands_for_what_hangs_on_it_and_nothing_is_refused():
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.active_object
    bpy.ops.object.armature_add()
    rig = bpy.context.active_object
    cube.parent = rig
    bpy.ops.object.light_add()
    rig.select_set(True)
    bpy.ops.gs_diffusion.use_selection()
    assert group().objects == "Armature"
    cube.parent = None
    with pytest.raises(RuntimeError, match="nothing with geometry"):
        bpy.ops.gs_diffusion.use_selection()
    assert group().objects == "Armature"  # empty would mean everything


def test_job_follows_the_event_stream(tmp_path):
    job = child(
        "event('stage_started', stage='train', label='Training the splat', iteration=2)\n"
        "event('progress', done=3, total=12, unit='steps', eta=75.0, image='a/b.png')\n"
        "event('warning', message='Mind the gap.')\nprint('chatter of a library')\n",
        tmp_path,
    )
    assert job.wait() == 0 and job.succeeded
    assert (job.stage, job.iteration, job.share, job.eta) == ("Training the splat", 2, 0.25, 75.0)
    assert (job.detail, job.image) == ("3/12 steps", "a/b.png")
    assert job.warnings == ["Mind the gap."]


def test_job_that_fails_ends_with_the_workers_sentence(tmp_path):
    job = child("print('gsd: The server is not there.'); sys.exit(3)", tmp_path)
    assert job.wait() == 3 and not job.succeeded
    assert job.outcome == "The server is not there."


def test_cancel_returns_at_once_and_ends_the_child(tmp_path, held_end):
    job = child("event('phase', message='x')\ntime.sleep(300)", tmp_path)
    wait_for(lambda: job.detail, job.poll)
    job.cancel()
    assert not held_end.is_set(), "it waited for the child's end"
    assert job.stage == "Stopping" and job.poll()
    held_end.set()
    wait_for(lambda: not job.poll())
    assert job.outcome == "Stopped.", "nothing has begun that Resume could go on with"
    write_json(tmp_path / "run.json", new_manifest(Settings(blend="x"), "0"))
    assert job.outcome == "Stopped; Resume goes on from here."


def test_unregister_ends_a_running_job(tmp_path):
    running.current = job = child("time.sleep(300)", tmp_path)
    gs_diffusion_addon.unregister()
    assert job.wait() is not None and running.current is None


def test_run_operator_saves_the_scene_runs_the_worker_and_imports(tmp_path, monkeypatch):
    """In the background the operator blocks. The worker is played by a script that checks what it
    is given and leaves a run folder as the real one does.
    """
    splats = Splats(*(np.ones(s, np.float32) for s in ((3, 3), (3, 1, 3), (3,), (3, 3), (3, 4))))
    write_splats(tmp_path / "made.ply", splats)
    write_json(tmp_path / "made.json", new_manifest(Settings(blend="x"), "0"))
    stand_in_worker(
        tmp_path,
        monkeypatch,
        "import pathlib, shutil, sys\n"
        "words = dict(a.split('=', 1) for a in sys.argv[1:] if '=' in a)\n"
        "out = pathlib.Path(words['--out'])\n"
        "assert sys.argv[1] == 'run' and '--events' in sys.argv\n"
        "assert pathlib.Path(words['--blend']) == out / 'scene.blend', words\n"
        "assert (out / 'scene.blend').stat().st_size > 1000 and words['--prompt'] == 'a bust'\n"
        "here = pathlib.Path(__file__).parent\n"
        "shutil.copy(here / 'made.json', out / 'run.json')\n"
        "shutil.copy(here / 'made.ply', out / 'splat_iter1.ply')\n",
    )
    bpy.ops.mesh.primitive_cube_add()
    group().folder, group().prompt = str(tmp_path / "runs"), "a bust"
    assert bpy.ops.gs_diffusion.run_iteration() == {"FINISHED"}
    assert (tmp_path / "runs" / "run-001" / SCENE_COPY).is_file()
    objects = bpy.context.scene.objects
    assert "splat_iter1" in objects and objects["Cube"].hide_render
    assert runs.unfinished(tmp_path / "runs") == tmp_path / "runs" / "run-001"  # no .blend yet
    assert runs.next_run(tmp_path / "runs").name == "run-002"


def test_frames_of_a_main_folder_need_no_copy_of_the_scene_and_hide_nothing(tmp_path, monkeypatch):
    splats = Splats(*(np.ones(s, np.float32) for s in ((3, 3), (3, 1, 3), (3,), (3, 3), (3, 4))))
    write_splats(tmp_path / "made.ply", splats)
    write_json(tmp_path / "made.json", new_manifest(Settings(main_folder="x"), "0"))
    stand_in_worker(
        tmp_path,
        monkeypatch,
        "import pathlib, shutil, sys\n"
        "words = dict(a.split('=', 1) for a in sys.argv[1:] if '=' in a)\n"
        "out, here = pathlib.Path(words['--out']), pathlib.Path(__file__).parent\n"
        "assert words['--main-folder'] == str(here / 'posed') and '--blend' not in words, words\n"
        "assert '--views' not in words and '--rings' not in words, words\n"
        "shutil.copy(here / 'made.json', out / 'run.json')\n"
        "shutil.copy(here / 'made.ply', out / 'splat_iter1.ply')\n",
    )
    bpy.ops.mesh.primitive_cube_add()
    group().folder, group().main_folder = str(tmp_path / "runs"), str(tmp_path / "posed")
    assert "The frames come from the main folder;" in " ".join(drawn(panels.GS_DIFFUSION_PT_model))
    assert bpy.ops.gs_diffusion.run_iteration() == {"FINISHED"}
    assert not (tmp_path / "runs" / "run-001" / SCENE_COPY).exists()
    objects = bpy.context.scene.objects
    assert "splat_iter1" in objects and not objects["Cube"].hide_render
    stages = runs.row(tmp_path / "runs" / "run-001").stages
    assert stages == len(plan(1, scene=False)) == len(plan(1)) - 1


def test_a_finished_run_offers_videos_and_splat_tools(tmp_path, monkeypatch):
    assert not bpy.ops.gs_diffusion.export_video.poll()
    run = finished_run(tmp_path / "runs")
    stand_in_worker(tmp_path, monkeypatch, "import sys\nprint('|'.join(sys.argv[1:]))")
    shown = drawn(run_panels.GS_DIFFUSION_PT_result)
    assert {"Export Video", "Info", "Prune", "Convert"} <= set(shown)
    bpy.ops.gs_diffusion.export_video(kind="gif")
    assert f"video|--out={run}|--kind=gif|--width=320" in running.current.message
    bpy.ops.gs_diffusion.prune_splat()
    made = run / "splat_iter1-pruned.ply"
    assert f"splat|prune|{run / 'splat_iter1.ply'}|--out={made}" in running.current.message
    bpy.ops.gs_diffusion.convert_splat(ending=".spz")
    assert running.current.message.endswith(f"--out={run / 'splat_iter1.spz'}")
    stand_in_worker(tmp_path, monkeypatch, "import sys\nprint('gsd: No room.')\nsys.exit(4)")
    with pytest.raises(RuntimeError, match="No room"):
        bpy.ops.gs_diffusion.export_video(kind="webp")


def test_the_facts_of_a_splat_come_from_the_real_program_into_the_panel(tmp_path):
    finished_run(tmp_path / "runs")
    assert bpy.ops.gs_diffusion.splat_info() == {"FINISHED"}
    shown = drawn(run_panels.GS_DIFFUSION_PT_result)
    assert "Splats: 3" in shown and "SH degree: 0" in shown
    bounds = shown.index("Bounds: (1, 1, 1) to (1, 1, 1)")
    assert shown[bounds + 1] == "With NaN: 0"
    assert max(map(len, shown)) <= 40, "lines are cut off"


def test_run_operator_says_why_it_failed_and_starts_over_in_the_same_folder(tmp_path, monkeypatch):
    stand_in_worker(
        tmp_path, monkeypatch, "import sys\nprint('gsd: No mesh in the scene.')\nsys.exit(2)"
    )
    group().folder = str(tmp_path / "runs")
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"No mesh in the scene\."):
            bpy.ops.gs_diffusion.run_iteration()
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["run-001"]
    with pytest.raises(RuntimeError, match="no unfinished run"):
        bpy.ops.gs_diffusion.run_iteration(resume=True)


def test_an_emptied_runs_field_means_the_usual_place(tmp_path):
    """Not the folder that Blender was started in."""
    group().folder = " "
    assert runs_folder(bpy.context.scene) == Path.home() / "gs_diffusion"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "bust.blend"))
    for text in ("", "//gs_diffusion"):
        group().folder = text
        assert runs_folder(bpy.context.scene) == tmp_path / "gs_diffusion"


@pytest.mark.parametrize("hide", [True, False])
def test_import_result_heeds_hide_the_model(tmp_path, hide):
    run = finished_run(tmp_path / "runs")
    bpy.ops.mesh.primitive_cube_add()
    group().hide_model = hide
    assert bpy.ops.gs_diffusion.import_result(folder=str(run)) == {"FINISHED"}
    assert "splat_iter1" in bpy.data.objects and bpy.data.objects["Cube"].hide_render == hide


def test_the_models_view_goes_and_comes_with_the_model(tmp_path):
    run = finished_run(tmp_path / "runs")
    bpy.ops.mesh.primitive_cube_add()
    cube, view = bpy.context.active_object, bpy.context.scene.view_settings
    view.view_transform, view.exposure = "AgX", 0.5
    bpy.ops.gs_diffusion.import_result(folder=str(run))
    assert cube.hide_render and (view.view_transform, view.exposure) == ("Standard", 0.5)
    bpy.ops.gs_diffusion.toggle_source()
    assert not cube.hide_render and view.view_transform == "AgX"
    cube.select_set(True)
    bpy.ops.gs_diffusion.toggle_source()
    assert cube.hide_render and view.view_transform == "Standard"
    assert bpy.ops.gs_diffusion.match_colors(exact=False) == {"FINISHED"}
    assert view.exposure == 0


def test_the_panel_says_what_a_splat_changed_in_the_scene(tmp_path):
    """What a window's timer does at a run's end."""
    bpy.context.scene.view_settings.view_transform = "AgX"
    running.import_run(finished_run(tmp_path / "runs"), 1)
    assert "The view transform is Standard now" in " ".join(drawn(panels.GS_DIFFUSION_PT_main))


def test_runs_are_found_in_order(tmp_path):
    for name in ("run-002", "run-010", "run-1000", "other", "run-x"):
        (tmp_path / name).mkdir()
        Run(tmp_path / name).manifest.touch()
    (tmp_path / "run-2000").mkdir()
    assert [p.name for p in runs.runs(tmp_path)] == ["run-002", "run-010", "run-1000"]
    (tmp_path / "run-1000" / "result.blend").touch()
    assert runs.unfinished(tmp_path) is None


def test_the_real_worker_refuses_an_empty_scene_in_one_sentence(tmp_path):
    """The whole door: the copy, the real command line, the real supervisor and its turntable."""
    values = group()
    values.folder, values.stylizer, values.trainer = str(tmp_path / "runs"), "preview", "builtin"
    with pytest.raises(RuntimeError, match="no object with geometry"):
        bpy.ops.gs_diffusion.run_iteration()


def test_panels_show_every_setting_the_button_and_the_progress(tmp_path):
    group().folder = str(tmp_path)
    main = drawn(panels.GS_DIFFUSION_PT_main)
    shown = set(main)
    group().control, group().clip_model, group().refiner = "canny", "/clip", "x"
    group().seams = "soft"
    for choices in (
        {"stylizer": "auto", "propagator": "ebsynth_folder", "source": "blend"},
        {"trainer": "graphdeco", "source": "original"},
        {"trainer": "gsplat", "propagator": "patchmatch"},
        {"trainer": "brush", "main_folder": ""},
        {"trainer": "opensplat", "main_folder": str(tmp_path)},
    ):
        for name, value in choices.items():
            setattr(group(), name, value)
        for panel in panels.CLASSES[1:]:
            shown |= set(drawn(panel))
    group().main_folder = ""
    assert set(names()) - set(properties.NOT_SHOWN) <= shown
    assert "view_layer of view_layers" in shown
    assert "gs_diffusion.run_iteration" in main and "gs_diffusion.cancel" not in main
    assert "A run starts in Object Mode only." not in main
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")
    assert "A run starts in Object Mode only." in drawn(panels.GS_DIFFUSION_PT_main)
    bpy.ops.object.mode_set(mode="OBJECT")
    job = child(
        "event('progress', done=1, total=4, unit='frames', eta=61)\ntime.sleep(300)", tmp_path
    )
    running.current = job
    wait_for(lambda: job.share, job.poll)
    main = drawn(panels.GS_DIFFUSION_PT_main)
    assert "1/4 frames, 1:01 left" in main and "gs_diffusion.cancel" in main
    assert "gs_diffusion.run_iteration" not in main
    job.end_now()
    job.wait()
    write_json(tmp_path / "run.json", new_manifest(Settings(blend="x"), "0"))
    assert "Stopped; Resume goes on from here." in " ".join(drawn(panels.GS_DIFFUSION_PT_main))


def test_splat_panel_offers_its_display(tmp_path):
    assert "In Renders" not in " ".join(drawn(splat_panel.GS_DIFFUSION_PT_splat))
    splats = Splats(*(np.ones(s, np.float32) for s in ((3, 3), (3, 1, 3), (3,), (3, 3), (3, 4))))
    write_splats(tmp_path / "one.ply", splats)
    bpy.ops.gs_diffusion.import_splat(filepath=str(tmp_path / "one.ply"))
    shown = drawn(splat_panel.GS_DIFFUSION_PT_splat)
    assert {"3 splats", "In the Viewport: Points", "In Renders: Faithful"} <= set(shown)
    bpy.ops.gs_diffusion.splat_display(viewport="gaussians")
    bpy.ops.gs_diffusion.splat_display(render="points")
    shown = drawn(splat_panel.GS_DIFFUSION_PT_splat)
    assert {"In the Viewport: Gaussians", "In Renders: Points"} <= set(shown), "one changed both"


def test_presets_of_model_families_fill_in_the_settings():
    settings = group()
    for name, sampler, steps in (("lcm", "LCM", 10), ("experiment", "DPM++ 2M", 30)):
        assert bpy.ops.gs_diffusion.prompt_preset(name=name) == {"FINISHED"}
        assert (settings.sampler, settings.diffusion_steps) == (sampler, steps)
    assert settings.control == "canny:1.0:0-1:control" and settings.later.startswith("sampler=DDIM")
    bpy.ops.gs_diffusion.prompt_preset(name="experiment-elf")
    assert settings.prompt.startswith("An elf, with pointed ears") and settings.sides == 4
