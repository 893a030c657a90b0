"""A turntable is copied from another run only if it is whole, unchanged and of equal settings."""

from __future__ import annotations

import json
import threading

import pytest

from gs_diffusion_addon.core import borrow, stages, stale
from gs_diffusion_addon.core.made import Made
from gs_diffusion_addon.core.run import Run, new_manifest, write_json
from gs_diffusion_addon.core.settings import from_json
from gs_diffusion_addon.core.sweep import Job
from gs_diffusion_addon.core.sweep_run import Groups
from gs_diffusion_addon.core.version import version
from tests.processes import LIMIT

NAMES = ("train_main/r_0.png", "guides/r_0.exr", "transforms_train_main.json", "iter0.mp4")


@pytest.fixture
def settings(tmp_path):
    model = tmp_path / "model.obj"
    model.write_text("v 0 0 0\n")
    return from_json({"model": str(model), "views": 12, "seed": 3})


def rendered(root, settings):
    """A run folder with a finished turntable of four small files."""
    run = Run(root, 0)
    for name in NAMES:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name} of {root.name}")
    key = stale.stage_key("turntable", run, settings)
    manifest = new_manifest(settings, version())
    manifest["versions"] = {"gs_diffusion": version()}
    manifest["stages"]["0/turntable"] = {"key": key, "state": "done", "seconds": 1.0}
    write_json(run.manifest, manifest)
    Made(root).note("0/turntable", stages.BY_NAME["turntable"].kept(run))
    return run


def taken(root, settings, lenders):
    """What the run in ``root`` gets: the lender's name, and the files."""
    run = Run(root, 0)
    name = borrow.turntable(run, stale.stage_key("turntable", run, settings), lenders)
    files = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    return name, files


def test_another_seed_and_prompt_take_it(tmp_path, settings):
    lender = rendered(tmp_path / "runs" / "one", settings)
    other = from_json({**vars(settings), "seed": 4, "prompt": "a bust"})
    assert taken(tmp_path / "runs" / "two", other, tmp_path / "runs") == ("one", set(NAMES))
    for name in NAMES:
        ours = tmp_path / "runs" / "two" / name
        assert ours.read_text() == f"{name} of one"
        assert ours.stat().st_ino != (lender.root / name).stat().st_ino
    assert taken(tmp_path / "three", other, lender.root) == ("one", set(NAMES))


def test_what_is_there_already_stays(tmp_path, settings):
    rendered(tmp_path / "runs" / "one", settings)
    own = tmp_path / "runs" / "two" / NAMES[0]
    own.parent.mkdir(parents=True)
    own.write_text("my own")
    assert taken(tmp_path / "runs" / "two", settings, tmp_path / "runs")[0] == "one"
    assert own.read_text() == "my own"


def _other_settings(lender, settings):
    return from_json({**vars(settings), "views": 13})


def _other_model(lender, settings):
    (lender.root.parents[1] / "model.obj").write_text("v 1 1 1\n")


def _repainted(lender, settings):
    (lender.root / NAMES[0]).write_text("x" * len((lender.root / NAMES[0]).read_text()))


def _gone(lender, settings):
    (lender.root / "iter0.mp4").unlink()


def _unfinished(lender, settings):
    _edit(lender, lambda m: m["stages"]["0/turntable"].update(state="running"))


def _older(lender, settings):
    _edit(lender, lambda m: m["versions"].update(gs_diffusion="0.0.1"))


def _damaged(lender, settings):
    lender.manifest.write_text("{")


def _without_notes(lender, settings):
    (lender.root / "files.json").unlink()


def _led_astray(lender, settings):
    notes = json.loads((lender.root / "files.json").read_text())
    notes["0/turntable"]["../../outside.txt"] = notes["0/turntable"][NAMES[0]]
    write_json(lender.root / "files.json", notes)


def _led_into_another_stage(lender, settings):
    notes = json.loads((lender.root / "files.json").read_text())
    notes["0/turntable"] = {"report.html": notes["0/turntable"][NAMES[0]]}
    write_json(lender.root / "files.json", notes)


def _edit(lender, change):
    manifest = json.loads(lender.manifest.read_text())
    change(manifest)
    write_json(lender.manifest, manifest)


@pytest.mark.parametrize(
    "change",
    [
        _other_settings,
        _other_model,
        _repainted,
        _gone,
        _unfinished,
        _older,
        _damaged,
        _without_notes,
        _led_astray,
        _led_into_another_stage,
    ],
)
def test_anything_else_is_rendered(tmp_path, settings, change):
    lender = rendered(tmp_path / "runs" / "one", settings)
    settings = change(lender, settings) or settings
    assert taken(tmp_path / "runs" / "two", settings, tmp_path / "runs") == ("", set())


def test_a_sweep_renders_each_turntable_once_and_first(tmp_path, settings):
    model = settings.model
    plan = [("a1", 12), ("a2", 12), ("b1", 16), ("a3", 12), ("b2", 16)]
    jobs = [Job(name, {"model": model, "views": n, "prompt": name}) for name, n in plan]
    groups, stop = Groups(tmp_path, jobs), threading.Event()
    assert [j.name for j in groups.ordered(jobs)] == ["a1", "b1", "a2", "a3", "b2"]
    groups.wait(jobs[0], stop)
    waiting = threading.Thread(target=groups.wait, args=(jobs[1], stop))
    waiting.start()
    groups.rendered(jobs[2])  # another group's
    waiting.join(0.3)
    assert waiting.is_alive()
    groups.rendered(jobs[0])
    waiting.join(LIMIT)
    assert not waiting.is_alive()
    stop.set()
    groups.wait(Job("b2", {"model": model, "views": 16, "prompt": "b2"}), stop)
