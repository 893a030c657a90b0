"""Child processes: events and log, stop within two seconds, nothing left behind, no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gs_diffusion_addon.core.errors import Interrupted, MissingError
from gs_diffusion_addon.core.process import child_environment, run_child

ROOT = Path(__file__).resolve().parents[2]

STUBBORN = """
import os, signal, subprocess, sys, time
from gs_diffusion_addon.core.events import child_emitter
from gs_diffusion_addon.core.process import end_with_parent
end_with_parent()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
emit = child_emitter("train", 1)
emit("phase", message="up", pid=os.getpid(), grandchild=grandchild.pid)
time.sleep(300)
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pids, seconds=5.0):
    end = time.monotonic() + seconds
    while any(alive(p) for p in pids):
        assert time.monotonic() < end, [p for p in pids if alive(p)]
        time.sleep(0.02)


def environment():
    return child_environment(1, {"PYTHONPATH": str(ROOT)})


def test_events_log_and_exit_code(tmp_path):
    code = (
        "import sys; from gs_diffusion_addon.core.events import child_emitter as e\n"
        "emit = e('train', 1); print('noise'); emit('phase', message='x'); print('err', "
        "file=sys.stderr)\n"
        "emit('error', message='No card.', code=3); sys.exit(3)"
    )
    seen = []
    ended = run_child(
        [sys.executable, "-c", code],
        log=tmp_path / "l" / "a.log",
        on_event=seen.append,
        stop=threading.Event(),
        env=environment(),
    )
    assert (ended.code, ended.message) == (3, "No card.")
    assert [e["event"] for e in seen] == ["phase"]
    assert {"noise", "err"} <= set((tmp_path / "l" / "a.log").read_text().splitlines())


def test_stop_ends_a_stubborn_tree_within_two_seconds(tmp_path):
    stop, pids, took = threading.Event(), [], []

    def on_event(event):
        pids.extend([event["pid"], event["grandchild"]])
        took.append(time.monotonic())
        stop.set()

    with pytest.raises(Interrupted):
        run_child(
            [sys.executable, "-c", STUBBORN],
            log=tmp_path / "a.log",
            on_event=on_event,
            stop=stop,
            env=environment(),
        )
    assert time.monotonic() - took[0] < 2.0
    wait_until_gone(pids)


def test_children_end_when_the_parent_is_killed(tmp_path):
    parent = (
        "import sys, threading; from pathlib import Path\n"
        "from gs_diffusion_addon.core.process import run_child\n"
        "run_child([sys.executable, '-c', sys.argv[1]], log=Path(sys.argv[2]), "
        "stop=threading.Event(),\n"
        "          on_event=lambda e: print(e['pid'], e['grandchild'], flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent, STUBBORN, str(tmp_path / "a.log")],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    child, grandchild = (int(p) for p in process.stdout.readline().split())
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    try:
        wait_until_gone([child])
    finally:
        if alive(grandchild):
            os.kill(grandchild, signal.SIGKILL)


def test_a_program_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(MissingError, match="cannot be started"):
        run_child(
            [str(tmp_path / "nothing")],
            log=tmp_path / "a.log",
            on_event=print,
            stop=threading.Event(),
        )
