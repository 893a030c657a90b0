"""Windows: a job object that ends everything this process started as soon as this process is gone.

The process puts *itself* into a job that is killed when its last handle closes, and keeps the only
handle. Children and their children are then born in the job, so none slips away between its start
and an assignment (a ``python.exe`` of a virtual environment starts the real Python at once); and
however this process ends, the kernel closes the handle. Jobs nest since Windows 8.

Standard library only and no relative import, since :mod:`.guard` loads it by path.
"""

from __future__ import annotations

import ctypes
import functools
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
KILL_ON_JOB_CLOSE = 0x2000
BREAKAWAY_OK = 0x0800
CREATE_BREAKAWAY_FROM_JOB = 0x01000000


class BasicLimits(ctypes.Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION; DWORD is 32 bits wide, SIZE_T as wide as a pointer."""

    _fields_ = (
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", ctypes.c_uint32),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", ctypes.c_uint32),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", ctypes.c_uint32),
        ("SchedulingClass", ctypes.c_uint32),
    )


class ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = (
        ("BasicLimitInformation", BasicLimits),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


@functools.cache
def hold_descendants() -> str | None:
    """Tie all that this process will start to its own life; returns a sentence if that fails.

    Only Windows has such jobs: elsewhere nothing is done. A second call does nothing and returns
    what the first one did.
    """
    if sys.platform != "win32":
        return None
    library = ctypes.WinDLL("kernel32", use_last_error=True)
    # Without these a handle would be cut to 32 bits.
    library.CreateJobObjectW.restype = ctypes.c_void_p
    library.CreateJobObjectW.argtypes = (ctypes.c_void_p, ctypes.c_wchar_p)
    library.SetInformationJobObject.argtypes = (
        *(ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32),
    )
    library.GetCurrentProcess.restype = ctypes.c_void_p
    library.AssignProcessToJobObject.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    library.CloseHandle.argtypes = (ctypes.c_void_p,)
    return _hold(library, ctypes.get_last_error)


def _hold(kernel32: Any, last_error: Callable[[], int]) -> str | None:
    """Do it with ``kernel32``; the job's handle is meant to stay open for good."""
    job = kernel32.CreateJobObjectW(None, None)
    if not job:
        return _sentence("CreateJobObject", last_error())
    limits = ExtendedLimits()
    # Without BREAKAWAY_OK a window opened for the user (start_apart) would end with us.
    limits.BasicLimitInformation.LimitFlags = KILL_ON_JOB_CLOSE | BREAKAWAY_OK
    size = ctypes.sizeof(limits)
    if not kernel32.SetInformationJobObject(job, EXTENDED_LIMITS, ctypes.byref(limits), size):
        failed, error = "SetInformationJobObject", last_error()
    elif not kernel32.AssignProcessToJobObject(job, kernel32.GetCurrentProcess()):
        failed, error = "AssignProcessToJobObject", last_error()
    else:
        return None
    kernel32.CloseHandle(job)
    return _sentence(failed, error)


def _sentence(call: str, error: int) -> str:
    return (
        f"Windows does not tie this run's programs to it ({call}: error {error}); if it is ended "
        f"by force, end what it started in the Task Manager."
    )


def start_apart(command: Sequence[str]) -> None:
    """Start the user's own program, which may outlive us; raises OSError if that fails."""
    quiet = subprocess.DEVNULL

    def popen(**options: Any) -> None:
        subprocess.Popen(list(command), stdin=quiet, stdout=quiet, stderr=quiet, **options)

    if sys.platform != "win32":
        popen(start_new_session=True)
        return
    try:
        popen(creationflags=CREATE_BREAKAWAY_FROM_JOB)
    except PermissionError:
        popen()  # a job around ours, of a farm for instance, lets nothing leave
