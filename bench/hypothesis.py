"""Does splatting raise consistency between views, and diffusion quality, over the iterations?

    .venv-worker/bin/python bench/hypothesis.py --out DIR [--heads A,B] [--styles 1,9] [--seeds 1,2]
        [--arms none,crossfade,reproject] [--iterations 10] [--jobs 2] [--figures-only]

Runs heads x styles x arms x seeds x iterations in small, with the stages of a run, each in this
process: kernels are compiled once. Arms say how the keyframes' style comes to all frames: ``none``
restyles every frame by itself and brings in no consistency, ``crossfade`` paints frames from pieces
of the two nearest keys and fades between them as the original experiment did, ``reproject`` carries
keys along the exact geometry. Restyled is what the last iteration's splat shows (``last``).

The stylizer is the preview's small style network, **not Stable Diffusion**.

Measured in each iteration on ring 0: warp errors of the restyled frames (before) and of the
splat's renders (after), both also over the variance of the picture's colors, since blurring and
fading lower the raw error without making anything agree; sharpness over the turntable's; and how
much of the style is left (:mod:`gs_diffusion_addon.engine.likeness`, to the turntable restyled once
at full strength), which is the quality that is named in the table. What is done is kept in DIR, the
same command goes on. Prints tables, writes plots, and one JSON object as the last line.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gs_diffusion_addon.core.dataset import read_transforms
from gs_diffusion_addon.core.events import Emit
from gs_diffusion_addon.core.run import Run, read_json, write_json
from gs_diffusion_addon.core.settings import Settings, from_json

ROOT = Path(__file__).resolve().parent.parent
HEADS = ("young-woman", "old-man", "young-man")
ARMS = {
    "none": {"propagator": "none", "sides": 1},
    "crossfade": {"propagator": "patchmatch", "patch_start": "plain", "blending": "crossfade"},
    "reproject": {"propagator": "reproject"},
}
COMMON: dict[str, Any] = {
    "rings": "none", "keys": 8, "sides": 2, "stylizer": "preview", "trainer": "builtin",
    "splats": 2000, "max_splats": 3000, "compare_independent": "no", "threads": 1,
}  # fmt: skip
STYLED_VIEWS = 6  # views whose style is encoded
RECORD = "study.json"


@dataclass(frozen=True)
class Case:
    """One run of the study."""

    head: str
    style: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.head}-{self.style}-{self.arm}-{self.seed}"


def main() -> None:
    """Run what is missing, print the tables, write the plots."""
    parsed = parser().parse_args()
    out = parsed.out.expanduser().resolve()
    split = {n: getattr(parsed, n).split(",") for n in ("heads", "styles", "arms", "seeds")}
    # Seed by seed: what a stopped study has is balanced over everything else.
    cases = [
        Case(head, style, arm, int(seed))
        for seed, head, style, arm in itertools.product(
            split["seeds"], split["heads"], split["styles"], split["arms"]
        )
    ]
    if not parsed.figures_only:
        for head in split["heads"]:
            prepare_head(out, head, parsed)
        work(out, cases, parsed)
    from hypothesis_figures import show  # a neighbor in this folder

    show(out, [(c.name, c.arm) for c in cases], parsed.iterations, list(split["arms"]))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--out", type=Path, default=ROOT / "runs" / "hypothesis")
    p.add_argument("--heads", default=",".join(HEADS))
    p.add_argument("--styles", default="4,25", help="numbers of the preview's styles")
    p.add_argument("--arms", default=",".join(ARMS))
    p.add_argument("--seeds", default="1,2")
    p.add_argument("--iterations", type=int, default=10)
    p.add_argument("--strength", type=float, default=0.6)
    p.add_argument("--size", default="96")
    p.add_argument("--views", type=int, default=24)
    p.add_argument("--steps", type=int, default=300)
    p.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    p.add_argument("--figures-only", action="store_true", help="only show what is there")
    return p


def prepare_head(out: Path, head: str, parsed: argparse.Namespace) -> None:
    """Make the head and its turntable, once."""
    blend, root = out / "heads" / f"{head}.blend", out / "heads" / head
    python = str(ROOT / ".venv" / "bin" / "python")
    if not blend.exists():
        maker = str(ROOT / "demo" / "make_head.py")
        subprocess.run([python, maker, "--out", str(blend), "--person", head], check=True)
    arguments = ["--blend", str(blend), "--out", str(root), "--until", "turntable", "--rings"]
    arguments += ["none", "--views", str(parsed.views), "--size", parsed.size, "--samples", "8"]
    worker = str(ROOT / "gs_diffusion_addon" / "worker.py")
    subprocess.run([python, worker, "run", *arguments], check=True)


def work(out: Path, cases: list[Case], parsed: argparse.Namespace) -> None:
    """Do all cases, ``--jobs`` at once."""
    began = time.monotonic()
    with ProcessPoolExecutor(parsed.jobs, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(do_case, out, c, vars(parsed)): c for c in cases}
        for number, future in enumerate(as_completed(futures), 1):
            future.result()
            minutes = (time.monotonic() - began) / 60
            name = futures[future].name
            print(f"{number} of {len(cases)}: {name}, {minutes:.1f} min", file=sys.stderr)


def settings_of(case: Case, options: dict[str, Any]) -> Settings:
    """The settings of a case."""
    named = {"views": "views", "size": "size", "strength": "strength", "steps": "train_steps"}
    values = {setting: options[option] for option, setting in named.items()}
    return from_json({**COMMON, **values, **ARMS[case.arm], "style": case.style, "seed": case.seed})


def do_case(out: Path, case: Case, options: dict[str, Any]) -> None:
    """All iterations of one case; finished ones are kept."""
    settings = settings_of(case, options)
    root = link_turntable(out / "heads" / case.head, out / "runs" / case.name)
    for iteration in range(1, options["iterations"] + 1):
        run = Run(root, iteration)
        if not (run.folder / RECORD).is_file():
            write_json(run.folder / RECORD, iterate(run, settings))
        for used in (run.gs, run.input, run.output):
            shutil.rmtree(used, ignore_errors=True)


def link_turntable(head: Path, root: Path) -> Path:
    """The head's turntable as a run folder of its own, by hard links."""
    for path in (*head.glob("train_main/*"), *head.glob("guides/*"), *head.glob("transforms*")):
        target = root / path.relative_to(head)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            os.link(path, target)
    return root


def iterate(run: Run, settings: Settings) -> dict[str, Any]:
    """One iteration's stages and its record."""
    from gs_diffusion_addon.engine import dataset, propagate, render, stylize, train

    def silent(event: str, **fields: Any) -> None:
        """Nobody listens."""

    emit: Emit = silent
    seconds = {}
    for name, stage in (
        ("stylize", stylize.run_stage), ("propagate", propagate.run_stage),
        ("dataset", dataset.run_stage), ("train", train.run_stage), ("render", render.run_stage),
    ):  # fmt: skip
        start = time.process_time()
        stage(run, settings, emit)
        seconds[name] = round(time.process_time() - start, 2)
    return {**record(run, settings), "processor_seconds": seconds}


def record(run: Run, settings: Settings) -> dict[str, Any]:
    """What is measured of an iteration."""
    from gs_diffusion_addon.engine import metrics
    from gs_diffusion_addon.engine.guides import interior
    from gs_diffusion_addon.engine.measures import sharpness

    frames = sorted(read_transforms(run.transforms_main), key=lambda f: f.frame)
    circle = metrics.load_ring(run, frames, 1)
    gap = metrics.key_gap(settings, len(circle.frames))
    raw = metrics.warp_table(run, circle, gap, 1)
    inner = [interior(view, metrics.RIM) for view in circle.views]
    kinds: dict[str, Callable[[int], Path]] = {
        "turntable": run.frame, "before": run.stylized_frame, "after": run.render,
    }  # fmt: skip
    target = reference_style(run, settings)
    out: dict[str, Any] = {}
    for kind, place in kinds.items():
        pictures = [metrics.read_on_black(place(f.frame)) for f in circle.frames]
        colors = np.concatenate([p[m] for p, m in zip(pictures, inner, strict=True)]) / 255
        name = {"turntable": "source", "before": "propagated", "after": "splat"}[kind]
        table = {lag: entry["raw"] for lag, entry in raw[name].items()}
        # Two unrelated pictures differ by twice their variance: 1 is no agreement at all.
        spread = 2 * float(colors.var(0).mean())
        crisp = [sharpness(p, m) for p, m in zip(pictures, inner, strict=True)]
        out[kind] = {
            "warp": table,
            "relative_warp": {lag: v / spread for lag, v in table.items()},
            "contrast": float(colors.std(0).mean()),
            "sharpness": float(np.mean(crisp)),
            "likeness": style_likeness(circle, pictures, target),
        }
    test = metrics.held_out(run, settings, frames, 1)["all"]
    return {
        **out,
        "psnr": test["psnr"], "psnr_object": test["psnr_object"], "ssim": test["ssim"],
        "silhouette_iou": metrics.silhouettes(run, frames, 1),
    }  # fmt: skip


def style_likeness(circle: Any, pictures: list[Any], target: Any) -> float | None:
    """Likeness of some of the ring's pictures to the target style."""
    from gs_diffusion_addon.engine.likeness import cosine, style_of, subject

    step = max(1, len(pictures) // STYLED_VIEWS)
    chosen = range(0, len(pictures), step)
    return cosine(style_of(subject(pictures[k], circle.views[k].mask) for k in chosen), target)


def reference_style(run: Run, settings: Settings) -> Any:
    """Style of the turntable restyled once at full strength, kept in the run's folder."""
    from gs_diffusion_addon.engine.images import BLACK, over, read_rgba, to_bytes
    from gs_diffusion_addon.engine.likeness import style_of, subject
    from gs_diffusion_addon.engine.stylize import start_all

    path = run.root / "reference_style.json"
    if not path.is_file():
        import dataclasses

        full = dataclasses.replace(settings, strength=1.0)
        (stylizer,) = start_all(full, lambda event, **fields: None)
        count = settings.views
        vectors = []
        for k in range(0, count, max(1, count // STYLED_VIEWS)):
            rgba = read_rgba(run.frame(k))
            gray = to_bytes(over(rgba, (0.5, 0.5, 0.5)))
            styled = stylizer(gray, (1, 1), lambda share, eta: None).pixels
            mask = rgba[..., 3] > 127
            vectors.append(
                subject(np.where(mask[..., None], styled, to_bytes(over(rgba, BLACK))), mask)
            )
        write_json(path, {"style": style_of(vectors).tolist()})
    return np.array(read_json(path)["style"], np.float32)


if __name__ == "__main__":
    main()
