"""What a run will cost: seconds a stage and bytes on disk, before it starts.

Costs were measured on two processor cores; a finished run of the same machine corrects them, stage
by stage. An estimate, good to a factor of two or so, and shown as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import GsdError
from .orbit import plan_keys, split_pages
from .run import run_settings
from .settings import Settings, all_rings
from .values import parse_size

_PIXELS = 512 * 512  # all costs below are for a frame of this size

GUIDE_BYTES = 1_300_000
FRAME_BYTES = 70_000
LATER_FRAME_BYTES = 720_000
"""A frame's share of an iteration: restyled, in the data set, and rendered from the splat."""

SURFACE_BYTES, POINTS_BYTES = 5_400_000, 2_700_000
"""surface.ply of a turntable and points3d.ply of an iteration, whatever the frames."""


@dataclass(frozen=True)
class Estimate:
    """Seconds of a whole run and of each stage in it, and bytes of its folder."""

    seconds: float
    stages: Mapping[str, float]
    bytes: int


def estimate(settings: Settings, known: Mapping[str, float] | None = None) -> Estimate:
    """What a run with ``settings`` costs; ``known`` are factors a stage, from :func:`factors`.

    Raises InputError for settings that are none.
    """
    frames = sum(ring.count for ring in all_rings(settings))
    width, height = parse_size(settings.size)
    share = width * height / _PIXELS
    stages = _seconds(settings, frames, share)
    for name, factor in (known or {}).items():
        if name in stages:
            stages[name] *= factor
    looped = sum(s for name, s in stages.items() if name not in ("turntable", "import"))
    total = stages["turntable"] + settings.iterations * looped + stages["import"]
    return Estimate(total, stages, folder_bytes(settings, True, settings.iterations))


def folder_bytes(settings: Settings, turntable: bool, iterations: int) -> int:
    """What a ``turntable`` and so many ``iterations`` take on disk; raises InputError."""
    frames = sum(ring.count for ring in all_rings(settings))
    width, height = parse_size(settings.size)
    each = frames * width * height / _PIXELS
    size = each * ((GUIDE_BYTES + FRAME_BYTES) * turntable + iterations * LATER_FRAME_BYTES)
    size += SURFACE_BYTES * turntable + POINTS_BYTES * iterations
    size += iterations * settings.max_splats * 2 * 4 * (17 + 3 * _rest(settings))
    return int(size)


def _rest(settings: Settings) -> int:
    return (settings.sh_degree + 1) ** 2 - 1


def _seconds(settings: Settings, frames: int, share: float) -> dict[str, float]:
    engines = {"cycles": 0.3 + 0.18 * settings.samples, "eevee": 2.0, "workbench": 0.4}
    beauty = engines[settings.engine] + (2.0 if settings.denoise else 0.0)
    keys = plan_keys(settings)
    if settings.stylizer == "preview":
        compared = settings.views if settings.compare_independent != "no" else 0
        restyle = 0.5 * (len(keys) + compared) * max(share, 0.1)
    else:
        pages = len(split_pages(keys, settings.sides))
        restyle = 25.0 * pages * max((settings.page_size / 1536) ** 2, 0.1)
    return {
        "turntable": 6.0 + frames * share * (beauty + 0.5),
        "stylize": 4.0 + restyle,
        "propagate": 3.0 + frames * share * 0.12,
        "dataset": 1.5 + frames * share * 0.05,
        "train": 5.0 + settings.train_steps * 0.06 * (0.2 + 0.8 * share),
        "render": 2.0 + frames * share * 0.06,
        "report": 3.0 + frames * share * 0.2,
        "import": 2.0,
    }


def factors(manifest: Mapping[str, Any]) -> dict[str, float]:
    """How much slower or faster each finished stage of a run was than estimated; {} if unknown."""
    try:
        settings = run_settings(dict(manifest))
        expected = estimate(settings).stages
    except GsdError:
        return {}
    found: dict[str, float] = {}
    for name, record in manifest["stages"].items():
        stage = name.partition("/")[2]
        if stage in expected and record.get("state") == "done" and record.get("seconds"):
            found[stage] = record["seconds"] / expected[stage]
    return found


def sentence(found: Estimate) -> str:
    """``about 7 minutes, 140 MB``."""
    minutes = found.seconds / 60
    if minutes < 1:
        time = "less than a minute"
    elif minutes < 90:
        time = f"about {minutes:.0f} minute{'s' if minutes >= 1.5 else ''}"
    else:
        time = f"about {minutes / 60:.1f} hours"
    return f"{time}, {size_of(found.bytes)} on disk"


def size_of(count: float) -> str:
    """Bytes in words: ``140 MB``, ``1.2 GB``."""
    megabytes = count / 1e6
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{max(1, megabytes):.0f} MB"
