"""Whether a process runs, on Linux and on Windows; which signals those started here heed."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path


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
