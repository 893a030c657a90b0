"""ST-LPIPS, a learned distance between pictures that forgives small shifts, where it is installed.

Ghildyal and Liu, "Shift-tolerant perceptual similarity metric", 2022. The package
``stlpips_pytorch`` brings its networks with it (so nothing is downloaded), but does not name all it
needs: torchvision, IPython and torchsummary.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .images import Bytes

Pair = tuple[Bytes, Bytes]


def installed() -> bool:
    """Whether the package is there, be it whole or not."""
    return importlib.util.find_spec("stlpips_pytorch") is not None


def st_lpips(pairs: Sequence[Pair]) -> dict[str, Any]:
    """``value``: mean distance of ``pairs`` of (h, w, 3) uint8 pictures, 0 for equal ones; None
    with a ``reason``, a sentence, where it cannot be measured.
    """
    value, reason = None, None
    if not installed():
        reason = "The package stlpips_pytorch is not installed."
    elif not pairs:
        reason = "There are no pictures to compare."
    else:
        try:
            value = _measured(pairs)
        except (ImportError, RuntimeError) as error:
            reason = f"The package stlpips_pytorch cannot be used: {error}."
    return {"value": value, "reason": reason}


def _measured(pairs: Sequence[Pair]) -> float:
    with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        module: Any = importlib.import_module("stlpips_pytorch.stlpips")
        metric = module.LPIPS(net="alex", variant="shift_tolerant")
        return float(np.mean([float(metric(_tensor(a), _tensor(b)).mean()) for a, b in pairs]))


def _tensor(picture: Bytes) -> torch.Tensor:
    """(1, 3, h, w) of -1..1."""
    scaled = picture.astype(np.float32) / 127.5 - 1
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)[None]))
