"""Propagator ``none``: every frame is a keyframe, so a frame is its key's picture with the render's
alpha.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.dataset import Frame
from ...core.events import Emit
from ...core.run import Run
from ...core.settings import Settings
from . import Painted, Painter, Target, read_key


def prepare(run: Run, settings: Settings, frames: Sequence[Frame], emit: Emit) -> Painter:
    """A painter that hands on run.key(k), trusted inside the model's silhouette only."""

    def paint(target: Target) -> Painted:
        return Painted(read_key(run, target.frame).astype(np.float32) / 255, target.view.mask)

    return paint
