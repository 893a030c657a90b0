"""Which frames of a run are its keyframes.

Spread evenly they follow from the settings alone. Chosen by coverage they follow from the model's
geometry, too; the stylize stage then writes its choice down among the keyframes, and every later
stage, and a resumed run, reads it there.
"""

from __future__ import annotations

from pathlib import Path

from .errors import InputError
from .orbit import plan_keys, used_keys
from .run import Run, read_json, write_json
from .settings import Settings


def choice_file(run: Run) -> Path:
    """Where a choice by coverage is written: it goes where the keyframes go."""
    return run.keys / "chosen.json"


def by_coverage(settings: Settings) -> bool:
    """Whether the model's geometry decides; not if every frame is a keyframe anyway."""
    return settings.key_choice == "coverage" and settings.propagator != "none"


def keyframes(run: Run, settings: Settings) -> list[int]:
    """The run's keyframes, sorted; raises InputError if they are to be chosen and are not yet."""
    if not by_coverage(settings):
        return plan_keys(settings)
    path = choice_file(run)
    if not path.is_file():
        raise InputError(f"{path} is missing; run the stylize stage again.")
    data = read_json(path)
    keys = data.get("keys") if isinstance(data, dict) else None
    if not isinstance(keys, list) or not keys or not all(type(k) is int for k in keys):
        raise InputError(f"{path} is damaged; delete it and run the stylize stage again.")
    return sorted(keys)


def used(run: Run, settings: Settings) -> list[int]:
    """The run's keyframes less those that the user rejects; raises InputError."""
    return used_keys(settings, keyframes(run, settings))


def planned(run: Run | None, settings: Settings) -> list[int]:
    """The keyframes as far as they are known: the run's, or else the evenly spread ones."""
    if run is not None and by_coverage(settings) and choice_file(run).is_file():
        return keyframes(run, settings)
    return plan_keys(settings)


def write_choice(run: Run, keys: list[int], coverage: float) -> None:
    """Write the choice down; ``coverage`` of 0..1 is how well it shows the surface."""
    write_json(choice_file(run), {"keys": sorted(keys), "quality": round(coverage, 4)})
