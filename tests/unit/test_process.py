"""Child processes: events and log, stop, nothing left behind, no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from gs_diffusion_addon.core import commands, process
from gs_diffusion_addon.core.errors import Interrupted, MissingError
from gs_diffusion_addon.core.process import child_environment, run_child
from tests.processes import LIMIT, alive, wait_for
from tests.trainers.standins import write_program

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
"""

SLEEPING = STUBBORN + "time.sleep(300)\n"

HOLDING_THE_LOCK = (
    STUBBORN
    + """
import ctypes
sleep = ctypes.PyDLL("kernel32").Sleep if os.name == "nt" else ctypes.PyDLL(None).usleep
for _ in range(300):
    sleep(1000 if os.name == "nt" else 10**6)  # Python's lock is held by each
"""
)

WITHOUT_LINUX = (
    "import gs_diffusion_addon.core.process as p\np._ask_kernel = lambda: None\n" + HOLDING_THE_LOCK
)
"""As on macOS, whose kernel cannot be asked."""


def wait_until_gone(pids):
    wait_for(lambda: not any(alive(p) for p in pids))


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


def test_stop_ends_a_stubborn_tree(tmp_path):
    stop, pids, took = threading.Event(), [], []

    def on_event(event):
        pids.extend([event["pid"], event["grandchild"]])
        took.append(time.monotonic())
        stop.set()

    with pytest.raises(Interrupted):
        run_child(
            [sys.executable, "-c", SLEEPING],
            log=tmp_path / "a.log",
            on_event=on_event,
            stop=stop,
            env=environment(),
        )
    assert time.monotonic() - took[0] < LIMIT
    wait_until_gone(pids)


def test_what_does_not_heed_the_polite_signal_is_left_one_second(monkeypatch):
    """Of the two that stopping may take; the other is for looking whether to, and the system's."""
    done = []

    class Child:
        stdin = stdout = stderr = None

        def poll(self):
            return None

        def wait(self, timeout=None):
            done.append(timeout)
            if timeout is not None:
                raise subprocess.TimeoutExpired("child", timeout)

    monkeypatch.setattr(process, "_signal", lambda child, polite: done.append(polite))
    process.end_tree(Child())
    polite, seconds, killed, last = done
    assert polite is True and seconds <= 1 and killed is False and last is None


@pytest.mark.parametrize("code", [SLEEPING, HOLDING_THE_LOCK, WITHOUT_LINUX])
def test_children_and_theirs_end_when_the_parent_is_killed(code, tmp_path):
    parent = (
        "import sys, threading; from pathlib import Path\n"
        "from gs_diffusion_addon.core.process import run_child, stop_on_signals\n"
        "stop_on_signals(threading.Event())\n"
        "run_child([sys.executable, '-c', sys.argv[1]], log=Path(sys.argv[2]), "
        "stop=threading.Event(),\n"
        "          on_event=lambda e: print(e['pid'], e['grandchild'], flush=True))"
    )
    supervisor = subprocess.Popen(
        [sys.executable, "-c", parent, code, str(tmp_path / "a.log")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    pids = [int(p) for p in supervisor.stdout.readline().split()]
    assert all(alive(pid) for pid in pids)
    supervisor.kill()
    supervisor.wait()
    try:
        wait_until_gone(pids)
    finally:
        for pid in filter(alive, pids):
            os.kill(pid, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)


def test_nothing_a_child_starts_inherits_the_pipe_that_is_waited_on(tmp_path):
    """On Windows it would hang at its start; elsewhere it could swallow the pipe's end."""
    code = (
        "import subprocess, sys; from gs_diffusion_addon.core.process import end_with_parent\n"
        "end_with_parent()\n"
        "read = 'import sys; print([sys.stdin.read()])'\n"
        "subprocess.run([sys.executable, '-c', read], check=True, timeout=120)"
    )
    log = tmp_path / "a.log"
    ended = run_child(
        [sys.executable, "-c", code],
        log=log,
        on_event=print,
        stop=threading.Event(),
        env=environment(),
    )
    assert (ended.code, ended.tail) == (0, ("['']",))


def test_a_child_killed_alone_is_noticed_though_its_own_child_lives(tmp_path):
    code = STUBBORN + "sys.stdout.flush(); os._exit(7)"
    pids = []
    began = time.monotonic()
    ended = run_child(
        [sys.executable, "-c", code],
        log=tmp_path / "a.log",
        on_event=lambda event: pids.append(event["grandchild"]),
        stop=threading.Event(),
        env=environment(),
    )
    assert ended.code == 7
    assert time.monotonic() - began < LIMIT
    wait_until_gone(pids)


@pytest.mark.parametrize("error", [OSError, SystemError])
def test_windows_without_a_console_cannot_be_polite(error, monkeypatch):
    """Python 3.11's os.kill then raises SystemError (found under Wine)."""

    class Child:
        pid, asked = 1, 0

        def send_signal(self, number):
            Child.asked += 1
            raise error("returned a result with an exception set")

    monkeypatch.setattr(process, "os", SimpleNamespace(name="nt"))
    process._signal(Child(), polite=True)
    assert Child.asked == 1


@pytest.mark.skipif(os.name == "nt", reason="signals to a group")
@pytest.mark.parametrize("whole_group", [True, False], ids=["ctrl-c", "term"])
def test_a_question_that_is_broken_off_has_no_answer(whole_group, tmp_path):
    """Ctrl-C ends the program asked as well, whose failure would be taken for what it found."""
    code = (
        "import sys, threading; from gs_diffusion_addon.core import errors, interpreters, process\n"
        "process.stop_on_signals(threading.Event())\n"
        "try: print(interpreters.versions_of(sys.argv[1]))\n"
        "except errors.Interrupted: print('interrupted')"
    )
    written = f"echo $$ > '{tmp_path}/part'; mv '{tmp_path}/part' '{tmp_path}/pid'"
    python = write_program(tmp_path / "python", f"{written}\nexec sleep 300")
    supervisor = subprocess.Popen(
        [sys.executable, "-c", code, python],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    try:
        wait_for((tmp_path / "pid").exists, lambda: supervisor.poll() is None)
        if whole_group:
            os.killpg(supervisor.pid, signal.SIGINT)
        else:
            supervisor.terminate()
        assert supervisor.communicate(timeout=LIMIT)[0] == "interrupted\n"
        wait_until_gone([int((tmp_path / "pid").read_text())])
    finally:
        with suppress(ProcessLookupError):
            os.killpg(supervisor.pid, signal.SIGKILL)


@pytest.mark.skipif(os.name == "nt", reason="SIGHUP")
@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT"])
def test_what_was_started_to_ignore_a_signal_ignores_it(name):
    """``nohup gsd run`` outlives the terminal; a script's ``gsd run &`` is not meant by Ctrl-C."""
    code = (
        "import signal, sys, threading\n"
        "from gs_diffusion_addon.core.process import stop_on_signals\n"
        "stop = threading.Event()\n"
        "stop_on_signals(stop)\n"
        "signal.raise_signal(getattr(signal, sys.argv[1]))\n"
        "print(stop.is_set())"
    )
    said = []
    for before in ("", f"trap '' {name[3:]}; "):
        script = f'{before}exec "$0" -c "$1" {name}'
        command = ["/bin/sh", "-c", script, sys.executable, code]
        said.append(subprocess.check_output(command, text=True, env=environment()))
    assert said == ["True\n", "False\n"]


def test_a_program_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(MissingError, match="cannot be started"):
        run_child(
            [str(tmp_path / "nothing")],
            log=tmp_path / "a.log",
            on_event=print,
            stop=threading.Event(),
        )


def test_ctrl_c_in_a_command_without_children_is_no_traceback(monkeypatch, capsys):
    def pressed(parsed):
        raise KeyboardInterrupt

    monkeypatch.setitem(commands.COMMANDS, "check", pressed)
    assert commands.main(["check"]) == 130
    assert capsys.readouterr().err == "gsd: Stopped.\n"
