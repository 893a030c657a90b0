"""Splat files without kernels: their facts in words and numbers, conversion, requests to a running
training.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .errors import InputError, MissingError, StageError
from .lock import in_use
from .ply import SH_C0, Points, Splats, holds_splats, read_points, read_splats, write_splats
from .run import atomic, replace_file
from .version import PACKAGE

REQUESTS = ("pause", "resume", "preview")
CHECKPOINTS = "checkpoints/training"
"""Where ``gsd splat train`` keeps what it needs to go on."""
FORMATS = (".compressed.ply", ".spz", ".sog", ".csv", ".ksplat", ".ply")
CONVERT_SECONDS = 3600.0
_BINS = 12
_HAZE = 0.1  # opacity


@dataclass(frozen=True)
class Histogram:
    """Counts between ``edges`` (bins + 1,), with the 1st, 50th and 99th percentile."""

    edges: list[float]
    counts: list[int]
    percentiles: list[float]


@dataclass(frozen=True)
class Info:
    """Facts of a splat file. ``low``, ``high``: bounds of the finite centers, in its units.

    ``nan`` and ``inf`` count splats with such a number (an infinite opacity logit is legal and
    apart). ``opacity`` is 0..1, ``size`` the longest standard deviation.
    """

    file: str
    bytes: int
    count: int
    degree: int
    low: list[float]
    high: list[float]
    nan: int
    inf: int
    infinite_opacity: int
    opacity: Histogram
    size: Histogram


def info(file: Path) -> Info:
    """Facts of a splat file; raises InputError when it is none."""
    splats = read_splats(file)
    parts = (splats.means, splats.sh, splats.scales, splats.quats)
    flat = np.concatenate([p.reshape(splats.count, math.prod(p.shape[1:])) for p in parts], axis=1)
    usable = splats.finite
    means = splats.means[usable] if usable.any() else np.zeros((1, 3), np.float32)
    logits = splats.opacities[~np.isnan(splats.opacities)].astype(np.float64)
    opacities = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
    with np.errstate(over="ignore"):
        sizes = np.exp(splats.scales[usable].max(1).astype(np.float64))
    return Info(
        str(file), file.stat().st_size, splats.count, splats.degree,
        [round(float(v), 6) for v in means.min(0)], [round(float(v), 6) for v in means.max(0)],
        int((np.isnan(flat).any(1) | np.isnan(splats.opacities)).sum()),
        int(np.isinf(flat).any(1).sum()), int(np.isinf(splats.opacities).sum()),
        _histogram(opacities, np.linspace(0, 1, _BINS + 1)), _sizes(sizes),
    )  # fmt: skip


def _histogram(values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> Histogram:
    counts = np.histogram(values, edges)[0]
    marks = np.percentile(values, (1, 50, 99)) if len(values) else np.zeros(3)
    return Histogram(
        [float(f"{e:.4g}") for e in edges],
        [int(c) for c in counts],
        [float(f"{m:.4g}") for m in marks],
    )


def _sizes(sizes: npt.NDArray[np.float64]) -> Histogram:
    sizes = sizes[(sizes > 0) & np.isfinite(sizes)]
    if not len(sizes):
        return _histogram(sizes, np.linspace(0, 1, _BINS + 1))
    low, high = float(sizes.min()), float(sizes.max())
    return _histogram(sizes, np.geomspace(low * 0.999, max(high, low) * 1.001, _BINS + 1))


def info_text(facts: Info) -> str:
    """The facts for people."""
    lines = [
        facts.file,
        f"splats      {facts.count}",
        f"SH degree   {facts.degree}",
        f"bytes       {facts.bytes}",
        "bounds      " + " to ".join("(" + ", ".join(f"{v:.4g}" for v in c) + ")"
                                     for c in (facts.low, facts.high)),
        f"with NaN    {facts.nan}",
        f"with inf    {facts.inf}  (infinite opacity, which is legal: {facts.infinite_opacity})",
    ]  # fmt: skip
    for name, histogram in (("opacity", facts.opacity), ("size", facts.size)):
        low, middle, high = histogram.percentiles
        lines.append(f"{name}: 1 % {low:.3g}, median {middle:.3g}, 99 % {high:.3g}")
        most = max([1, *histogram.counts])
        for k, count in enumerate(histogram.counts):
            bar = "#" * round(40 * count / most)
            span = f"{histogram.edges[k]:.3g} .. {histogram.edges[k + 1]:.3g}"
            lines.append(f"  {span:>20} {count:>9} {bar}")
    return "\n".join(lines)


# --- conversion ---------------------------------------------------------------------------------


def convert(source: Path, out: Path) -> Path:
    """Write ``source`` in the format that ``out`` ends on, atomically.

    .ply is written here, other formats by an installed ``splat-transform``. Raises InputError for
    an unknown ending, MissingError without that program, StageError when it fails.
    """
    ending = next((e for e in FORMATS if out.name.lower().endswith(e)), None)
    if ending is None:
        raise InputError(f"{out.name} ends on no known format; known are {', '.join(FORMATS)}.")
    if out.is_dir():
        raise InputError(f"{out} is a folder; name the file to write with --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    if ending == ".ply" and source.suffix.lower() == ".ply":
        write_splats(out, read_splats(source))
        return out
    if not source.is_file():
        raise InputError(f"{source} does not exist.")
    tool = splat_transform()
    scratch = out.with_name(f".gsd-tmp-{os.getpid()}-{out.name}")
    try:
        done = subprocess.run(
            [*tool, "-q", "-w", str(source), str(scratch)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8",
            errors="replace", check=False, timeout=CONVERT_SECONDS,
        )  # fmt: skip
        if done.returncode or not scratch.is_file():
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise StageError(f"splat-transform failed: {' '.join(lines[-2:]) or 'no message'}.")
        replace_file(scratch, out)
    except subprocess.TimeoutExpired:
        raise StageError(
            f"splat-transform was not done with {source.name} after {CONVERT_SECONDS / 60:.0f} "
            f"minutes and was ended; try it by hand, or with fewer splats (gsd splat prune)."
        ) from None
    finally:
        scratch.unlink(missing_ok=True)
    return out


def splat_transform() -> list[str]:
    """The command of ``splat-transform``: GSD_SPLAT_TRANSFORM, the PATH, the checkout's own;
    raises MissingError.
    """
    named = os.environ.get("GSD_SPLAT_TRANSFORM", "")
    local = PACKAGE.parent / ".cache" / "node" / "node_modules" / ".bin" / "splat-transform"
    found = shutil.which(named or "splat-transform") or shutil.which(str(local))
    if found is None:
        raise MissingError(
            "This format needs splat-transform, which is not installed; install it with "
            "'npm install -g @playcanvas/splat-transform'."
        )
    return [found]


# --- a running training -------------------------------------------------------------------------


def request(folder: Path, what: str) -> str:
    """Ask the training of ``folder`` to pause, go on, or write a preview; returns what to expect.

    Raises InputError when no training of the folder is under way.
    """
    places = [p for p in (folder / "checkpoints").glob("*") if p.is_dir()]
    if not places:
        raise InputError(f"No training is under way in {folder}: it has no checkpoints.")
    if not in_use(folder):
        raise InputError(
            f"No training is under way in {folder}: nothing works there. The command that began it "
            f"goes on with one that was stopped."
        )
    place = max(places, key=lambda p: (len(p.name), p.name))  # iter10 comes after iter9
    if what == "resume":
        (place / "pause").unlink(missing_ok=True)
        return "The training goes on."
    with atomic(place / what) as temporary:
        temporary.write_text("")
    if what == "pause":
        return "The training pauses at its next step; 'gsd splat resume' lets it go on."
    return f"The training writes {place / 'preview.ply'} at its next step."


def visible(splats: Splats, faintest: float) -> npt.NDArray[np.bool_]:
    """(N,) bool: splats with finite numbers and at least the opacity ``faintest``."""
    with np.errstate(over="ignore"):
        return splats.finite & (1 / (1 + np.exp(-splats.opacities)) >= faintest)


def points_in(file: Path) -> Points:
    """The points of a cloud, or the centers of a splat model in their constant color.

    Faint splats are haze, not surface, and are left out. Raises InputError.
    """
    if holds_splats(file):
        splats = read_splats(file)
        kept = splats.selected(visible(splats, _HAZE))
        colors = np.clip(0.5 + SH_C0 * kept.sh[:, 0].astype(np.float64), 0, 1)
        points = Points(
            kept.means, np.zeros_like(kept.means), (colors * 255 + 0.5).astype(np.uint8)
        )
    else:
        points = read_points(file)
    usable = np.isfinite(points.positions).all(1)
    if not usable.any():
        raise InputError(f"{file} holds no points that could be written.")
    return Points(points.positions[usable], points.normals[usable], points.colors[usable])
