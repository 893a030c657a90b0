"""Tables and plot of ``hypothesis.py``, out of the records it keeps; no plotting library.

Only runs that have all their iterations count, so that every figure is over the same runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Record = dict[str, Any]

LABELS = {
    "none": "every frame by itself",
    "crossfade": "cross-faded patches",
    "reproject": "reprojected keys",
}
COLORS = {"none": "#c1344c", "crossfade": "#b87a00", "reproject": "#00707f"}
LAG = "60deg"


def show(out: Path, cases: Sequence[tuple[str, str]], iterations: int, arms: list[str]) -> None:
    """Print the tables, write ``hypothesis.svg`` into ``out``, print one JSON object last."""
    runs = load(out, cases, iterations)
    found = {arm: series(runs[arm]) for arm in arms if runs.get(arm)}
    for text in (consistency_table(found, iterations), quality_table(found, iterations)):
        print(text, end="\n\n")
    print("\n".join(sentences(found)), end="\n\n")
    (out / "hypothesis.svg").write_text(plot(found, iterations), encoding="utf-8")
    print(json.dumps(summary(found)))


def load(out: Path, cases: Sequence[tuple[str, str]], iterations: int) -> dict[str, list[Any]]:
    """Arm -> complete runs, each a list of records by iteration."""
    runs: dict[str, list[list[Record]]] = {}
    for name, arm in cases:
        paths = [out / "runs" / name / f"iter{k}" / "study.json" for k in range(1, iterations + 1)]
        if all(p.is_file() for p in paths):
            runs.setdefault(arm, []).append([json.loads(p.read_text()) for p in paths])
    return runs


def series(runs: Sequence[Sequence[Record]]) -> dict[str, Floats]:
    """Figure -> (runs, iterations) values; ``x before``: restyled frames, ``x after``: the splat's
    renders.
    """

    def table(value: Callable[[Record], float]) -> Floats:
        return np.array([[value(record) for record in run] for run in runs])

    out = {"psnr": table(lambda r: r["psnr_object"])}
    for kind in ("before", "after"):
        out[f"warp {kind}"] = table(lambda r, k=kind: 1e4 * r[k]["warp"][LAG])
        out[f"next {kind}"] = table(lambda r, k=kind: 1e4 * r[k]["warp"]["1"])
        out[f"relative {kind}"] = table(lambda r, k=kind: r[k]["relative_warp"][LAG])
        out[f"sharpness {kind}"] = table(
            lambda r, k=kind: r[k]["sharpness"] / r["turntable"]["sharpness"]
        )
        out[f"likeness {kind}"] = table(lambda r, k=kind: r[k]["likeness"])
    return out


def spread(values: Floats, digits: int) -> str:
    """Mean ± standard deviation over the runs."""
    deviation = values.std(ddof=1) if len(values) > 1 else 0.0
    return f"{values.mean():.{digits}f} ± {deviation:.{digits}f}"


def _told(iterations: int) -> list[int]:
    return sorted({1, 2, max(1, iterations // 2), iterations})


def consistency_table(found: dict[str, dict[str, Floats]], iterations: int) -> str:
    """Markdown: warp errors before and after splatting."""
    rows = [
        "| keyframes to frames | iteration | E_warp 60° before, ×10⁴ | after | over variance, "
        "before | after |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for arm, s in found.items():
        for k in _told(iterations):
            cells = [spread(s[f"warp {kind}"][:, k - 1], 1) for kind in ("before", "after")]
            cells += [spread(s[f"relative {kind}"][:, k - 1], 3) for kind in ("before", "after")]
            rows.append(f"| {LABELS[arm]} | {k} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def quality_table(found: dict[str, dict[str, Floats]], iterations: int) -> str:
    """Markdown: style likeness and sharpness before and after splatting, PSNR of held-out views."""
    rows = [
        "| keyframes to frames | iteration | style likeness before | after | sharpness before | "
        "after | PSNR, dB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for arm, s in found.items():
        for k in _told(iterations):
            cells = [spread(s[f"likeness {kind}"][:, k - 1], 3) for kind in ("before", "after")]
            cells += [spread(s[f"sharpness {kind}"][:, k - 1], 2) for kind in ("before", "after")]
            cells.append(spread(s["psnr"][:, k - 1], 1))
            rows.append(f"| {LABELS[arm]} | {k} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def summary(found: dict[str, dict[str, Floats]]) -> dict[str, Any]:
    """The figures that the sentences are made of, by arm."""
    out = {}
    for arm, s in found.items():
        fell = s["warp after"] < s["warp before"]
        factor = s["warp before"] / s["warp after"]
        # Restyling takes the last splat's pictures to the next frames.
        gain = s["likeness before"][:, 1:] - s["likeness after"][:, :-1]
        crisp = s["sharpness before"][:, 1:] - s["sharpness after"][:, :-1]
        lost = s["likeness after"] - s["likeness before"]
        last, first = s["warp after"][:, -1], s["warp after"][:, 0]
        out[arm] = {
            "runs": len(fell),
            "iterations": int(fell.size),
            "splatting_lowered_warp": int(fell.sum()),
            "factor_median": round(float(np.median(factor)), 2),
            "factor_quartiles": [round(float(v), 2) for v in np.percentile(factor, (25, 75))],
            "restyling_raised_likeness": [int((gain > 0).sum()), int(gain.size)],
            "restyling_raised_sharpness": [int((crisp > 0).sum()), int(crisp.size)],
            "splatting_lowered_likeness": [int((lost < 0).sum()), int(lost.size)],
            "warp_after_last_over_first": round(float(np.median(last / first)), 2),
            "runs_more_consistent_at_the_end": int((last < first).sum()),
            "relative_after_last_over_first": round(
                float(np.median(s["relative after"][:, -1] / s["relative after"][:, 0])), 2
            ),
            "runs_relatively_more_consistent_at_the_end": int(
                (s["relative after"][:, -1] < s["relative after"][:, 0]).sum()
            ),
            "likeness_after_last_minus_first": round(
                float((s["likeness after"][:, -1] - s["likeness after"][:, 0]).mean()), 4
            ),
        }
    return out


def sentences(found: dict[str, dict[str, Floats]]) -> list[str]:
    """What was found, in plain words with its figures."""
    out = []
    for arm, f in summary(found).items():
        low, high = f["factor_quartiles"]
        out.append(
            f"{LABELS[arm]} ({f['runs']} runs): splatting lowered E_warp in "
            f"{f['splatting_lowered_warp']} of {f['iterations']} iterations, by a factor of "
            f"{f['factor_median']} (quartiles {low} to {high}); restyling raised style likeness in "
            f"{f['restyling_raised_likeness'][0]} and sharpness in "
            f"{f['restyling_raised_sharpness'][0]} of {f['restyling_raised_likeness'][1]}; after "
            f"the last iteration the splat's E_warp is {f['warp_after_last_over_first']} times the "
            f"first one's (lower in {f['runs_more_consistent_at_the_end']} of {f['runs']} runs)."
        )
    return out


# --- the plot -------------------------------------------------------------------------------------

WIDTH, HEIGHT, LEFT, TOP = 380, 230, 52, 34
PANELS = (
    ("warp", "Warp error, views 60° apart, ×10⁴ (log)", True),
    ("relative", "The same over the colors' variance (log)", True),
    ("likeness", "Style likeness (quality), 1 is the style itself", False),
    ("sharpness", "Sharpness over the turntable's", False),
)


def plot(found: dict[str, dict[str, Floats]], iterations: int) -> str:
    """An SVG of four panels: dashed before splatting, solid after, bands of one deviation."""
    body = [_panel(found, iterations, *p, n) for n, p in enumerate(PANELS)]
    body.append(_legend(list(found)))
    total = (2 * WIDTH + 20, 2 * HEIGHT + 44)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total[0]} {total[1]}" '
        'font-family="sans-serif" font-size="11" fill="#333">\n'
        f'<rect width="{total[0]}" height="{total[1]}" fill="#fff"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _panel(
    found: dict[str, dict[str, Floats]], iterations: int, name: str, title: str, log: bool, n: int
) -> str:
    across, down = n % 2 * (WIDTH + 10), n // 2 * HEIGHT
    scale: Callable[[Any], Any] = np.log10 if log else np.asarray
    lines = {
        (arm, kind): scale(np.maximum(s[f"{name} {kind}"], 1e-9))
        for arm, s in found.items()
        for kind in ("before", "after")
    }
    every = np.concatenate([v.mean(0) for v in lines.values()])
    low, high = float(every.min()), float(every.max())
    pad = 0.12 * (high - low) or 0.1
    low, high = low - pad, high + pad
    inner = WIDTH - LEFT - 14, HEIGHT - TOP - 34

    def x(k: float) -> float:
        return across + LEFT + inner[0] * k / max(iterations - 1, 1)

    def y(value: float) -> float:
        return down + TOP + inner[1] * (1 - (min(max(value, low), high) - low) / (high - low))

    parts = [f'<text x="{across + LEFT}" y="{down + 22}" font-weight="bold">{escape(title)}</text>']
    for value in np.linspace(low, high, 4):
        text = f"{10**value:.3g}" if log else f"{value:.3g}"
        parts.append(
            f'<line x1="{x(0):.1f}" x2="{x(iterations - 1):.1f}" y1="{y(value):.1f}" '
            f'y2="{y(value):.1f}" stroke="#e4e4e4"/>'
            f'<text x="{across + LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{text}</text>'
        )
    bottom = down + HEIGHT - 18
    parts += [
        f'<text x="{x(k):.1f}" y="{bottom}" text-anchor="middle">{k + 1}</text>'
        for k in range(iterations)
    ]
    for (arm, kind), values in lines.items():
        mean, deviation = values.mean(0), values.std(0)
        if kind == "after":
            edge = [(k, m + d) for k, (m, d) in enumerate(zip(mean, deviation, strict=True))]
            edge += [(k, mean[k] - deviation[k]) for k in reversed(range(iterations))]
            points = " ".join(f"{x(k):.1f},{y(v):.1f}" for k, v in edge)
            parts.append(f'<polygon points="{points}" fill="{COLORS[arm]}" opacity="0.12"/>')
        points = " ".join(f"{x(k):.1f},{y(v):.1f}" for k, v in enumerate(mean))
        dash = ' stroke-dasharray="5 4"' if kind == "before" else ""
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{COLORS[arm]}" '
            f'stroke-width="2"{dash}/>'
        )
    return "\n".join(parts)


def _legend(arms: list[str]) -> str:
    y = 2 * HEIGHT + 24
    parts, x = [], LEFT
    for arm in arms:
        parts.append(
            f'<line x1="{x}" x2="{x + 26}" y1="{y - 4}" y2="{y - 4}" stroke="{COLORS[arm]}" '
            f'stroke-width="3"/><text x="{x + 32}" y="{y}">{escape(LABELS[arm])}</text>'
        )
        x += 146
    dash = 'stroke="#555" stroke-width="2"'
    parts.append(
        f'<line x1="{x}" x2="{x + 26}" y1="{y - 4}" y2="{y - 4}" {dash} stroke-dasharray="5 4"/>'
        f'<text x="{x + 32}" y="{y}">before splatting</text>'
        f'<line x1="{x + 116}" x2="{x + 142}" y1="{y - 4}" y2="{y - 4}" {dash}/>'
        f'<text x="{x + 148}" y="{y}">after (± one deviation)</text>'
    )
    return "".join(parts)
