"""Whether a process runs, on Linux and on Windows; which signals those started here heed; waiting
for something to be so.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

LIMIT = 120.0
"""s that a slow or busy machine may take for what is over in a moment. Children that a test ends
have to last longer by themselves (300 s), so that only what ended them can have done it.
"""


def wait_for(condition: Callable[[], object], goes_on: Callable[[], object] = lambda: True) -> None:
    """Wait until ``condition`` holds; an error where ``goes_on`` does not before it, or after
    :data:`LIMIT`.
    """
    end = time.monotonic() + LIMIT
    while not condition():
        assert goes_on() or condition(), "it ended before that"
        assert time.monotonic() < end, "it never comes to that"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    if os.name == "nt":
        kernel32 = ctypes.WinDLL("kernel32")
        kernel32.OpenProcess.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(kernel32.OpenProcess(0x100000, False, pid))  # SYNCHRONIZE
        running = bool(handle) and kernel32.WaitForSingleObject(handle, 0) != 0
        kernel32.CloseHandle(handle)
        return running
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def heed_signals() -> None:
    """Let what this process starts heed Ctrl-C and a lost terminal, also where this one was started
    to ignore them: by nohup, or in the background by a script. Main thread only.
    """
    for name in ("SIGINT", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if name == "SIGINT" else _pass)


def _pass(_number: int, _frame: object) -> None:
    """Ignore a signal oneself, unlike SIG_IGN, which those started here inherit."""
