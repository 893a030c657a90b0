"""What the turntable knows of a frame besides its picture: geometry, and where the camera stood."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from ...core.a1111_control import Unit
from ...core.dataset import Frame
from ...core.errors import InputError
from ...core.exr import read_guide
from ...core.run import Run, read_json, write_json
from ...core.settings import Settings, all_rings
from ..guides import cameras, read_view
from ..images import Bytes
from .collage import Layout, Page
from .control import Passes, control_page, depth_range

KEPT = 32  # frames whose passes stay in memory


class Geometry:
    """The passes of a run's frames, read when they are needed."""

    def __init__(self, run: Run, keys: Sequence[int]) -> None:
        self.run, self.keys = run, keys
        self._frames: dict[int, Frame] | None = None
        self._passes: OrderedDict[int, Passes] = OrderedDict()
        self._near_far: tuple[float, float] | None = None
        self._lock = threading.RLock()

    def frame(self, number: int) -> Frame:
        """A frame's camera; raises InputError."""
        if self._frames is None:
            self._frames = {f.frame: f for f in cameras(self.run)}
        if number not in self._frames:
            raise InputError(
                f"{self.run.transforms_main} does not list frame {number}; run the turntable "
                "stage again."
            )
        return self._frames[number]

    def passes(self, number: int) -> Passes:
        """A frame's geometry; raises InputError."""
        with self._lock:
            if number not in self._passes:
                view = read_view(self.run, self.frame(number))
                guide = read_guide(self.run.geometry(number))
                self._passes[number] = Passes(view, guide.index, guide.material)
                while len(self._passes) > KEPT:
                    self._passes.popitem(last=False)
            return self._passes[number]

    @property
    def near_far(self) -> tuple[float, float]:
        """Nearest and farthest depth over all keyframes; written down, since resuming must find
        the same.
        """
        path = self.run.input / "depth_range.json"
        with self._lock:
            if self._near_far is None and not path.exists():
                near, far = depth_range(self.passes(k).view for k in self.keys)
                write_json(path, {"near": near, "far": far, "unit": "m"})
            if self._near_far is None:
                found = read_json(path)
                self._near_far = float(found["near"]), float(found["far"])
            return self._near_far

    def controls(
        self, units: Sequence[Unit], page: Page, layout: Layout, sheet: Bytes, settings: Settings
    ) -> tuple[tuple[Unit, Bytes], ...]:
        """Each unit's control image of ``page``; those of reference units are not among them."""
        found = []
        for unit in units:
            if unit.kind == "reference":
                continue
            near_far = (0.0, 0.0) if unit.kind != "depth" else self.near_far
            thresholds = settings.canny_low, settings.canny_high
            picture = control_page(unit, page, layout, sheet, self.passes, near_far, thresholds)
            found.append((unit, picture))
        return tuple(found)


def view_words(settings: Settings, number: int) -> str:
    """Where frame ``number``'s camera stands, in words that diffusion models know.

    Angles count from the turntable's first view, which looks at the model's front.
    """
    first = 0
    for place, ring in enumerate(all_rings(settings)):
        if number < first + ring.count:
            turned = (number - first + 0.5 * (place % 2)) * 360 / ring.count % 360
            side = "side view" if turned > 45 else "front view"
            side = "back view" if 135 < turned < 225 else side
            side = "front view" if turned >= 315 else side
            if ring.elevation > 45:
                return f"{side} from above"
            return f"{side} from below" if ring.elevation < -20 else side
        first += ring.count
    return ""
