"""Training state on disk: one .npz, written under another name and renamed, so it is always
whole.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.run import atomic
from .model import Model, arrays_of, model_of_arrays

FILE = "training.npz"
_FORMAT = 1


@dataclass(eq=False)
class State:
    """Everything the next step depends on.

    ``rng`` draws views and backgrounds; ``queue`` holds the views still to come in this round;
    ``pull_sum`` and ``pull_count`` (N,) are the screen gradients since the last refinement;
    ``exposure`` (views, 3) are the views' gains, if they have any.
    """

    step: int
    model: Model
    rng: np.random.Generator
    queue: list[int]
    pull_sum: npt.NDArray[np.float64]
    pull_count: npt.NDArray[np.float64]
    exposure: npt.NDArray[np.float64] | None = None


def save(path: Path, state: State, fingerprint: str) -> None:
    """Write the state atomically; ``fingerprint`` names the data and settings it belongs to."""
    meta = {
        "format": _FORMAT,
        "fingerprint": fingerprint,
        "step": state.step,
        "rng": state.rng.bit_generator.state,
        "queue": state.queue,
    }
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            meta=np.array(json.dumps(meta)),
            pull_sum=state.pull_sum,
            pull_count=state.pull_count,
            **({} if state.exposure is None else {"exposure": state.exposure}),
            **arrays_of(state.model),
        )


def _read(path: Path) -> dict[str, Any]:
    """The arrays of a file by name; raises what :func:`load` takes for damage."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except RuntimeError as error:  # zipfile's word for methods it lacks and for passwords
        raise ValueError(str(error)) from None


def load(path: Path, fingerprint: str, device: str, multiplier: float) -> State | str | None:
    """The saved state; None if there is none; a sentence if it cannot be used."""
    if not path.is_file():
        return None
    try:
        arrays = _read(path)
        meta = json.loads(str(arrays["meta"]))
        if meta["format"] != _FORMAT or meta["fingerprint"] != fingerprint:
            return (
                "The training checkpoint belongs to other frames or settings; training starts anew."
            )
        rng = np.random.Generator(np.random.PCG64())
        rng.bit_generator.state = meta["rng"]
        model = model_of_arrays(arrays, device, multiplier)
        return State(
            int(meta["step"]), model, rng, list(meta["queue"]),
            arrays["pull_sum"], arrays["pull_count"], arrays.get("exposure"),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        return f"The training checkpoint cannot be read ({error}); training starts anew."
