"""What one training in a gaussian-splatting checkout works on, and where its files lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...core.events import Emit
from ...core.graphdeco import Checkout
from ...core.run import Run
from ...core.settings import Settings
from . import layouts


@dataclass(frozen=True)
class Job:
    """One training: whose, with which checkout, layout (transforms or colmap) and frames."""

    run: Run
    settings: Settings
    emit: Emit
    checkout: Checkout
    layout: str
    sets: layouts.Sets

    @property
    def model(self) -> Path:
        """Its model folder (``-m``)."""
        return self.run.model / "graphdeco"

    @property
    def data(self) -> Path:
        """Its data set (``-s``)."""
        return self.run.model / f"graphdeco_{self.layout}"

    @property
    def background(self) -> tuple[float, float, float]:
        """What its frames are composited on."""
        return (1.0,) * 3 if self.settings.graphdeco_background == "white" else (0.0,) * 3

    @property
    def result(self) -> Path:
        """The .ply it writes at the end."""
        name = f"iteration_{self.settings.train_steps}"
        return self.model / "point_cloud" / name / "point_cloud.ply"

    @property
    def finished(self) -> Path:
        """Written by us when it ended well: its own files are not written atomically."""
        return self.model / "finished.json"
