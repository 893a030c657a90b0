"""Figures about points of the surface: how much their color varies between views, drawn on the
model, and whether borders between keyframes show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.dataset import Frame
from ..core.run import Run
from ..core.settings import Settings
from .guides import View, interior
from .images import Bytes, read_on_black, write_png
from .measures import seam_contrast
from .parallel import in_order, thread_count
from .propagate import reproject, surface
from .propagate.weave import facing
from .report_pictures import FULL_DIFFERENCE, heat_colors

VIEWS = 18  # of ring 0, evenly spread, whose colors are compared
LEAST_VIEWS = 3  # that must show a point
SQUARE = 0.35  # cosine from which on a view's colors count
RIM = 3  # pixels along silhouettes that do not count
SEAM_FRAMES = 12  # of ring 0, on which borders are looked for
HEAT = {
    "propagated": "Disagreement_of_the_restyled_frames",
    "stylized_independent": "Disagreement_of_frames_restyled_one_by_one",
    "splat": "Disagreement_of_the_splat's_renders",
}
"""Sequences drawn as heat maps, and the pictures' names in iterK/heat."""

Floats = npt.NDArray[np.float32]
Number = float | None


def surface_figures(
    run: Run,
    settings: Settings,
    frames: Sequence[Frame],
    circle: tuple[Sequence[Frame], Sequence[View]],
    sequences: Mapping[str, Sequence[Path]],
) -> dict[str, Any]:
    """The part of metrics.json about surface points; draws the heat maps into iterK/heat.

    ``circle`` is ring 0; ``sequences`` are its pictures by name, left out where not complete.
    ``point_deviation``: by sequence, the standard deviation over views, 0..1, of the color of a
    patch of surface (about 2.5 pixels wide), the mean over all patches. ``seams``: mean step of
    the luma between neighboring pixels of two keyframes (``across``), of one beside such a border
    (``beside``), and their ``ratio``, about 1 where no border shows; None unless ``reproject`` made
    the frames.
    """
    threads = thread_count(settings)
    ring, views = circle
    step = max(1, len(views) // VIEWS)
    chosen = list(views[::step])
    names = [n for n, paths in sequences.items() if all(p.is_file() for p in paths[::step])]
    deviation: dict[str, Number] = dict.fromkeys(sequences)
    if names and any(v.mask.any() for v in chosen):
        nodes = surface.build(chosen)
        weights = [_weight(view) for view in chosen]
        for name in names:
            pictures = [p for _, p in in_order(read_on_black, sequences[name][::step], threads)]
            spread, seen = deviations(nodes, pictures, weights)
            deviation[name] = float(spread[seen].mean()) if seen.any() else None
            if name in HEAT:
                path = run.folder / "heat" / f"{HEAT[name]}.png"
                write_png(path, heat_map(nodes, spread, seen, chosen))
    return {"point_deviation": deviation, "seams": seams(run, settings, frames, ring, views)}


def _weight(view: View) -> Floats:
    return (interior(view, RIM) & (facing(view) > SQUARE)).astype(np.float32)


def deviations(
    nodes: surface.Surface, pictures: Sequence[Bytes], weights: Sequence[Floats]
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """(deviation (N,) of 0..1: root of the mean variance over views of a node's channels; seen
    (N,), by enough views).
    """
    total = np.zeros((nodes.count, 3))
    squares = np.zeros((nodes.count, 3))
    views = np.zeros(nodes.count)
    for k, (picture, weight) in enumerate(zip(pictures, weights, strict=True)):
        color, share = surface.gather(nodes, k, picture.astype(np.float32) / 255, weight)
        known = (share > 0)[:, None]
        total += color * known
        squares += color.astype(np.float64) ** 2 * known
        views += known[:, 0]
    count = np.maximum(views, 1)[:, None]
    variance = np.maximum(squares / count - (total / count) ** 2, 0)
    return np.sqrt(variance.mean(1)).astype(np.float32), views >= LEAST_VIEWS


def heat_map(
    nodes: surface.Surface,
    spread: Floats,
    seen: npt.NDArray[np.bool_],
    views: Sequence[View],
) -> Bytes:
    """The model from the front, the side and the back, (h, 3 w, 4) uint8: dark violet where all
    views agree, yellow from a deviation of a quarter of the scale on, gray where too few look.
    """
    values = np.stack([np.where(seen, spread, 0), seen.astype(np.float32)], -1)
    panels = []
    for k in (0, len(views) // 4, len(views) // 2):
        view = views[k]
        field = surface.spread(nodes, k, values, view.depth.shape)  # type: ignore[arg-type]
        known = field[..., 1] > 0.5
        level = field[..., 0] / np.maximum(field[..., 1], 1e-6)
        colors = heat_colors(np.clip(level / FULL_DIFFERENCE, 0, 1))
        colors[~known] = 128
        panels.append(np.dstack([colors, np.where(view.mask, 255, 0)]).astype(np.uint8))
    return np.concatenate(panels, 1)


def seams(
    run: Run,
    settings: Settings,
    frames: Sequence[Frame],
    ring: Sequence[Frame],
    views: Sequence[View],
) -> dict[str, Number] | None:
    """How borders between keyframes show in the restyled frames, see :func:`surface_figures`."""
    step = max(1, len(ring) // SEAM_FRAMES)
    paths = [run.stylized_frame(f.frame) for f in ring[::step]]
    if settings.propagator != "reproject" or not all(p.is_file() for p in paths):
        return None
    keys = reproject.load_keys(run, settings, frames, _quiet)

    def look(item: tuple[Path, View]) -> tuple[float, float]:
        path, view = item
        _, label = reproject.reproject(view, keys)
        return seam_contrast(read_on_black(path), label, interior(view, RIM))

    pairs = list(zip(paths, views[::step], strict=True))
    found = [steps for _, steps in in_order(look, pairs, thread_count(settings))]
    across, beside = (float(np.mean([f[i] for f in found])) for i in (0, 1))
    return {"across": across, "beside": beside, "ratio": across / beside if beside else None}


def _quiet(event: str, **fields: Any) -> None:
    """The keys are loaded once more; nobody needs to be told."""
