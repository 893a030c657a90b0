"""``make cuda-check``: accepts on an NVIDIA card what could not be run where this was written.

Trains a data set with gsplat (all three strategies) and, if a checkout is configured, with
graphdeco; prints PSNR, speed and the reprojection of the result as a table for the README, and
writes it to OUT/cuda.md. Exit codes: 0 done, 3 something is missing (it says what), 4 a training
failed. Runs in the worker's environment.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from gs_diffusion_addon.core import check
from gs_diffusion_addon.core.dataset import read_transforms
from gs_diffusion_addon.core.errors import EXIT_MISSING, EXIT_STAGE, GsdError
from gs_diffusion_addon.core.ply import Splats, read_splats
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
HEAD = "| trainer | card | splats | held-out PSNR | steps/s | seconds | silhouette offset |"


def main() -> int:
    """Check, train, print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "cuda-check")
    parser.add_argument("--run", type=Path, help="a run folder whose iter1/gs is trained on")
    parser.add_argument("--steps", type=int, default=7000)
    given = parser.parse_args()
    settings = dataclasses.replace(Settings(), train_steps=given.steps)
    jobs, facts = _jobs(settings)
    for line in facts:
        print(line)
    if not jobs:
        print("cuda-check: nothing can be trained on this machine; see the lines above.")
        return EXIT_MISSING
    root = given.run or _demo_data(given.out)
    rows, failed = [], False
    for name, change in jobs:
        try:
            rows.append(_row(name, root, given.out, dataclasses.replace(settings, **change)))
        except GsdError as error:
            failed = True
            print(f"cuda-check: {name}: {error}")
    table = "\n".join([HEAD, "|---" * 7 + "|", *rows])
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "cuda.md").write_text(table + "\n", encoding="utf-8")
    print(table)
    return EXIT_STAGE if failed else 0


def _jobs(settings: Settings) -> tuple[list[tuple[str, dict[str, str]]], list[str]]:
    """What can be trained, and a line on each thing that was looked at."""
    found = [check.torch(settings), check.gsplat(settings), check.graphdeco(settings)]
    lines = [f"{'ok' if f.ok else 'MISSING'}  {f.name}: {f.detail}. {_todo(f)}" for f in found]
    jobs: list[tuple[str, dict[str, str]]] = []
    if found[1].ok:
        jobs += [
            (f"gsplat, {kind}", {"trainer": "gsplat", "strategy": kind})
            for kind in ("recipe", "default", "mcmc")
        ]
    else:
        lines.append("        gsplat needs an NVIDIA card, a CUDA torch and 'pip install gsplat'.")
    if found[2].ok:
        jobs.append(("graphdeco", {"trainer": "graphdeco"}))
    return jobs, lines


def _todo(finding: check.Finding) -> str:
    """What to do, here where doing nothing is no answer."""
    todo = finding.todo.removeprefix("Nothing to do; ") if "; " in finding.todo else finding.todo
    return "" if todo.startswith("Nothing to do") else todo[:1].upper() + todo[1:]


def _demo_data(out: Path) -> Path:
    """The demo's data set (turntable, preview, propagation), made by ``make demo``'s program."""
    root = ROOT / "runs" / "demo"
    if (root / "iter1" / "gs" / "transforms_train.json").is_file():
        return root
    python = ROOT / ".venv" / "bin" / "python"
    subprocess.run([str(python), str(ROOT / "demo" / "run_demo.py")], check=True)
    return root


def _row(name: str, source: Path, out: Path, settings: Settings) -> str:
    """Train in a folder of its own and measure: one row of the table."""
    from gs_diffusion_addon.engine.train import result_path, run_stage

    folder = out / name.replace(", ", "-")
    run = Run(folder, 1)
    if not (run.gs / "transforms_train.json").is_file():
        ours = Run(source, 1)
        shutil.copytree(ours.gs, run.gs, ignore=shutil.ignore_patterns("model"))
        shutil.copytree(ours.stylized, run.stylized)
        shutil.copytree(ours.guides, run.guides)
        shutil.copyfile(ours.transforms_main, run.transforms_main)
    rates: list[float] = []

    def emit(event: str, **fields: object) -> None:
        if event == "progress" and isinstance(fields.get("rate"), float):
            rates.append(float(str(fields["rate"])))
        elif event in ("phase", "warning"):
            print(f"  {name}: {fields.get('message')}", flush=True)

    start = time.monotonic()
    run_stage(run, settings, emit)
    seconds = time.monotonic() - start
    splats = read_splats(result_path(run, settings))
    score, offset = judge(run, splats)
    speed = f"{np.median(rates):.1f}" if rates else "-"
    card = str(check._torch_facts(sys.executable).get("gpu") or "see above")
    return (
        f"| {name} | {card} | {splats.count} | {score:.2f} dB | {speed} | {seconds:.0f} "
        f"| {offset:.2f} px |"
    )


def judge(run: Run, splats: Splats) -> tuple[float, float]:
    """Mean PSNR on the held-out frames (whole picture on black), and the largest distance between
    the centers of the splat's silhouette and the frame's, in pixels: its world frame's test.
    """
    from gs_diffusion_addon.engine.images import over, read_rgba
    from gs_diffusion_addon.engine.splat.drawing import draw_on_black, drawable

    usable, scores, offsets = drawable(splats), [], []
    for frame in read_transforms(run.gs / "transforms_test.json"):
        rgba = read_rgba(run.gs / f"{frame.file_path}.png")
        image, alpha = draw_on_black(usable, frame.camera)
        error = np.mean((np.clip(image, 0, 1).transpose(1, 2, 0) - over(rgba, (0, 0, 0))) ** 2)
        scores.append(-10 * np.log10(max(float(error), 1e-10)))
        offsets.append(float(np.linalg.norm(_center(alpha) - _center(rgba[..., 3] / 255))))
    return float(np.mean(scores)), max(offsets)


def _center(weights: np.ndarray) -> np.ndarray:
    """(2,) mean pixel (x, y) of a picture of weights."""
    total = max(float(weights.sum()), 1e-9)
    y, x = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return np.array([(x * weights).sum() / total, (y * weights).sum() / total])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except GsdError as problem:
        print(f"cuda-check: {problem}")
        sys.exit(problem.exit_code)
