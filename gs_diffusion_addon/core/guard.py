"""Runs a foreign program that knows nothing of us, and never lets it outlive us.

Started as a script, ``python -I guard.py PROGRAM ARGUMENT...``, in a process group of its own and
with a pipe as standard input that its parent never writes to. When that pipe ends, the parent is
gone, and the whole group ends with it; otherwise the program's exit code is handed on (128 + the
signal that ended it). Only the standard library, since nothing else can be imported here, and
:mod:`.job_object`, which is loaded by path.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

CANNOT_START = 127


def main(command: list[str]) -> int:
    """Run ``command``; returns the code to exit with."""
    if os.name == "nt":
        _hold_descendants()
    try:
        # The program must not read our pipe; on Linux the kernel ends it should we be killed alone.
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            preexec_fn=_die_with_us if sys.platform == "linux" else None,
        )
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror or error}.", file=sys.stderr)
        return CANNOT_START
    threading.Thread(target=_watch, daemon=True).start()
    code = child.wait()
    return 128 - code if code < 0 else code


def _die_with_us() -> None:
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGKILL))


def _hold_descendants() -> None:
    path = Path(__file__).with_name("job_object.py")
    spec = importlib.util.spec_from_file_location("job_object", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.hold_descendants()  # the stage that started us has said it if this fails


def _watch() -> None:
    while os.read(0, 4096):
        continue
    if os.name == "nt":
        os._exit(130)  # and with the handle of its job the program
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
