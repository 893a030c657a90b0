"""What makes a finished stage stale: another value of a setting, or other files, than it was made
from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from . import upstream
from .digests import MISSING, digest, file_digest
from .errors import InputError
from .run import Run
from .settings import Scalar, Settings, stage_values
from .stages import BY_NAME, stage_settings

FROM_SECOND = ("source", "source_blend", "splat_guide", "warm_start", "follow_splat")
"""Settings of what an iteration begins with from the last one; the first has none."""

FIRST_SPLAT = ("train_steps", "splats", "max_splats", "sh_degree", "seed", "split")
"""Settings of the first splat, which gives a main folder's frames their geometry."""

NEWLY = {"report": ("compare_independent",), "turntable": FIRST_SPLAT}
"""Settings that a stage took no notice of in earlier versions. One that its record does not have
may have had any value then, so it counts for nothing.
"""


def values_of(stage: str, iteration: int, settings: Settings) -> dict[str, Scalar]:
    """The settings that a stage is given in an iteration, by name, for run.json."""
    values = stage_values(stage_settings(stage, iteration, settings), stage)
    if stage == "turntable" and settings.main_folder:
        values |= {name: getattr(settings, name) for name in FIRST_SPLAT}
    return values


def counting(stage: str, iteration: int, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` that a stage is given in an iteration, as far as its result depends on them."""
    out = dict(values)
    unused = list(FROM_SECOND) if iteration <= 1 else []
    if stage == "turntable" and not values.get("view_layer"):
        unused.append("view_layer")  # the scene's own, which older versions took
    if stage == "stylize":
        # Which propagator there will be is the propagate stage's; with "none" all frames are keys.
        out["propagator"] = values.get("propagator") == "none"
        unused.append("compare_independent")  # it adds pictures, and changes none
        if values.get("stylizer") not in ("preview", "auto"):
            unused.append("style")
        if "canny" not in str(values.get("control", "")):
            unused += ["canny_low", "canny_high"]
        if values.get("source") != "blend":
            unused.append("source_blend")
        if values.get("source") != "original":
            unused.append("splat_guide")
    return {name: value for name, value in out.items() if name not in unused}


def settings_of(stage: str, iteration: int, settings: Settings) -> dict[str, Any]:
    """What a stage's result depends on in an iteration of what it is given, by name."""
    return counting(stage, iteration, values_of(stage, iteration, settings))


def settings_digest(stage: str, iteration: int, settings: Settings) -> str:
    """Hash of the settings a stage depends on in an iteration."""
    return digest([json.dumps(settings_of(stage, iteration, settings), sort_keys=True)])


def stage_key(
    stage: str, run: Run, settings: Settings, record: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """What makes a stage stale when it changes: hashes of its settings and of its input files.

    Of a finished stage, ``record`` is its entry in run.json. A setting that this version has and
    the one that did the stage had not is no change, since a new setting's default is what was done
    before; neither is a source that is gone.
    """
    known = _known_sources(record or {})
    key = {
        "settings": settings_digest(stage, run.iteration, settings),
        "inputs": inputs_digest(stage, run, settings, known or {}),
    }
    if record is None:
        return key
    past = record.get("values")
    if isinstance(past, dict) and not changed_values(stage, run.iteration, settings, past):
        key["settings"] = record["key"]["settings"]
    if known is None and _as_before(stage, run, settings, record["key"]["inputs"]):
        key["inputs"] = record["key"]["inputs"]
    return key


def _as_before(stage: str, run: Run, settings: Settings, then: str) -> bool:
    """Whether the files are those of a stage that an earlier version did, which gave them the hash
    ``then``: of all together, by the run's own settings, and not of all that is read.
    """
    if any(not path.exists() for path in BY_NAME[stage].sources(settings)):
        return True
    last = run.at(run.iteration - 1)
    unread = (run.train_main, run.sources, last.renders) if stage == "propagate" else ()
    paths = [p for p in BY_NAME[stage].inputs(run, settings) if p not in unread]
    if stage == "turntable" and settings.main_folder:
        return then == digest(_folder_facts(Path(settings.main_folder)))
    sources = {str(p): file_digest(p) for p in BY_NAME[stage].sources(settings)}
    return then == _files_digest(run, paths, sources)


def changed_values(
    stage: str, iteration: int, settings: Settings, made_with: Mapping[str, Any]
) -> list[str]:
    """Names of settings that are not what the stage was done with; those it did not know had their
    default.
    """
    given, default = values_of(stage, iteration, settings), Settings()
    past = {n: made_with.get(n, getattr(default, n)) for n in given}
    past |= {n: given[n] for n in NEWLY.get(stage, ()) if n in given and n not in made_with}
    now, before = (counting(stage, iteration, values) for values in (given, past))
    return [n for n in given if now.get(n) != before.get(n)]


def sources_of(stage: str, run: Run, settings: Settings) -> dict[str, str]:
    """Content hash of each file or folder a stage reads that settings name, for run.json; by path.

    A finished stage does not need them any more: a run folder can be moved to another machine. What
    their content was is noted, so that other changes show without them.
    """
    given = stage_settings(stage, run.iteration, settings)
    if stage == "stylize" and "style" not in settings_of(stage, run.iteration, settings):
        return {}
    if stage == "turntable" and settings.main_folder:
        return {settings.main_folder: _main_folder_digest(settings)}
    return {str(path): file_digest(path) for path in BY_NAME[stage].sources(given)}


def _main_folder_digest(settings: Settings) -> str:
    """Hash of a main folder's cameras and of the pictures taken from it; :data:`.MISSING` if they
    are not to be had.
    """
    try:
        source = upstream.find(Path(settings.main_folder), settings.main_frames)
    except InputError:
        return MISSING
    pictures = [source.video] if source.from_video else [shot.picture for shot in source.shots]
    return digest(file_digest(path) for path in (source.transforms, *pictures) if path)


def _known_sources(record: Mapping[str, Any]) -> dict[str, str] | None:
    """The sources that a record notes; None for one of an earlier version."""
    noted = record.get("sources")
    if not isinstance(noted, dict):
        return None
    return {path: str(content) for path, content in noted.items()}


def _folder_facts(folder: Path) -> list[str]:
    """What earlier versions hashed of a main folder: contents of its cameras, names and sizes of
    pictures in the usual places.
    """
    base = folder.parent if folder.is_file() else folder
    facts = [file_digest(path) for path in sorted(base.glob("transforms*.json"))]
    for part in upstream.FOLDERS:
        files = sorted(p for p in (base / part).glob("*") if p.suffix.lower() in upstream.PICTURES)
        facts += [f"{p.name} {p.stat().st_size}" for p in files]
    return facts


def inputs_digest(
    stage: str, run: Run, settings: Settings, known: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Hash of the files a stage depends on: contents, or names and sizes in guides/, which only we
    write; of sources that are gone, the contents that are ``known``.
    """
    sources = {
        path: known.get(path, found) if found == MISSING else found
        for path, found in sources_of(stage, run, settings).items()
    }
    given = stage_settings(stage, run.iteration, settings)
    return _files_digest(run, BY_NAME[stage].inputs(run, given), sources)


def _files_digest(run: Run, paths: Sequence[Path], sources: Mapping[str, str]) -> str:
    parts: list[str] = []
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            big = run.guides in file.parents
            parts += [_named(file, run), str(file.stat().st_size) if big else file_digest(file)]
    for source, content in sources.items():
        parts += [_named(Path(source), run), content]
    return digest(parts)


def _named(path: Path, run: Run) -> str:
    return path.relative_to(run.root).as_posix() if path.is_relative_to(run.root) else path.name
