"""Runs that the window follows by their folder alone: left to work, stopped, found again."""

import os
import sys

import bpy
import pytest

from gs_diffusion_addon.core.errors import StageError
from gs_diffusion_addon.core.lock import locked
from gs_diffusion_addon.core.run import Run, new_manifest, write_json
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.ui import running
from gs_diffusion_addon.ui.adopted import Adopted, log_tail, owner
from tests.processes import wait_for

HEAD = """
import json, pathlib, sys, time
root = pathlib.Path(sys.argv[1])
def event(e, **f):
    with open(root / "events.jsonl", "a") as file: file.write(json.dumps({"event": e, **f}) + "\\n")
event("run_started")
event("progress", done=1, total=4, unit="frames")
"""


@pytest.fixture
def jobs():
    started: list[Adopted] = []
    yield started
    for job in started:
        job.outlive = False
        job.end_now()


def worker(tmp_path, jobs, code: str) -> Adopted:
    job = Adopted([sys.executable, "-c", HEAD + code, str(tmp_path)], tmp_path, until="import")
    jobs.append(job)
    job.launch()
    return job


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_run_is_followed_by_its_event_file_alone(tmp_path, jobs):
    job = worker(tmp_path, jobs, "event('run_finished')")
    assert job.wait() == 0 and job.succeeded
    assert job.detail == "1/4 frames"


def test_what_the_worker_said_before_it_had_a_folder_is_the_outcome(tmp_path, jobs):
    job = worker(tmp_path, jobs, "print('gsd: No model.'); sys.exit(2)")
    assert job.wait() == 2 and job.outcome == "No model."


def test_a_run_that_may_outlive_blender_does_and_another_blender_follows_it(tmp_path, jobs):
    """The second job stands for another Blender: it knows the folder, its lock and its events."""
    job = worker(tmp_path, jobs, "time.sleep(300)")
    wait_for(lambda: job.detail, job.poll)
    job.outlive = True
    job.end_now()
    assert alive(job._process.pid)
    with locked(tmp_path):
        found = Adopted((), tmp_path)
        found.adopt()
        wait_for(lambda: found.detail, found.poll)
        assert found.outlive and found.poll()
        found.end_now()
    job.outlive = False
    job.end_now()
    assert job._process.poll() is not None and job.code is not None


def test_cancel_returns_at_once_and_ends_the_run(tmp_path, jobs, held_end):
    job = worker(tmp_path, jobs, "time.sleep(300)")
    wait_for(lambda: job.detail, job.poll)
    job.cancel()
    assert not held_end.is_set(), "it waited for the run's end"
    assert job.poll()
    held_end.set()
    wait_for(lambda: not job.poll())
    assert job._process.poll() is not None
    write_json(tmp_path / "run.json", new_manifest(Settings(blend="x"), "0"))
    assert job.outcome == "Stopped; Resume goes on from here."


def test_a_job_that_is_cancelled_before_it_began_never_begins(tmp_path):
    job = Adopted(["none"], tmp_path)
    job.prepare = lambda: pytest.fail("it began")
    assert job.poll()
    job.cancel()
    assert not job.poll() and job.outcome.startswith("Stopped")


def test_the_timer_does_not_begin_what_was_cancelled_before_its_first_call(tmp_path):
    """It worked on unseen, and kept its folder from the next run."""
    job = running.become_current(Adopted(["none"], tmp_path))
    job.prepare = lambda: pytest.fail("it began")
    running._followed.append((job, running.finish_run))
    running.cancel()
    running._tick()
    assert not running.is_running() and not job.launched and job.outcome == "Stopped."


def test_the_newest_log_is_shown(tmp_path):
    logs = Run(tmp_path).logs
    logs.mkdir()
    (logs / "0-turntable.log").write_text("old\n")
    (logs / "1-train.log").write_text("".join(f"line {k}\n\n" for k in range(9)))
    (logs / "panel.log").write_text("no\n")
    os.utime(logs / "0-turntable.log", (1, 1))
    assert log_tail(tmp_path, 2) == ["line 7", "line 8"]


def test_saving_the_copy_leaves_the_preferences_alone(tmp_path):
    from gs_diffusion_addon.scene.result import save_scene

    filepaths = bpy.context.preferences.filepaths
    filepaths.file_preview_type = "SCREENSHOT"
    save_scene(tmp_path / "copy.blend")
    assert filepaths.file_preview_type == "SCREENSHOT"


def test_the_owner_of_a_lock_on_another_machine_is_no_process_here(tmp_path, monkeypatch):
    with locked(tmp_path):
        assert owner(tmp_path) == os.getpid()
        monkeypatch.setattr("platform.node", lambda: "another machine")
        assert owner(tmp_path) is None


def test_a_run_whose_folder_cannot_be_written_ends_with_a_sentence(tmp_path):
    (tmp_path / "logs").write_text("a file where a folder should be")
    job = Adopted([sys.executable, "-c", "pass"], tmp_path)
    with pytest.raises(StageError, match="logs"):
        job.launch()
    assert job.code and not job.poll()
