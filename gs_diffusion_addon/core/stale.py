"""What makes a finished stage stale: another value of a setting, or other files, than it was made
from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import upstream
from .digests import digest, file_digest
from .run import Run
from .settings import Scalar, Settings, stage_values
from .stages import BY_NAME, stage_settings

NEWLY = {"report": ("compare_independent",)}
"""Settings that a stage took no notice of in earlier versions. One that its record does not have
may have had any value then, so it counts for nothing.
"""


def values_of(stage: str, iteration: int, settings: Settings) -> dict[str, Scalar]:
    """The settings that a stage is given in an iteration, by name, for run.json."""
    return stage_values(stage_settings(stage, iteration, settings), stage)


def counting(stage: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` that a stage is given, as far as its result depends on them."""
    out = dict(values)
    if stage == "stylize":
        # Which propagator there will be is the propagate stage's; with "none" all frames are keys.
        out["propagator"] = values.get("propagator") == "none"
        out.pop("compare_independent", None)  # it adds pictures, and changes none
        unused = () if "canny" in str(values.get("control", "")) else ("canny_low", "canny_high")
        for name in (
            *unused,
            *(() if values.get("stylizer") in ("preview", "auto") else ("style",)),
        ):
            out.pop(name, None)
    return out


def settings_of(stage: str, iteration: int, settings: Settings) -> dict[str, Any]:
    """What a stage's result depends on in an iteration of what it is given, by name."""
    return counting(stage, values_of(stage, iteration, settings))


def settings_digest(stage: str, iteration: int, settings: Settings) -> str:
    """Hash of the settings a stage depends on in an iteration."""
    return digest([json.dumps(settings_of(stage, iteration, settings), sort_keys=True)])


def stage_key(
    stage: str, run: Run, settings: Settings, record: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """What makes a stage stale when it changes: hashes of its settings and of its input files.

    Of a finished stage, ``record`` is its entry in run.json. A setting that this version has and
    the one that did the stage had not is no change, since a new setting's default is what was done
    before; neither is a source outside the run folder that is gone.
    """
    key = {
        "settings": settings_digest(stage, run.iteration, settings),
        "inputs": inputs_digest(stage, run, settings),
    }
    if record is None:
        return key
    past = record.get("values")
    if isinstance(past, dict) and not changed_values(stage, run.iteration, settings, past):
        key["settings"] = record["key"]["settings"]
    if source_gone(stage, run, settings):
        key["inputs"] = record["key"]["inputs"]
    return key


def changed_values(
    stage: str, iteration: int, settings: Settings, made_with: Mapping[str, Any]
) -> list[str]:
    """Names of settings that are not what the stage was done with; those it did not know had their
    default.
    """
    given, default = values_of(stage, iteration, settings), Settings()
    past = {n: made_with.get(n, getattr(default, n)) for n in given}
    past |= {n: given[n] for n in NEWLY.get(stage, ()) if n not in made_with}
    now, before = counting(stage, given), counting(stage, past)
    return [n for n in given if now.get(n) != before.get(n)]


def source_gone(stage: str, run: Run, settings: Settings) -> bool:
    """Whether a file outside the run folder that the stage reads is not there (any more).

    A finished stage does not need it: a run folder can be moved to another machine.
    """
    return any(
        not path.exists() and not path.is_relative_to(run.root)
        for path in BY_NAME[stage].inputs(run, settings)
    )


def _folder_facts(folder: Path) -> list[str]:
    """Contents of a main folder's cameras, names and sizes of its pictures."""
    base = folder.parent if folder.is_file() else folder
    facts = [file_digest(path) for path in sorted(base.glob("transforms*.json"))]
    for part in upstream.FOLDERS:
        files = sorted(p for p in (base / part).glob("*") if p.suffix.lower() in upstream.PICTURES)
        facts += [f"{p.name} {p.stat().st_size}" for p in files]
    return facts


def inputs_digest(stage: str, run: Run, settings: Settings) -> str:
    """Hash of the files a stage depends on: contents, or names and sizes in guides/, which only we
    write.
    """
    parts: list[str] = []
    if stage == "turntable" and settings.main_folder:
        return digest(_folder_facts(Path(settings.main_folder)))
    for path in BY_NAME[stage].inputs(run, settings):
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            inside = file.is_relative_to(run.root)
            named = file.relative_to(run.root).as_posix() if inside else file.name
            big = run.guides in file.parents
            parts += [named, str(file.stat().st_size) if big else file_digest(file)]
    return digest(parts)
