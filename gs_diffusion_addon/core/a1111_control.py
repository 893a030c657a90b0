"""ControlNet units: what the user asks for, the server's model for it, and the request's part.

A server answers a unit that it cannot use (unknown model, another family's model, too many units)
with status 200 and an uncontrolled picture. So models are looked up in its own list, and each
unit's detected map must come back (:func:`a1111_wire.read_answer`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import InputError


@dataclass(frozen=True)
class Kind:
    """What a kind of control is called on servers.

    ``words``: parts of the names of models made for it, the best first; ``union``: its name inside
    models that can do all kinds; ``label``: its name in the server's own table of types.
    """

    words: tuple[str, ...]
    union: str
    label: str


KINDS: Mapping[str, Kind] = {
    "depth": Kind(("depth",), "Depth", "Depth"),
    "normal": Kind(("normalbae", "normal"), "Normal Map", "NormalMap"),
    "canny": Kind(("canny",), "Hard Edge", "Canny"),
    "lines": Kind(("lineart", "canny"), "Hard Edge", "Lineart"),
    "tile": Kind(("tile",), "Tile", "Tile"),
    "seg": Kind(("seg",), "Segmentation", "Segmentation"),
    "materials": Kind(("seg",), "Segmentation", "Segmentation"),
    "reference": Kind((), "", "Reference"),
}

MODES = {
    "balanced": "Balanced",
    "prompt": "My prompt is more important",
    "control": "ControlNet is more important",
}

UNION = ("union", "promax")
REFERENCE_MODULE = "reference_only"
STYLE_FIDELITY = 0.5  # reference_only's threshold_a
DEFAULT_UNITS = 3  # of servers that do not say how many they take


@dataclass(frozen=True)
class Unit:
    """One unit as asked for; ``model`` is a name or part of one, empty for the server's own."""

    kind: str
    model: str = ""
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: str = "balanced"


def parse_control(text: str) -> tuple[Unit, ...]:
    """``"depth:0.8,canny@xinsir:1:0-0.8:control"`` -> units, "none" -> (); raises InputError."""
    if text.strip() == "none":
        return ()
    return tuple(_parse_unit(part.strip()) for part in text.split(",") if part.strip())


def _parse_unit(text: str) -> Unit:
    name, *more = text.split(":")
    kind, _, model = name.partition("@")
    if kind not in KINDS:
        raise InputError(f"--control knows {', '.join(KINDS)}, not {kind!r}.")
    try:
        weight = float(more[0]) if more else 1.0
        first, dash, last = (more[1] if len(more) > 1 else "0-1").partition("-")
        start, end = float(first), float(last) if dash else float("nan")
    except ValueError:
        weight = start = end = float("nan")
    mode = more[2] if len(more) > 2 else "balanced"
    if not (0 <= weight <= 2 and 0 <= start < end <= 1) or mode not in MODES or len(more) > 3:
        raise InputError(
            "--control wants KIND[@MODEL][:WEIGHT[:START-END[:MODE]]] with a weight of 0 to 2, "
            f"0 <= START < END <= 1 and a mode of {', '.join(MODES)}; {text!r} is not."
        )
    return Unit(kind, model, weight, start, end, mode)


FLAT = frozenset({"tile", "canny", "reference"})
"""Kinds of control that look at the picture alone."""


def needs_geometry(text: str) -> bool:
    """Whether one of these units (as --control names them) is made of the geometry passes."""
    return any(unit.kind not in FLAT for unit in parse_control(text))


def stem(listed: str) -> str:
    """``"control_v11p_sd15_canny [0ef00dd9]"`` -> the name without hash, folded."""
    return re.sub(r"\s*\[[0-9a-fA-F]+\]$", "", listed).strip().casefold()


def is_xl(name: str) -> bool:
    """Whether a model's name says that it belongs to SDXL."""
    return "xl" in stem(name)


def resolve_model(
    unit: Unit, models: Sequence[str], checkpoint: str, defaults: Mapping[str, str]
) -> str:
    """The server's listed name of the model for ``unit``; "None" where none is needed.

    ``models``: the server's list; ``checkpoint``: the diffusion model, whose family must fit;
    ``defaults``: label of a kind -> what the server itself would take. Raises InputError.
    """
    kind = KINDS[unit.kind]
    if not kind.words:
        return "None"
    models = [m for m in models if m != "None"]
    if unit.model:
        return _named(unit, models)
    family = [m for m in models if is_xl(m) == is_xl(checkpoint)]
    for word in (*kind.words, *UNION):
        found = [m for m in family if word in stem(m)]
        if found:
            default = defaults.get(kind.label, "")
            return default if default in found else found[0]
    size = "SDXL" if is_xl(checkpoint) else "SD 1.5 or 2"
    raise InputError(
        f"The server has no ControlNet model for {unit.kind} that fits {checkpoint!r} (by its "
        f"name, {size}); install one, or name one with --control {unit.kind}@MODEL: "
        f"{', '.join(map(stem, models)) or 'its list is empty'}."
    )


def _named(unit: Unit, models: Sequence[str]) -> str:
    wanted = stem(unit.model)
    exact = [m for m in models if stem(m) == wanted]
    found = exact or [m for m in models if wanted in stem(m)]
    if len(found) == 1:
        return found[0]
    choice = ", ".join(map(stem, found or models)) or "nothing, its list is empty"
    many = "several ControlNet models" if found else "no ControlNet model"
    raise InputError(f"The server has {many} called {unit.model!r}: {choice}.")


def union_type(model: str, kind: str) -> str | None:
    """What to call ``kind`` in a model that does all of them; None for other models."""
    return KINDS[kind].union if any(word in stem(model) for word in UNION) else None


def unit_body(unit: Unit, model: str, png: bytes, capital_none: bool) -> dict[str, Any]:
    """The request's entry for one unit.

    ``png``: the control image, already encoded as this kind wants it and as large as the output,
    so the server's own preprocessor stays off. ``capital_none``: Forge writes its name "None".
    """
    reference = unit.kind == "reference"
    body: dict[str, Any] = {
        "enabled": True,  # off unless said since May 2024
        "module": REFERENCE_MODULE if reference else ("None" if capital_none else "none"),
        "model": model,
        "weight": unit.weight,
        "image": base64.b64encode(png).decode("ascii"),
        "resize_mode": "Just Resize",
        "low_vram": False,
        "processor_res": -1,
        "threshold_a": STYLE_FIDELITY if reference else -1,
        "threshold_b": -1,
        "guidance_start": unit.start,
        "guidance_end": unit.end,
        "pixel_perfect": True,
        "control_mode": MODES[unit.mode],
        "save_detected_map": True,
    }
    union = union_type(model, unit.kind)
    return {**body, "union_control_type": union} if union else body
