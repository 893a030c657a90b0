"""Consistency and cost of propagation, measured on run folders.

    .venv-worker/bin/python bench/propagation.py RUN_DIR...

For each folder: the warp errors of what is in it (the unstyled render, every frame restyled on its
own, the propagated frames, the splat), and, measured here and now on one thread, the processor
seconds a frame that reprojection takes, alone and with reading and writing. The last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gs_diffusion_addon.core.errors import GsdError
from gs_diffusion_addon.core.orbit import plan_keys
from gs_diffusion_addon.core.run import Run, read_manifest, run_settings
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.engine.guides import cameras, feather_map, read_view
from gs_diffusion_addon.engine.images import read_rgba
from gs_diffusion_addon.engine.metrics import measure
from gs_diffusion_addon.engine.propagate import Painted, finish, read_key
from gs_diffusion_addon.engine.propagate.reproject import Key, KeySet, reproject, warm_up

LAGS = ("1", "key_gap", "60deg", "loop")
TIMED_FRAMES = 12


def measure_run(root: Path, iteration: int) -> dict[str, Any]:
    """The figures of one run folder."""
    run = Run(root, iteration)
    settings = run_settings(read_manifest(root))
    start = time.process_time()
    found = measure(run, settings)
    seconds = time.process_time() - start
    table = found["warp_error"]
    alone, together = table["stylized_independent"], table["propagated"]
    gain = alone["60deg"]["raw"] / together["60deg"]["raw"] if alone and together else None
    return {
        "run": root.name,
        "warp_error": table,
        "gain_60deg": gain,
        "coverage": found["coverage"],
        "sharpness": found["sharpness"],
        "l1_keys": found["l1_keys"],
        "metrics_cpu_seconds": round(seconds, 2),
        **cost(run, settings),
    }


def cost(run: Run, settings: Settings) -> dict[str, Any]:
    """Processor seconds a frame, median over some frames, on this thread; kernels are compiled
    before.
    """
    frames = cameras(run)
    by_number = {f.frame: f for f in frames}
    start = time.process_time()
    keys = []
    for number in plan_keys(settings):
        view = read_view(run, by_number[number])
        keys.append(Key(view, read_key(run, by_number[number]), feather_map(view)))
    prepared = time.process_time() - start
    stack = KeySet.of(keys)
    warm_up(stack)
    kernel, fill, read = [], [], []
    for frame in frames[:: max(1, len(frames) // TIMED_FRAMES)]:
        marks = [time.process_time()]
        view = read_view(run, frame)
        alpha = read_rgba(run.frame(frame.frame))[..., 3]
        marks.append(time.process_time())
        color, weight = reproject(view, stack, settings.sharpness)
        marks.append(time.process_time())
        finish(Painted(color, weight > 0), alpha)
        marks.append(time.process_time())
        steps = np.diff(marks)
        read.append(steps[0])
        kernel.append(steps[1])
        fill.append(steps[2])
    return {
        "keys": len(keys),
        "size": f"{frames[0].camera.width}x{frames[0].camera.height}",
        "object_share": round(float(np.mean([k.view.mask.mean() for k in keys])), 3),
        "prepare_cpu_seconds": round(prepared, 3),
        "reproject_cpu_seconds_a_frame": round(statistics.median(kernel), 4),
        "fill_cpu_seconds_a_frame": round(statistics.median(fill), 4),
        "read_cpu_seconds_a_frame": round(statistics.median(read), 4),
    }


def show(found: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print(f"\n{found['run']}: {found['size']}, {found['keys']} keys, coverage {found['coverage']}")
    print(f"  {'warp error x 1e4':32}" + "".join(f"{lag:>16}" for lag in LAGS))
    for name, lags in found["warp_error"].items():
        if lags is None:
            continue
        cells = []
        for lag in LAGS:
            raw, ratio = lags[lag]["raw"], lags[lag]["over_source"]
            text = "-" if raw is None else f"{1e4 * raw:.2f}"
            cells.append(f"{text + ('' if ratio is None else f' (x{ratio:.1f})'):>16}")
        print(f"  {name:32}" + "".join(cells))
    if found["gain_60deg"]:
        print(f"  propagated over independent at 60 degrees: 1/{found['gain_60deg']:.1f}")
    print(
        f"  CPU-s a frame: reproject {found['reproject_cpu_seconds_a_frame']}, fill "
        f"{found['fill_cpu_seconds_a_frame']}, read {found['read_cpu_seconds_a_frame']}; "
        f"prepare {found['prepare_cpu_seconds']} once; metrics {found['metrics_cpu_seconds']} once"
    )


def main() -> int:
    """Measure the folders of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path, help="run folders")
    parser.add_argument(
        "--iteration", type=int, default=1, help="iteration to measure (default: 1)"
    )
    arguments = parser.parse_args()
    results = []
    try:
        for root in arguments.runs:
            found = measure_run(root.resolve(), arguments.iteration)
            show(found)
            results.append(found)
    except GsdError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if not arguments.runs:
        print("Name at least one run folder, such as runs/demo.", file=sys.stderr)
    print(json.dumps({"bench": "propagation", "runs": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
