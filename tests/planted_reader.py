"""A reader with a fault that damage by chance does not reach, for the test of the guided fuzzer."""

from __future__ import annotations

from pathlib import Path

from gs_diffusion_addon.core.errors import InputError

from .fuzzing import Reader

MAGIC = b"gsd"


def read(data: bytes, path: Path) -> int:
    """Breaks on three bytes in a row, each of which is a branch of its own."""
    for k, byte in enumerate(MAGIC):
        if k >= len(data):
            raise InputError("It is too short.")
        if data[k] != byte:
            raise InputError("It begins otherwise.")
    return int(data[:0])


def readers() -> list[Reader]:
    """The one reader."""
    return [Reader("planted", [b"plain text"], read)]
