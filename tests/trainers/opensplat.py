"""A stand-in for OpenSplat: its options, lines, data set; without --keep-crs it moves the world."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "gaussian-splatting"))
import numpy as np
import standin


def main():
    parser = argparse.ArgumentParser(prog="opensplat")
    parser.add_argument("input")
    parser.add_argument("-o", "--output", default="splat.ply")
    parser.add_argument("--keep-crs", action="store_true")
    parser.add_argument("-n", "--num-iters", type=int, default=30000)
    for name in ("sh-degree", "num-downscales", "warmup-length", "refine-every"):
        parser.add_argument("--" + name, type=int)
    a = parser.parse_args()
    data = json.loads((Path(a.input) / "transforms.json").read_text())
    assert data["camera_model"] and data["ply_file_path"]
    print("Using CPU")
    for frame in data["frames"]:
        print(f"Loading {Path(a.input) / frame['file_path']}", flush=True)
        assert (Path(a.input) / frame["file_path"]).is_file()
    rows = standin.splats_of(str(Path(a.input) / data["ply_file_path"]), a.sh_degree)
    if not a.keep_crs:  # it scales and centers the cameras and leaves the result there
        places = np.array([np.array(f["transform_matrix"])[:3, 3] for f in data["frames"]])
        rows[:, :3] = (rows[:, :3] - places.mean(0)) / np.abs(places).max()
    for step in range(1, a.num_iters + 1):
        time.sleep(0.001)
        print(f"Step {step}: {0.3 / step:.6f} ({100 * step // a.num_iters}%)", flush=True)
    standin.save(a.output, rows)


if __name__ == "__main__":
    main()
