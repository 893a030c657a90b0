"""Small turntables for the stylizer's tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gs_diffusion_addon.core.orbit import plan_keys
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Settings, all_rings
from gs_diffusion_addon.engine.images import write_png

SMALL: dict[str, Any] = {
    "views": 8, "rings": "30:3", "size": "48x40", "keys": 5, "ring_keys": 1, "sides": 2,
    "page_size": 128, "propagator": "reproject", "style": "5", "prompt": "a head", "seed": 3,
    "compare_independent": "no", "stylizer": "preview", "diffusion_steps": 6,
}  # fmt: skip


def small(**changes: Any) -> Settings:
    return Settings(**{**SMALL, **changes})


def model_view(k: int, width: int, height: int) -> np.ndarray:
    """A shaded disc that differs from frame to frame, transparent around, (H, W, 4) uint8."""
    y, x = np.mgrid[0:height, 0:width]
    u, v = (x - width / 2) / (height * 0.4), (y - height / 2) / (height * 0.4)
    light = np.clip(0.75 + 0.25 * np.sin(3 * u + k) * np.cos(3 * v), 0, 1)
    color = np.stack([230 * light, 150 * light, (90 + 10 * k) * light], -1)
    alpha = np.clip((1 - np.hypot(u, v)) * height * 0.4 + 0.5, 0, 1) * 255
    return np.concatenate([color, alpha[..., None]], -1).astype(np.uint8)


def make_turntable(root: Path, settings: Settings, width: int = 48, height: int = 40) -> Run:
    run = Run(root)
    for k in range(sum(ring.count for ring in all_rings(settings))):
        write_png(run.frame(k), model_view(k, width, height))
    return run


class Recorder:
    """An emitter that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.events if event == kind]

    def paths(self) -> list[str]:
        return [fields["path"] for fields in self.of("frame_done")]


def key_paths(run: Run, settings: Settings) -> list[str]:
    return [run.key(k).relative_to(run.root).as_posix() for k in plan_keys(settings)]
