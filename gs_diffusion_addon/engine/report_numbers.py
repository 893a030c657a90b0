"""The report's figures: metrics.json of the iterations as cards and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..core.stages import NAMES
from .report_page import Card, WarpRow, duration

LAGS = {
    "1": "next view",
    "key_gap": "one key apart",
    "60deg": "60° apart",
    "loop": "across the seam",
}
SEQUENCE_LABELS = {
    "source": "Unstyled render",
    "stylized_independent": "Every frame restyled on its own",
    "propagated": "Propagated from the keys",
    "splat": "Renders of the splat",
}

Metrics = Mapping[str, Any]


def cards(metrics: Metrics) -> list[Card]:
    def text(value: float | None, pattern: str) -> str:
        return "" if value is None else format(value, pattern)

    crisp = metrics.get("sharpness") or {}
    seconds = metrics.get("seconds") or {}
    count = metrics.get("splats")
    cover = metrics.get("coverage")
    gain = consistency_gain(metrics)
    cards = [
        Card(
            text(gain, ".0f"), "×", "more consistent", "than restyling every frame, views 60° apart"
        ),
        Card(
            text(metrics.get("psnr_test_object"), ".1f"),
            "dB",
            "PSNR, silhouette",
            "splat on held-out views, inside the model's outline",
        ),
        Card(
            text(metrics.get("psnr_test"), ".1f"),
            "dB",
            "PSNR, whole picture",
            "held-out views, on black",
        ),
        Card(text(metrics.get("ssim_test"), ".3f"), "", "SSIM", "held-out views; 1 is identical"),
        Card(
            text(None if cover is None else 100 * cover, ".1f"),
            "%",
            "coverage",
            "of the visible surface is seen by a key",
        ),
        Card(
            text(crisp.get("propagated_over_keys"), ".2f"),
            "",
            "sharpness, propagated",
            "over the keyframes' own",
        ),
        Card(
            text(crisp.get("splat_over_keys"), ".2f"),
            "",
            "sharpness, splat",
            "over the keyframes' own",
        ),
        Card(
            text(metrics.get("silhouette_iou"), ".3f"),
            "",
            "silhouette",
            "overlap of splat and model",
        ),
        Card(text(count, ","), "", "splats", "in the result"),
        Card(
            duration(sum(seconds.values())) if seconds else "",
            "",
            "time",
            "the turntable and the last iteration's stages",
        ),
    ]
    return [c for c in cards if c.value]


def consistency_gain(metrics: Metrics) -> float | None:
    """How many times smaller the warp error 60° apart is than of frames restyled singly."""
    table = metrics.get("warp_error") or {}
    alone, together = (
        ((table.get(name) or {}).get("60deg") or {}).get("raw")
        for name in ("stylized_independent", "propagated")
    )
    return alone / together if alone and together else None


def warp_rows(metrics: Metrics) -> list[WarpRow]:
    rows = []
    for name, label in SEQUENCE_LABELS.items():
        lags = (metrics.get("warp_error") or {}).get(name)
        if lags is None:
            continue
        cells = []
        for lag in LAGS:
            entry = lags.get(lag) or {}
            raw, ratio = entry.get("raw"), entry.get("over_source")
            cells.append(
                (
                    "–" if raw is None else significant(raw * 1e4),
                    "" if ratio is None else significant(ratio),
                )
            )
        rows.append(WarpRow(label, cells, best=name == "propagated"))
    return rows


def significant(value: float) -> str:
    """Two significant digits, without exponent: 0.034, 3.4, 34, 340."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.{max(0, 1 - math.floor(math.log10(abs(value))))}f}"


def warp_text(metrics: Metrics) -> str:
    gain = consistency_gain(metrics)
    if gain is None:
        return "How much the color of a surface point changes from view to view."
    return (
        "How much the color of a surface point changes from view to view. Seen 60° apart, the "
        f"propagated frames agree {significant(gain)} times better than frames restyled one by one."
    )


def quality(every: Mapping[int, Metrics]) -> list[list[str]]:
    labels = {"all": "all held-out views", "on_ring": "on ring 0", "off_ring": "off it"}
    rows = []
    for k, metrics in every.items():
        for name, label in labels.items():
            part = (metrics.get("test") or {}).get(name) or {}
            if part.get("psnr") is None:
                continue
            head = f"Iteration {k}, {label}" if len(every) > 1 else label[0].upper() + label[1:]
            rows.append(
                [
                    head,
                    str(part["frames"]),
                    f"{part['psnr']:.2f}",
                    f"{part['psnr_object']:.2f}",
                    f"{part['ssim']:.4f}",
                ]
            )
    return rows


def seconds(every: Mapping[int, Metrics]) -> list[tuple[str, float]]:
    """Label and seconds of each stage, in the order they ran."""
    out: dict[str, float] = {}
    for k, metrics in every.items():
        found = metrics.get("seconds") or {}
        for name in (n for n in NAMES if n in found and n not in ("report", "import")):
            value = found[name]
            label = f"{name}, iteration {k}" if len(every) > 1 and name != "turntable" else name
            out[label] = value
    return list(out.items())
