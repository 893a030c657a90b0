"""The run folder: atomic writes, the lock, run.json, the order of stages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from gs_diffusion_addon.core import folder, lock, pipeline, run, stages
from gs_diffusion_addon.core.errors import InputError
from tests.processes import LIMIT


def test_atomic_leaves_nothing_after_an_error(tmp_path):
    target = tmp_path / "a" / "b.json"
    run.write_text(target, "old")
    with pytest.raises(RuntimeError), run.atomic(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in target.parent.iterdir()] == ["b.json"]


def test_windows_waits_for_whoever_has_the_file_open(tmp_path, monkeypatch):
    """Simulated; under Wine and on Windows the next test does it with real files."""
    tries, really = [], os.replace

    def refuse_twice(source, target):
        tries.append(source)
        if len(tries) < 3:
            raise PermissionError(13, "The process cannot access the file", str(target))
        really(source, target)

    monkeypatch.setattr(
        run, "os", SimpleNamespace(name="nt", replace=refuse_twice, getpid=os.getpid)
    )
    run.write_text(tmp_path / "run.json", "new")
    assert (tmp_path / "run.json").read_text() == "new"
    assert len(tries) == 3

    monkeypatch.setattr(run, "PAUSES", (0.0, 0.0))
    with pytest.raises(PermissionError):
        monkeypatch.setattr(run.os, "replace", refuse_always)
        run.write_text(tmp_path / "run.json", "newer")
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def refuse_always(source, target):
    raise PermissionError(13, "Access is denied", str(target))


def test_a_file_is_replaced_while_another_process_reads_it(tmp_path):
    path = tmp_path / "run.json"
    run.write_text(path, "old")
    code = (
        "import sys, time; file = open(sys.argv[1]); print('open', flush=True); time.sleep(0.7); "
        "print(file.read())"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout.readline() == "open\n"
    run.write_text(path, "new")
    assert path.read_text() == "new"
    assert reader.communicate(timeout=LIMIT)[0] == "old\n"


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError):
        run.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_temporaries_of_a_killed_process_are_removed(tmp_path):
    folder = tmp_path / "iter1" / "stylized"
    folder.mkdir(parents=True)
    (folder / f"{run.TEMPORARY}123-r_0.png").touch()
    (folder / "r_1.png").touch()
    run.remove_temporaries(tmp_path)
    assert [p.name for p in folder.iterdir()] == ["r_1.png"]


def test_the_lock_keeps_a_second_process_out_and_dies_with_its_owner(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from gs_diffusion_addon.core import lock\n"
        "with lock.locked(Path(sys.argv[1])):\n"
        "    print('held', flush=True); time.sleep(300)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    try:
        assert lock.in_use(tmp_path)
        with pytest.raises(InputError, match=f"process {other.pid}"), lock.locked(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    with lock.locked(tmp_path):
        assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"program": "other"}',
        '{"program": "GS Diffusion", "format": 99}',
        '{"program": "GS Diffusion", "format": 1}',
        "\xff",
    ],
)
def test_a_damaged_or_foreign_manifest_is_a_sentence(tmp_path, content):
    (tmp_path / "run.json").write_text(content, encoding="latin-1")
    with pytest.raises(InputError):
        run.read_manifest(tmp_path)


def test_a_folder_that_is_not_ours_is_refused_and_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_text("x")
    with pytest.raises(InputError, match=r"holiday\.jpg"):
        folder.prepare_folder(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]
    with pytest.raises(InputError, match="is a file"):
        folder.prepare_folder(tmp_path / "holiday.jpg")


def test_a_kill_before_the_first_run_json_was_whole_does_not_lock_the_folder(tmp_path):
    (tmp_path / f"{run.TEMPORARY}123-run.json").write_text("{")
    (tmp_path / f"{run.TEMPORARY}123-probe").touch()
    folder.prepare_folder(tmp_path)
    run.remove_temporaries(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_order_of_stages():
    plan = stages.plan(2)
    assert plan[0] == ("turntable", 0) and plan[-1] == ("import", 2)
    assert plan.index(("report", 1)) < plan.index(("stylize", 2))
    assert len(plan) == len(set(plan)) == 2 + 2 * 6


def test_a_torn_event_line_spoils_nothing_after_it(tmp_path):
    path = tmp_path / "events.jsonl"
    pipeline.append_event(path, {"event": "a"})
    with open(path, "a") as file:
        file.write('{"event": "to')
    pipeline.append_event(path, {"event": "b"})
    lines = path.read_text().splitlines()
    assert json.loads(lines[0])["event"] == "a" and json.loads(lines[2])["event"] == "b"


def test_a_second_start_of_a_new_run_deletes_nothing_of_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.preflight, "require_startable", lambda settings: None)
    model = tmp_path / "model.obj"
    model.write_text("v 0 0 0\n")
    root = tmp_path / "run"
    (root / "logs").mkdir(parents=True)
    (root / "logs" / "0-turntable.log").write_text("of the first")
    with lock.locked(root):  # the first has the lock and has not written run.json yet
        second = pipeline.Supervisor(root, lambda event: None)
        with pytest.raises(InputError, match="in use"):
            second.run({"model": str(model)})
        assert (root / ".lock").exists()
        assert (root / "logs" / "0-turntable.log").read_text() == "of the first"


def test_somebody_looking_whether_a_run_is_in_use_keeps_nobody_out(tmp_path, monkeypatch):
    """Who looks is gone when the other one looks again."""
    looker = (tmp_path / ".lock").open("a+")
    assert lock.take(looker)
    monkeypatch.setattr(lock.time, "sleep", lambda _seconds: looker.close())
    with lock.locked(tmp_path):
        pass
