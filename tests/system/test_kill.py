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

from .faults import orphans
from .program import TINY, command, events, gsd, png_pixels, repeated, temporaries

SEED = int(os.environ.get("GSD_KILL_SEED", "1"))


def seen(root: Path, event: str, stage: str) -> int:
    """How often the event stream holds ``event`` of ``stage``."""
    if not (root / "events.jsonl").exists():
        return 0
    return sum(e["event"] == event and e["stage"] == stage for e in events(root) if "stage" in e)


def kill_inside(process: subprocess.Popen, root: Path, stage: str, delay: float) -> bool:
    """Kill the group ``delay`` seconds into ``stage``, or as soon as a faster machine leaves it.

    Returns whether there was still a process to kill.
    """
    while process.poll() is None and not seen(root, "stage_started", stage):
        time.sleep(0.01)
    end = time.monotonic() + delay
    while (
        process.poll() is None
        and time.monotonic() < end
        and not seen(root, "stage_finished", stage)
    ):
        time.sleep(0.01)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


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
    missed = []
    for stage in stages.NAMES:
        iteration = 0 if stage == "turntable" else 1
        length = seconds[stages.record_name(stage, iteration)]["seconds"]
        with (tmp_path / f"{stage}.txt").open("w") as said:
            process = subprocess.Popen(
                command(*arguments),
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
        if not kill_inside(process, root, stage, rng.uniform(0.1, 0.9) * length):
            missed.append((tmp_path / f"{stage}.txt").read_text())
        assert not orphans(root)
        json.loads((root / "run.json").read_text())
    assert len(missed) <= 1, missed  # the last one may end before the signal
    done = gsd(*arguments)
    assert done.code == 0, done.err
    assert not repeated(root)
    assert not temporaries(root)
    for folder in ("train_main", "iter1/keys", "iter1/stylized", "iter1/renders"):
        for path in (finished / folder).glob("*.png"):
            assert png_pixels(root / folder / path.name) == png_pixels(path), path
