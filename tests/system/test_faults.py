"""What happens to a machine happens to a run: a full disk, a stopped process, a clock that jumps.

After each the same command finishes the run, equal to the undisturbed one. One stage is enough
here; ``bench/faults.py`` kills whole runs by the hundred.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from gs_diffusion_addon.core import stages
from gs_diffusion_addon.core.run import Run
from tests.processes import wait_for

from .faults import (
    begin,
    contents,
    differences,
    one_sentence,
    orphans,
    processes_of,
    reference,
)
from .program import Done, command, events, gsd, repeated, temporaries

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

STAGE = "dataset"


@pytest.fixture
def before(finished: Path, tmp_path: Path) -> Path:
    """The finished run without its data set and what follows."""
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    manifest = json.loads((root / "run.json").read_text(encoding="utf-8"))
    for name in stages.NAMES[stages.NAMES.index(STAGE) :]:
        manifest["stages"].pop(f"1/{name}", None)
    (root / "run.json").write_text(json.dumps(manifest), encoding="utf-8")
    shutil.rmtree(Run(root).gs)
    (root / "events.jsonl").unlink()
    return root


def arguments(root: Path) -> list[str]:
    return ["run", "--out", str(root), "--until", STAGE]


def assert_finished(root: Path, finished: Path) -> None:
    """The same command ends well, with the undisturbed data set and nothing else."""
    done = gsd(*arguments(root))
    assert done.code == 0, done.err
    for part in ("train", "val", "test"):
        theirs = sorted((Run(finished).gs / part).glob("*"))
        ours = sorted((Run(root).gs / part).glob("*"))
        assert [p.name for p in ours] == [p.name for p in theirs]
        assert [p.read_bytes() for p in ours] == [p.read_bytes() for p in theirs]
    assert not temporaries(root)
    assert not repeated(root)
    assert not orphans(root)


def limited(root: Path, limit: int, value: int, given: Sequence[str] = ()) -> Done:
    """The command under a resource limit, which its children inherit."""
    done = subprocess.run(
        command(*(given or arguments(root))),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        preexec_fn=lambda: resource.setrlimit(limit, (value, value)),
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_full_disk_is_a_sentence_and_the_same_command_goes_on(before, finished):
    """A limit on the size of files fails as a full disk does, in the middle of a write."""
    done = limited(before, resource.RLIMIT_FSIZE, 100_000)  # run.json is smaller, the points not
    assert done.code == 4, done.err
    lines = [line for line in done.err.splitlines() if line.startswith("gsd: ")]
    assert len(lines) == 1 and "no space left" in lines[0], done.err
    assert "Traceback" not in done.err
    assert not temporaries(before)
    json.loads((before / "run.json").read_text(encoding="utf-8"))
    assert_finished(before, finished)


def test_memory_that_runs_out_is_a_sentence_and_the_same_command_goes_on(before, finished):
    """Libraries, arrays and threads get no more of it; what says so is not always a MemoryError."""
    done = limited(before, resource.RLIMIT_AS, 300 << 20)
    assert done.code == 4, done.err
    assert one_sentence(done, "memory", "--size", "--max-splats", "same command") == []
    assert not temporaries(before)
    json.loads((before / "run.json").read_text(encoding="utf-8"))
    assert_finished(before, finished)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["turntable", "stylize", "propagate", "train", "render"])
def test_little_memory_in_any_stage(stage, tmp_path):
    """From far too little up to enough: each time a sentence, in the end an undisturbed result."""
    made = reference(tmp_path / "calm")
    root, failed = begin(made, stage, tmp_path / "run"), 0
    for megabytes in (300, 600, 900, 1200, 1600, 2200, 3000, 8000):
        done = limited(root, resource.RLIMIT_AS, megabytes << 20, made.arguments(root))
        if done.code == 0:
            break
        failed += 1
        assert one_sentence(done, "memory", "--size", "same command") == [], megabytes
        assert not temporaries(root)
    assert done.code == 0 and failed, done.err
    assert differences(made, root) == []


def test_a_process_stopped_for_a_while_goes_on(before, finished):
    child = subprocess.Popen(
        command(*arguments(before)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for((before / "events.jsonl").exists, lambda: child.poll() is None)
        stopped = processes_of(before)
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        time.sleep(0.5)
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        assert child.wait(timeout=600) == 0
    finally:
        child.kill()
        child.wait()
    assert_finished(before, finished)


def test_a_clock_that_jumped_makes_nothing_stale(finished, tmp_path):
    """Files from the future and from 1990: what counts is what stands in them."""
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    for k, path in enumerate(sorted(p for p in root.rglob("*") if p.is_file())):
        moment = 4_000_000_000 if k % 2 else 640_000_000
        os.utime(path, (moment, moment))
    (root / "events.jsonl").unlink()
    done = gsd("run", "--out", root)
    assert done.code == 0, done.err
    kinds = [e["event"] for e in events(root)]
    assert kinds.count("stage_skipped") == len(stages.NAMES)
    assert "stage_started" not in kinds


def test_a_folder_that_became_read_only(before, finished):
    """By permissions for a user; root ignores those, so for it by a mount where it may."""
    mounted = os.geteuid() == 0
    if mounted:
        steps = (["--bind", str(before), str(before)], ["-o", "remount,ro,bind", str(before)])
        for step in steps:
            made = subprocess.run(["mount", *step], capture_output=True, check=False)
            if made.returncode:
                subprocess.run(["umount", str(before)], capture_output=True, check=False)
                pytest.skip("nothing can be mounted here")
    else:
        before.chmod(0o500)
    try:
        done = gsd(*arguments(before))
    finally:
        if mounted:
            subprocess.run(["umount", str(before)], capture_output=True, check=False)
        else:
            before.chmod(0o700)
    assert done.code == 2, done.err
    assert "cannot be written" in done.err and "another --out" in done.err
    assert "Traceback" not in done.err
    assert_finished(before, finished)


def test_lost_and_damaged_results_are_made_again_and_nothing_else(finished, tmp_path):
    """Of each stage something is deleted, cut off or filled with zeros; the run does not notice at
    once, the same command does, without --redo, and makes just that.
    """
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    for path in root.glob("iter1/gs/*/r_*.png"):  # as in a run: two names of one file
        path.unlink()
        os.link(root / "iter1" / "stylized" / path.name, path)
    lost = {
        "train_main/r_3.png": delete,
        "train_main/r_5.png": zero,
        "guides/r_2.exr": cut,
        "guides/r_4.exr": zero,
        "guides/surface.ply": delete,
        "iter0.mp4": cut,
        "iter1/keys/keys00004.png": delete,
        "iter1/independent/r_1.png": cut,
        "iter1/propagation.json": delete,
        "iter1/stylized/r_6.png": zero,  # and with it the data set's
        "iter1/gs/transforms_test.json": cut,
        "iter1/gs/points3d.ply": zero,
        "iter1/gs/model/point_cloud/iteration_60/point_cloud.ply": delete,
        "iter1/renders/00001.png": cut,
    }
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*.png")}
    for name, harm in lost.items():
        harm(root / name)
    (root / "events.jsonl").unlink()
    done = gsd("run", "--out", root)
    assert done.code == 0, done.err
    theirs, ours = contents(finished), contents(root)
    assert {n for n in theirs if theirs[n] != ours.get(n)} == set()
    made = {p.relative_to(root).as_posix() for p, t in before.items() if p.stat().st_mtime_ns != t}
    twins = {p.relative_to(root).as_posix() for p in root.glob("iter1/gs/*/r_6.png")}
    assert made == {n for n in lost if n.endswith(".png")} | twins
    assert not temporaries(root)
    kinds = [(e["event"], e.get("stage")) for e in events(root)]
    assert ("stage_started", "train") not in kinds
    assert gsd("run", "--out", root).err.count("gsd: ") == 0
    assert [e["event"] for e in events(root)].count("stage_skipped") >= len(stages.NAMES)


def delete(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size * 2 // 3)


def zero(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(bytes(path.stat().st_size))
