"""``kill -9`` of the whole process group in each stage, then the same command: finished, nothing
twice.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

from gs_diffusion_addon.core import stages

from .program import TINY, command, events, gsd, png_pixels, repeated, temporaries

SEED = int(os.environ.get("GSD_KILL_SEED", "1"))


def started(root: Path, stage: str) -> bool:
    """Whether the newest stage_started event is of ``stage``."""
    if not (root / "events.jsonl").exists():
        return False
    names = [e["stage"] for e in events(root) if e["event"] in ("stage_started", "stage_finished")]
    return bool(names) and names[-1] == stage


def test_kill_nine_in_every_stage_then_the_same_command_finishes(scene, tmp_path, finished):
    root, rng = tmp_path / "run", random.Random(SEED)
    arguments = [
        "run",
        "--blend",
        str(scene),
        "--out",
        str(root),
        "--prompt",
        "a bronze bust",
        *TINY,
    ]
    seconds = json.loads((finished / "run.json").read_text())["stages"]
    killed = 0
    for stage in stages.NAMES:
        iteration = 0 if stage == "turntable" else 1
        length = seconds[stages.record_name(stage, iteration)]["seconds"]
        process = subprocess.Popen(
            command(*arguments),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        while process.poll() is None and not started(root, stage):
            time.sleep(0.02)
        time.sleep(rng.uniform(0.1, 0.9) * length)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        time.sleep(0.2)  # the kernel tells the children now
        json.loads((root / "run.json").read_text())
    assert killed >= 6
    done = gsd(*arguments)
    assert done.code == 0, done.err
    assert not repeated(root)
    assert not temporaries(root)
    for folder in ("train_main", "iter1/keys", "iter1/stylized", "iter1/renders"):
        for path in (finished / folder).glob("*.png"):
            assert png_pixels(root / folder / path.name) == png_pixels(path), path
