"""Whether a process runs, on Linux and on Windows."""

from __future__ import annotations

import ctypes
import os
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
