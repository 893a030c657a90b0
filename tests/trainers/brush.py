"""A stand-in for Brush's headless program: its options (of 0.3), log lines, data set and export.

It refuses what Brush refuses: file paths that do not exist as they stand, a camera_model it does
not know. Its splats are those of init.ply.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "gaussian-splatting"))
import standin


def main():
    parser = argparse.ArgumentParser(prog="brush")
    parser.add_argument("source")
    for name, kind in (
        ("total-train-iters", int),
        ("sh-degree", int),
        ("max-splats", int),
        ("growth-stop-iter", int),
        ("max-resolution", int),
        ("seed", int),
        ("eval-every", int),
        ("export-every", int),
        ("export-path", str),
        ("export-name", str),
    ):
        parser.add_argument("--" + name, type=kind)
    parser.add_argument("--with-viewer", action="store_true")
    a = parser.parse_args()
    data = json.loads((Path(a.source) / "transforms_train.json").read_text())
    assert data.get("camera_model") in (None, "PERSPECTIVE", "OPENCV")
    assert all((Path(a.source) / f["file_path"]).is_file() for f in data["frames"])
    logs = "info" in os.environ.get("RUST_LOG", "")

    def info(text):
        if logs:
            print(f"[2026-11-24T16:00:00Z INFO  brush_cli] {text}", flush=True)

    info(f"Loaded dataset with {len(data['frames'])} training, 2 eval views")
    rows = standin.splats_of(str(Path(a.source) / "init.ply"), a.sh_degree)
    for step in range(1, a.total_train_iters + 1):
        time.sleep(0.001)
        if step % 20 == 0:
            info(f"Refine iter {step}, {len(rows)} splats.")
        if step % a.eval_every == 0:
            info(f"Eval iter {step}: PSNR 25.5, ssim 0.9")
        if step % a.export_every == 0:
            standin.save(os.path.join(a.export_path, a.export_name), rows)
    info("Done training! Took 1s.")


if __name__ == "__main__":
    main()
