"""The test server's ControlNet: as sd-webui-controlnet 1.1.455 behaves, its silences included."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.servers.a1111_data import server_exception
from tests.servers.pictures import decode, fit

MODELS = [
    "control_v11f1e_sd15_tile [a371b31b]",
    "control_v11f1p_sd15_depth [cfd03158]",
    "control_v11p_sd15_canny [d14c016b]",
    "control_v11p_sd15_lineart [43d4be0d]",
    "control_v11p_sd15_normalbae [316696f1]",
    "control_v11p_sd15_seg [e1f51eb9]",
    "diffusers_xl_depth_full [2f51180b]",
    "controlnet-union-sdxl-promax [9b7c1f2a]",
]
MODULES = ["none", "canny", "depth_midas", "normal_bae", "tile_resample", "reference_only"]
RESIZE = ["Just Resize", "Crop and Resize", "Resize and Fill"]
MODES = ["Balanced", "My prompt is more important", "ControlNet is more important"]
STRENGTH = 0.3  # how much a unit of weight 1 shows in the test pictures


def types(models: list[str]) -> dict[str, Any]:
    """The answer of GET control_types, as far as anyone reads it."""
    return {
        "control_types": {
            label: {
                "module_list": MODULES,
                "model_list": ["None", *models],
                "default_option": "none",
                "default_model": next((m for m in models if label.lower() in m), "None"),
            }
            for label in ("Depth", "Canny", "Tile")
        }
    }


def check_units(units: list[dict[str, Any]], forge: bool) -> None:
    """500 ValidationError where pydantic refuses; Forge does not know "none" in small letters."""
    for unit in units:
        module = unit.get("module", "None" if forge else "none")
        known = {("None" if forge and m == "none" else m) for m in MODULES}
        if module not in known:
            raise server_exception(
                "ValidationError", f"module({module}) not found in supported modules."
            )
        for field, choices in (("resize_mode", RESIZE), ("control_mode", MODES)):
            value = unit.get(field, choices[0])
            if value not in choices and not (forge and isinstance(value, int)):
                raise server_exception("ValidationError", f"1 validation error\n{field}")
        if unit.get("guidance_start", 0) > unit.get("guidance_end", 1):
            raise server_exception("ValidationError", "guidance_start > guidance_end")


def acting(
    units: list[dict[str, Any]], models: list[str], most: int, checkpoint: str, forge: bool
) -> list[tuple[dict[str, Any], np.ndarray]]:
    """The units that act, with their pictures: all others are skipped without a word."""
    found = []
    for unit in units[:most]:
        model = unit.get("model", "None")
        if not unit.get("enabled", forge) or "image" not in unit:
            continue
        fits = model in models and ("xl" in model) == ("xl" in checkpoint)
        if unit.get("module") != "reference_only" and not fits:
            continue
        found.append((unit, decode(unit["image"])))
    return found


def apply(out: np.ndarray, units: list[tuple[dict[str, Any], np.ndarray]]) -> np.ndarray:
    """The picture (H, W, 3) uint8 with each unit's picture showing through."""
    shown = out.astype(np.float32)
    for unit, picture in units:
        share = min(1.0, STRENGTH * float(unit.get("weight", 1.0)))
        shown = shown * (1 - share) + fit(picture, out.shape[1], out.shape[0]) * share
    return (shown + 0.5).astype(np.uint8)


def infotext(units: list[dict[str, Any]]) -> str:
    """What the extension writes of every enabled unit, those that did not act included."""
    return "".join(
        f'ControlNet {k}: "Module: {u.get("module")}, Model: {u.get("model")}, '
        f'Weight: {u.get("weight", 1.0)}", '
        for k, u in enumerate(units)
        if u.get("enabled")
    )
