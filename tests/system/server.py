"""The test server beside whole runs, in a process of its own: it needs the worker's environment."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from gs_diffusion_addon.core.interpreters import worker_python
from gs_diffusion_addon.core.settings import Settings
from tests.processes import LIMIT

from .program import ROOT

USER, PASSWORD = "painter", "Rembrandt-1606"


@contextlib.contextmanager
def server(faults: list[str], record: Path) -> Iterator[str]:
    """The test server in a process of its own, guarded by a password; yields its address."""
    command = [worker_python(Settings()), "-m", "tests.servers.a1111_server", "--port", "0"]
    options = ["--auth", f"{USER}:{PASSWORD}", "--seconds-per-step", "0", "--away", "2"]
    process = subprocess.Popen(
        [*command, *options, "--faults", ",".join(faults), "--record", str(record)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process.stdout.readline().split()[2].rstrip(";")
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT)
