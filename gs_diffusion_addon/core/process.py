"""Child processes: start in a group of their own, follow their events, stop the whole tree, never
outlive the parent.

The supervisor holds the write end of each child's standard input and never writes to it; a child
that reads end-of-file there knows that its parent is gone, however that died, on every system.
What acts on that must not need Python's lock, which a library may hold for minutes: on Windows the
parent's job object (:mod:`.job_object`), elsewhere a small shell in the child's process group.
"""

from __future__ import annotations

import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .errors import EXIT_INTERRUPTED, Interrupted, MissingError
from .events import Event, Splitter, make_event
from .job_object import hold_descendants

POLITE_SECONDS = 0.8
"""How long a child may take to end by itself after the first, polite signal."""

QUIET_LOOKS = 10
"""How many tenths of a second without output after a child's end are taken for all it printed."""

TAIL_LINES = 20
"""How many of a child's last log lines stand in an error event."""

NICE = {"normal": 0, "low": 10, "idle": 19}
"""POSIX niceness of the setting ``priority``."""

WINDOWS_PRIORITY = {"normal": 0x20, "low": 0x4000, "idle": 0x40}
"""Windows' NORMAL_, BELOW_NORMAL_ and IDLE_PRIORITY_CLASS, as creation flags."""

_WINDOWS_NEW_GROUP = 0x200  # CREATE_NEW_PROCESS_GROUP, which CTRL_BREAK can be sent to

_STOPPED = "Stopped; the same command goes on from here."

_asked = threading.Event()
"""Set once one of the signals of :func:`stop_on_signals` came."""


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code (negative: the signal), the sentence of its last error
    event, and the last lines of log text that it or its own children printed.
    """

    code: int
    message: str | None
    tail: tuple[str, ...] = ()


def run_child(
    command: Sequence[str],
    *,
    log: Path,
    on_event: Callable[[Event], None],
    stop: threading.Event,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    priority: str = "normal",
) -> Ended:
    """Run ``command`` to its end, passing its events on and everything else it prints into ``log``.

    When ``stop`` is set the child's whole process tree is ended within two seconds and Interrupted
    is raised. Raises MissingError if the program cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    message: str | None = None
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with open(log, "a", encoding="utf-8", errors="replace") as text:
        text.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {quoted(command)}\n")
        child = start(command, env=env, cwd=cwd, priority=priority)
        items: queue.Queue[Event | str | None] = queue.Queue()
        assert child.stdout is not None
        threading.Thread(target=_read, args=(child.stdout, items), daemon=True).start()
        quiet = 0
        try:
            while True:
                if stop.is_set():
                    raise Interrupted(_STOPPED)
                try:
                    item = items.get(timeout=0.1)
                except queue.Empty:
                    # What it started may live on and hold its output open.
                    quiet = quiet + 1 if child.poll() is not None else 0
                    if quiet > QUIET_LOOKS:
                        break
                    continue
                if item is None:
                    break
                if isinstance(item, str):
                    text.write(item + "\n")
                    text.flush()
                    tail.append(item[:300])
                    continue
                if item["event"] == "error":
                    message = str(item.get("message"))
                    # What a foreign program printed says more than what stands around it here.
                    tail.extend(str(line) for line in item.get("tail", ()))
                else:
                    on_event(item)
            code = child.wait()
        finally:
            end_tree(child)
    if code == EXIT_INTERRUPTED:
        raise Interrupted(_STOPPED)
    return Ended(code, message, tuple(tail))


def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    priority: str = "normal",
    split: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a child in its own process group with a parent-watch pipe; raises MissingError.

    ``split``: standard error on a pipe of its own instead of mixed into standard output. The
    child's own children inherit its ``priority``.
    """
    try:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if split else subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            **group_options(priority, os.name == "nt"),
        )
    except OSError as error:
        raise MissingError(f"{command[0]} cannot be started: {error.strerror or error}.") from None
    if NICE[priority] and os.name != "nt":
        # Not in the child before exec: that is unsafe beside our threads. The group is one process.
        with suppress(ProcessLookupError, PermissionError):
            os.setpriority(os.PRIO_PGRP, child.pid, NICE[priority])
    return child


def group_options(priority: str, windows: bool) -> dict[str, Any]:
    """What makes Popen start a group of its own (at a ``priority``, on Windows)."""
    if windows:
        return {"creationflags": _WINDOWS_NEW_GROUP | WINDOWS_PRIORITY[priority]}
    return {"start_new_session": True}


def quoted(command: Sequence[str], windows: bool = os.name == "nt") -> str:
    """A command as one line that its system's shell (Windows: its C library) reads back."""
    return subprocess.list2cmdline(command) if windows else shlex.join(command)


def _read(stream: IO[bytes], items: queue.Queue[Event | str | None]) -> None:
    splitter = Splitter()
    # read1 returns what is there; read() would hold progress back until a buffer is full.
    while chunk := stream.read1(1 << 16):  # type: ignore[attr-defined]
        for item in splitter.feed(chunk):
            items.put(item)
    for item in splitter.close():
        items.put(item)
    items.put(None)


def end_tree(child: subprocess.Popen[bytes]) -> None:
    """End ``child`` and everything it started: politely first, then for good. A no-op when it has
    ended.
    """
    if child.poll() is None:
        _signal(child, polite=True)
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=POLITE_SECONDS)
    # Also after a normal end: a grandchild may have stayed in the group.
    _signal(child, polite=False)
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.close()
    child.wait()


def _signal(child: subprocess.Popen[bytes], polite: bool) -> None:
    if os.name == "nt":
        if polite:
            # A process without a console cannot send it. Python 3.11 then ends the child at once,
            # with its error still set: SystemError.
            with suppress(OSError, SystemError):
                child.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM))
        elif child.poll() is None:
            subprocess.run(
                ["taskkill", "/T", "/F", "/PID", str(child.pid)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGTERM if polite else signal.SIGKILL)


def end_with_parent() -> None:
    """Called by a child: end this process and all it started as soon as the parent is gone.

    Standard input is empty afterwards, also for what this process starts: only the watchers hold
    the pipe. (Windows: a program that inherits a pipe another thread waits on hangs at its start.)
    """
    hold_descendants()
    pipe = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    threading.Thread(target=_watch, args=(pipe,), daemon=True).start()
    if os.name == "posix":
        _watch_by_shell(pipe)
    if sys.platform == "linux":
        _ask_kernel()


def _watch(pipe: int) -> None:
    while os.read(pipe, 4096):
        continue
    if os.name == "nt":
        os._exit(EXIT_INTERRUPTED)  # and with the handle of its job all that it started
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _watch_by_shell(pipe: int) -> None:
    """Let a shell of our process group wait for the pipe's end, and kill the group then."""
    # A polite signal to the group is not meant for it: it has to be there to the end.
    script = 'trap "" HUP INT TERM; while read -r line; do :; done; kill -KILL 0'
    quiet = subprocess.DEVNULL
    with suppress(OSError):  # no /bin/sh: the thread is left
        subprocess.Popen(["/bin/sh", "-c", script], stdin=pipe, stdout=quiet, stderr=quiet)


def _ask_kernel() -> None:
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGKILL))


def stop_on_signals(stop: threading.Event, say: Callable[[Event], None] | None = None) -> None:
    """Let Ctrl-C, SIGTERM and (Windows) Ctrl-Break set ``stop`` instead of ending Python at
    once, and tie what this process starts to its life; ``say`` gets a warning if that fails.

    A signal that this process was started to ignore stays ignored, as nohup wants it.
    """

    def ask(_number: int, _frame: object) -> None:
        _asked.set()
        stop.set()

    for name in ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, ask)
    loose = hold_descendants()
    if loose and say is not None:
        say(make_event("warning", message=loose))


def told(
    command: Sequence[str],
    timeout: float | None = None,
    check: bool = False,
    environment: Mapping[str, str] | None = None,
    cwd: str | None = None,
    encoding: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and keep what it prints, which may be in any encoding (Windows: the
    code page). ``timeout`` in seconds; raises what ``subprocess.run`` does.

    Raises Interrupted after a signal to stop: Ctrl-C ends the program too, which says nothing
    about it then.
    """
    end = float("inf") if timeout is None else time.monotonic() + timeout
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding=encoding,
        errors="replace",
        env=environment,
        cwd=cwd,
    ) as child:
        output = None
        try:
            while output is None and not _asked.is_set():
                try:
                    output = child.communicate(timeout=0.1)
                except subprocess.TimeoutExpired:
                    if time.monotonic() > end:
                        raise subprocess.TimeoutExpired(command, timeout or 0.0) from None
        finally:
            child.kill()
    if output is None or _asked.is_set():
        raise Interrupted(_STOPPED)
    done = subprocess.CompletedProcess(command, child.returncode, *output)
    if check:
        done.check_returncode()
    return done


def child_environment(threads: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child: the thread count for every library, unbuffered UTF-8 output."""
    count = str(threads or os.cpu_count() or 1)
    env = dict(os.environ)
    env.update(
        GSD_THREADS=count,
        NUMBA_NUM_THREADS=count,
        # Torch's and numba's pools fight each other when both are large (facts: 1.2 s became 65 s).
        OMP_NUM_THREADS="1",
        PYTHONUNBUFFERED="1",
        PYTHONIOENCODING="utf-8",
        PYTHONUTF8="1",
    )
    env.update(extra or {})
    return env
