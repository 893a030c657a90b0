"""``make demo``: the CC0 head (or Suzanne), restyled, as a splat. Prints the paths of what came
out.

The stylizer, propagator and trainer are pinned, so that the demo is the same on every machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SETTINGS = [
    *("--prompt", "a bronze bust, dark patina, in the style of Rodin"),
    *("--stylizer", "preview", "--style", "bronze", "--strength", "1.0"),
    *("--propagator", "reproject", "--trainer", "builtin", "--compare-independent", "yes"),
    *("--views", "48", "--rings", "30:12,60:6,-25:6", "--size", "512", "--samples", "8"),
    *("--splats", "30000", "--max-splats", "60000", "--train-steps", "1200", "--seed", "1"),
]


def main() -> int:
    """Make the model, run the program on it; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "demo")
    out = parser.parse_args().out.expanduser().resolve()
    model = out.with_name(out.name + "-model.blend")
    if not model.exists():
        print(f"Making the demo's model {model.name}", file=sys.stderr, flush=True)
        maker = [sys.executable, str(ROOT / "demo" / "make_head.py"), "--out", str(model)]
        try:
            # a session of its own: Ctrl-C comes here only, and run() ends the child
            made = subprocess.run(maker, check=False, start_new_session=True)
        except KeyboardInterrupt:
            print("Stopped; the same command goes on.", file=sys.stderr)
            return 130
        if made.returncode:
            return made.returncode
    command = [sys.executable, str(ROOT / "gs_diffusion_addon" / "worker.py"), "run"]
    # exec, so that Ctrl-C and the exit code are the program's own
    return execute([*command, "--blend", str(model), "--out", str(out), *SETTINGS], out)


def execute(command: list[str], out: Path) -> int:
    """Run to the end, then show the figures."""
    child = subprocess.Popen(command)
    while True:
        try:
            code = child.wait()
            break
        except KeyboardInterrupt:
            continue  # the child got it too and ends by itself within two seconds
    metrics = out / "iter1" / "metrics.json"
    if code == 0 and metrics.exists():
        data = json.loads(metrics.read_text(encoding="utf-8"))
        print(
            f"held-out views: {data['psnr_test_object']:.1f} dB inside the silhouette, "
            f"{data['psnr_test']:.1f} dB over the whole picture",
            file=sys.stderr,
        )
    return code


if __name__ == "__main__":
    sys.exit(main())
