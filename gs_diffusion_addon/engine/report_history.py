"""The report's curves over the iterations, out of metrics-history.json's rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .report_curves import Curve
from .report_numbers import LAGS

Row = Mapping[str, Any]
Number = float | None


def history_curves(rows: Sequence[Row]) -> list[Curve]:
    """Lines over the iterations, from the second one on; what was never measured has none."""
    if len(rows) < 2:
        return []

    def line(value: Callable[[Row], Number], scale: float = 1.0) -> list[Number]:
        found = [value(row) for row in rows]
        return [None if v is None else scale * v for v in found]

    def part(name: str, key: str) -> Callable[[Row], Number]:
        return lambda row: (row.get(name) or {}).get(key)

    def both(title: str, name: str, most: Number = None) -> Curve:
        lines = [(n, line(part(name, n))) for n in ("propagated", "splat")]
        return Curve(title, lines, most=most)

    def single(title: str, name: str, scale: float = 1.0, most: Number = None) -> Curve:
        return Curve(title, [("splat", line(lambda row: row.get(name), scale))], most=most)

    def cosine(title: str, key: str) -> Curve:
        return Curve(title, [("splat", line(part("clip", key)))], least=-1.0, most=1.0)

    warp = [
        Curve(
            f"Warp error, {words}, × 10⁴",
            [
                ("before splatting", line(part("warp_before", lag), 1e4)),
                ("after", line(part("warp_after", lag), 1e4)),
            ],
        )
        for lag, words in LAGS.items()
    ]
    made = [
        *warp,
        single("PSNR of held-out views inside the silhouette, dB", "psnr_test_object"),
        single("SSIM of held-out views", "ssim_test", most=1.0),
        both("Sharpness", "sharpness"),
        both("Likeness to the keys' style", "style_likeness", most=1.0),
        single("Change from the last iteration, % of full range", "change", 100, 100.0),
        single("Silhouette overlap with the model", "silhouette_iou", most=1.0),
        single("Pixels where the splat left the model, %", "drift", 100, 100.0),
        cosine("Prompt similarity (CLIP)", "prompt"),
        cosine("Directional similarity (CLIP)", "direction"),
        Curve("Seconds an iteration", [("all stages", line(_seconds))]),
    ]
    return [c for c in made if any(v is not None for _, values in c.lines for v in values)]


def _seconds(row: Row) -> Number:
    spent = {n: s for n, s in (row.get("seconds") or {}).items() if n != "turntable"}
    return sum(spent.values()) if spent else None
