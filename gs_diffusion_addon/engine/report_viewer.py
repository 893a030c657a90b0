"""The report's interactive 3-D view: each iteration's splat inside the page, and what shows it.

The models stand in the page as base64 of .spz files; gsplat.js (vendor/gsplat.min.js) draws them.
Nothing is loaded from anywhere.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..core.dataset import Frame
from ..core.ply import Splats, read_splats
from ..core.run import Run
from ..core.spz import spz_bytes
from .report_html import Child, Html, h
from .report_pictures import Picture

MOST_SPLATS = 300_000  # shown of one model; a browser still turns that many smoothly
MOST_IN_ALL = 1_000_000  # shown of all models: about 22 MB of page
FAINTEST = -4.6  # logit: below 1 % opacity a splat is not seen in the view
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Model:
    """An iteration's splat for the page: base64 of an .spz file, how many of ``count`` it shows,
    and the degree of its view-dependent color.
    """

    iteration: int
    count: int
    shown: int
    degree: int
    data: str


@dataclass(frozen=True)
class Viewer:
    """What the 3-D view shows: models, latest first, the ball they fill (Y up) and the first view.

    ``turn`` and ``lift`` are the camera's angles in radians; ``poster`` stands in on paper.
    """

    models: Sequence[Model]
    center: Sequence[float]
    size: float
    turn: float
    lift: float
    poster: Picture | None

    @property
    def shown(self) -> int:
        """Splats in all models together."""
        return sum(m.shown for m in self.models)


def viewer(
    run: Run, iterations: Sequence[int], frames: Sequence[Frame], poster: Picture | None
) -> Viewer | None:
    """The view of those of the ``iterations`` that have a splat; None without one."""
    found = [k for k in iterations if run.at(k).splat.is_file()]
    most = min(MOST_SPLATS, MOST_IN_ALL // max(len(found), 1))
    made = [(k, read_splats(run.at(k).splat)) for k in found]
    usable = [(k, visible(s, most), s.count) for k, s in made]
    models = [
        Model(k, count, s.count, s.degree, base64.b64encode(spz_bytes(s)).decode("ascii"))
        for k, s, count in usable
        if s.count
    ]
    if not models:
        return None
    center, size = ball(next(s for _, s, _ in usable if s.count))
    turn, lift = first_view(frames)
    return Viewer(models, center, size, turn, lift, poster)


def visible(splats: Splats, most: int = MOST_SPLATS) -> Splats:
    """The splats that the view needs: no faint ones, of too many the biggest and most opaque."""
    keep = np.flatnonzero(splats.finite & (splats.opacities > FAINTEST))
    if len(keep) > most:
        opacity = 1 / (1 + np.exp(-np.clip(splats.opacities[keep], -40, 40)))
        area = np.sort(splats.scales[keep], 1)[:, 1:].sum(1)
        weight = np.log(opacity) + area
        keep = np.sort(keep[np.argpartition(-weight, most)[:most]])
    return dataclasses.replace(
        splats, **{f.name: getattr(splats, f.name)[keep] for f in dataclasses.fields(splats)}
    )


def ball(splats: Splats) -> tuple[list[float], float]:
    """Center (Y up) and radius of a ball with nearly all splats in it; stray ones do not count."""
    low, high = np.percentile(splats.means, (1, 99), axis=0)
    middle = (low + high) / 2
    distance = np.linalg.norm(splats.means - middle, axis=1)
    radius = float(np.percentile(distance, 98)) or 1.0
    x, y, z = (float(v) for v in middle)
    return [x, z, -y], radius


def first_view(frames: Sequence[Frame]) -> tuple[float, float]:
    """The first camera's angles around the model: turn (0 looks along +Y) and lift, radians."""
    if not frames:
        return 0.0, 0.0
    backward: npt.NDArray[np.float64] = frames[0].camera.matrix[:3, 2]
    turn = math.atan2(float(backward[0]), float(-backward[1]))
    return turn, math.asin(max(-1.0, min(1.0, float(backward[2]))))


def viewer_scripts(view: Viewer | None) -> list[Child]:
    """The models and the scripts; they stand at the end of the page."""
    if view is None:
        return []
    models = [
        h("script", Html(m.data), type="application/spz+base64", id=f"splat{m.iteration}")
        for m in view.models
    ]
    library = (HERE / "vendor" / "gsplat.min.js").read_text(encoding="utf-8")
    own = (HERE / "report_viewer.js").read_text(encoding="utf-8")
    return [*models, h("script", Html(library)), h("script", Html(own))]


def viewer_figure(view: Viewer | None) -> list[Child]:
    """The section with the canvas, a button for each iteration, and a picture for paper."""
    if view is None:
        return []
    buttons = [
        h(
            "button",
            f"Iteration {m.iteration}",
            type="button",
            data_model=f"splat{m.iteration}",
            data_says=_says(m),
            aria_pressed="false",
        )
        for m in view.models
    ]
    canvas = h(
        "canvas",
        tabindex=0,
        data_turn=f"{view.turn:.5f}",
        data_lift=f"{view.lift:.5f}",
        role="img",
        aria_label="The splat in 3-D",
    )
    poster = None
    if view.poster:
        p = view.poster
        poster = h("img", src=p.uri, width=p.width, height=p.height, alt="Render of the splat")
    bar = h(
        "div", buttons, h("button", "Reset the view", type="button", class_="reset"), class_="bar"
    )
    say = "The 3-D view starts when a script may run."
    return [
        h("h2", "The splat in 3-D", id="splat"),
        h(
            "figure",
            bar,
            h("div", poster, canvas, class_="sight"),
            h("figcaption", h("span", say, class_="said"), " ", _HINT),
            class_="viewer",
            data_center=" ".join(f"{v:.6g}" for v in view.center),
            data_size=f"{view.size:.6g}",
        ),
    ]


_HINT = (
    "Drag to turn, drag with the right button to move, click and use the wheel to come closer; "
    "arrow keys turn it, too."
)


def _says(model: Model) -> str:
    shown = f"{model.count:,} splats"
    if model.shown < model.count:
        shown = f"the {model.shown:,} of {model.count:,} splats that show most"
    color = ", whose color changes with the side they are seen from" if model.degree else ""
    return f"Iteration {model.iteration}: {shown}{color}."
