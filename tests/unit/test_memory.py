"""What programs say and how they end when they get no memory: one sentence for all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gs_diffusion_addon.core.errors import StageError, crash_error, memory_error, system_error

SAID = [
    "OpenBLAS error: Memory allocation still failed after 10 retries, giving up.",
    "LLVM ERROR: out of memory",
    "terminate called after throwing an instance of 'std::bad_alloc'",
    "Calloc returns null: len=33554432 in MEM_new, total 251658240",
    "bpy/__init__.so: failed to map segment from shared object",
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 400000000000 bytes. Error code 12 (Cannot allocate memory)",
]


@pytest.mark.parametrize("line", SAID)
def test_what_is_said_of_memory_is_understood(line):
    error = crash_error("train", -6, Path("train.log"), ["--- command", line, "more"])
    assert isinstance(error, StageError) and "memory ran out" in str(error)
    assert "--max-splats" in str(error) and memory_error(RuntimeError(line))


@pytest.mark.parametrize("code", [-9, -11, -6, 137, 0xC0000005])
def test_a_silent_end_names_memory_and_the_log(code):
    error = str(crash_error("turntable", code, Path("logs/0-turntable.log"), []))
    assert "memory" in error and "--size" in error and "0-turntable.log" in error


def test_other_ends_do_not_name_memory():
    assert "memory" not in str(crash_error("train", 1, Path("x.log"), ["ValueError: 3"]))
    assert not memory_error(RuntimeError("size mismatch")) and not memory_error(None)
    assert "memory" not in str(system_error(OSError(5, "Input/output error", "r_1.png")))


def test_the_reason_may_stand_behind_the_exception():
    try:
        try:
            raise OSError("libllvmlite.so: failed to map segment from shared object")
        except OSError:
            raise OSError("Could not find/load shared object file") from None
    except OSError as error:
        assert memory_error(error)
        assert "memory ran out" in str(system_error(error))
