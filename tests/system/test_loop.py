"""Several iterations, unattended: early end, begin and end, and ten of them through two kills."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from gs_diffusion_addon.core.version import PACKAGE

from .program import TINY, command, events, gsd, repeated, temporaries

SEED = int(os.environ.get("GSD_KILL_SEED", "1"))


def read(path: Path) -> dict:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_loop_goes_on_and_ends_where_nothing_changes(finished, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    schedule = "strength=0.75->0.5; train_steps=60->30"
    done = gsd("run", "--out", root, "--end", "9", "--start", "1", "--stop-below", "0.9",
               "--schedule", schedule, "--warm-start", "--source", "blend", "--redo")  # fmt: skip
    assert done.code == 0, done.err
    assert "the loop ends here" in done.err and (root / "splat_iter2.ply").is_file()
    assert not (root / "iter3").exists() and not list(root.glob("superseded/*/iter1"))
    assert [e["iteration"] for e in events(root) if e["event"] == "loop_ended"] == [2]
    assert done.out.split("\n")[1].endswith("splat_iter2.ply")
    metrics = read(root / "iter2" / "metrics.json")
    assert 0 < metrics["change"]["mean"] < 0.9
    assert 0.5 < metrics["style_likeness"]["splat"] <= 1.001
    rows = read(root / "metrics-history.json")["iterations"]
    assert [row["iteration"] for row in rows] == [1, 2] and rows[1]["warp_after"]["loop"] >= 0
    assert "Warp error, across the seam" in (root / "report.html").read_text(encoding="utf-8")
    model = root / "iter2" / "gs" / "model" / "point_cloud"
    assert [p.name for p in model.iterdir()] == ["iteration_30"]
    states = {line.split()[0] for line in gsd("status", "--out", root).out.splitlines()}
    assert "import" in states
    refused = gsd("run", "--out", root, "--start", "5")
    assert refused.code == 2 and "--start 5 needs the results of iteration 5" in refused.err


@pytest.mark.slow
def test_ten_iterations_end_by_themselves_though_killed_twice(tmp_path):
    """The demo's head (Suzanne where its package is missing) at 64 pixels."""
    model, root = tmp_path / "head.blend", tmp_path / "run"
    maker = PACKAGE.parent / "demo" / "make_head.py"
    subprocess.run([command()[0], str(maker), "--out", str(model)], check=True)
    arguments = ["run", "--blend", str(model), "--out", str(root), *TINY, "--iterations", "10",
                 "--schedule", "strength=0.9..0.4/10"]  # fmt: skip
    rng = random.Random(SEED)
    for kill_in in (rng.randint(2, 5), rng.randint(6, 9)):
        process = subprocess.Popen(
            command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        wanted = rng.choice(("keys", "stylized", "renders", "gs/train"))
        while process.poll() is None and not any((root / f"iter{kill_in}" / wanted).glob("*.png")):
            time.sleep(0.01)
        assert process.poll() is None, process.stderr.read()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = gsd(*arguments, timeout=3000)
    assert done.code == 0, done.err
    assert not repeated(root) and not temporaries(root)
    rows = read(root / "metrics-history.json")["iterations"]
    assert [row["iteration"] for row in rows] == list(range(1, 11))
    for row in rows:
        assert all(
            v is not None for lags in ("warp_before", "warp_after") for v in row[lags].values()
        )
    page = (root / "report.html").read_text(encoding="utf-8")
    assert page.count("<polyline") >= 15 and "Iteration 10" in page
    assert (root / "splat_iter10.ply").is_file() and (root / "result.blend").is_file()
