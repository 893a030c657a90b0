"""A run's folder: its beginning, what ``auto`` stands for in it, its stages' states."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from . import loop, stages, stale, upstream
from .errors import InputError
from .made import Made
from .run import PANEL_LOG, SCENE_COPY, SCENE_NAMES, TEMPORARY, Run, read_manifest, run_settings
from .settings import Settings


def prepare_folder(root: Path) -> None:
    """Make the run folder; refuse one that is not ours or cannot be written. Raises InputError."""
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is a file; choose a folder for --out.")
    if root.is_dir() and not (root / "run.json").exists():
        ours = (".lock", SCENE_COPY, SCENE_NAMES, "logs")
        # A kill before the first run.json was whole left it under its temporary name.
        strangers = sorted(
            p.name
            for p in root.iterdir()
            if p.name not in ours and not p.name.startswith(TEMPORARY)
        )
        if strangers:
            raise InputError(
                f"{root} is not empty and holds no run (there is {strangers[0]!r} in it); "
                f"choose another --out."
            )
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f"{TEMPORARY}{os.getpid()}-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"{root} cannot be written: {error.strerror}; choose another --out."
        ) from None


def forget_empty_run(root: Path) -> None:
    """Remove what a refused first start left (run.json, events, logs), so that the corrected
    command can use the same folder; a folder with any picture in it is kept.
    """
    if any(root.glob("train_main/*")):
        return
    logs = [p for p in root.glob("logs/*.log") if p.name != PANEL_LOG]  # Blender reads on in that
    for path in (
        *logs,
        *(root / n for n in ("run.json", "events.jsonl", ".lock")),
    ):
        path.unlink(missing_ok=True)
    for folder in (root / "train_main", root / "guides", root / "logs", root):
        with suppress(OSError):
            folder.rmdir()


def resolve(settings: Settings, known: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """What each ``auto`` stands for on this machine, by what ``check`` finds, and the rings that a
    main folder's frames make; nothing of what is ``known`` already is looked for.
    """
    from . import check

    out: dict[str, Any] = {}
    if settings.main_folder and "views" not in known:
        found = upstream.find(Path(settings.main_folder), settings.main_frames)
        out.update(views=len(found.shots), rings="none")
    if settings.stylizer == "auto":
        out["stylizer"] = "a1111" if check.server(settings).ok else "preview"
    if settings.propagator == "auto":
        out["propagator"] = "reproject"
    if settings.trainer == "auto":
        out["trainer"] = check.best_trainer(settings)
    if settings.compare_independent == "auto":
        cheap = out.get("stylizer", settings.stylizer) == "preview"
        out["compare_independent"] = "yes" if cheap else "no"
    return out


@dataclass(frozen=True)
class StageState:
    """One line of ``status``."""

    stage: str
    iteration: int
    state: str
    seconds: float | None


def status(root: Path) -> list[StageState]:
    """The state of every stage: done, stale, running (or stopped half-way), waiting; incomplete if
    results are lost.
    """
    manifest = read_manifest(root)
    settings = run_settings(manifest)
    out, made = [], Made(root)
    for name, k in loop.plan(root, settings):
        record = manifest["stages"].get(stages.record_name(name, k))
        state = "waiting" if record is None else str(record["state"])
        if record is not None:
            key = stale.stage_key(name, Run(root, k), settings, record)
            state = state if record["key"] == key else "stale"
            kept = stages.BY_NAME[name].kept(Run(root, k))
            if state == "done" and made.lost(stages.record_name(name, k), kept):
                state = "incomplete"
        out.append(StageState(name, k, state, record.get("seconds") if record else None))
    return out
