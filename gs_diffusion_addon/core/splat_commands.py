"""``gsd splat``: what needs the kernels is done by a child in the worker's environment, the rest
here.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import splat_tools
from .console import Console
from .errors import EXIT_DONE, InputError, crash_error, error_for_exit_code
from .events import child_emitter, make_event
from .interpreters import worker_command
from .lock import locked
from .process import child_environment, run_child, stop_on_signals
from .run import TEMPORARY, write_json
from .settings import Settings, from_json, to_json
from .splat_arguments import PRESETS

CHILD = "splat-child"
_FILES = ("file", "data", "points", "transforms", "out")


def settings_of(parsed: argparse.Namespace, given: Mapping[str, Any]) -> Settings:
    """Defaults, then the preset, then what the command line says.

    A model begins with no more splats than it may have: of the two numbers the one that was not
    given follows the other. Raises InputError where both were.
    """
    values = {**PRESETS[getattr(parsed, "splat_preset", "default")], **given}
    settings = from_json(values)
    if settings.splats <= settings.max_splats:
        return settings
    if {"splats", "max_splats"} <= set(given):
        raise InputError(
            f"--splats {settings.splats} is more than --max-splats {settings.max_splats}; lower "
            f"one or raise the other."
        )
    follows, leads = ("max_splats", "splats") if "splats" in given else ("splats", "max_splats")
    return from_json({**values, follows: getattr(settings, leads)})


def command(parsed: argparse.Namespace, given: Mapping[str, Any]) -> int:
    """Do ``gsd splat TOOL``; returns the exit code."""
    job = {
        name: None if value is None else str(value.expanduser().resolve())
        for name in _FILES
        if (value := getattr(parsed, name, None)) is not None
    }
    if parsed.tool == "info":
        return _info(Path(job["file"] or ""), parsed.json)
    to_colmap = parsed.tool == "convert" and (parsed.to == "colmap" or parsed.transforms)
    if to_colmap and not parsed.transforms:
        raise InputError(
            "A COLMAP data set needs cameras; name a transforms file or a data set's folder with "
            "--transforms."
        )
    if parsed.tool == "convert" and not to_colmap:
        print(splat_tools.convert(Path(job["file"] or ""), Path(job["out"] or "")))
        return EXIT_DONE
    if parsed.tool in splat_tools.REQUESTS:
        print(splat_tools.request(Path(job["out"] or ""), parsed.tool))
        return EXIT_DONE
    options = {
        name: getattr(parsed, name)
        for name in ("background", "exposure", "faintest", "images", "text")
        if hasattr(parsed, name)
    }
    return _in_worker(parsed.tool, {**job, **options}, settings_of(parsed, given))


def _info(file: Path, as_json: bool) -> int:
    facts = splat_tools.info(file)
    print(json.dumps(asdict(facts), indent=1) if as_json else splat_tools.info_text(facts))
    return EXIT_DONE


def _in_worker(tool: str, job: dict[str, Any], settings: Settings) -> int:
    """Run the tool as a child that is stopped with us, and print what it made."""
    out = Path(job["out"])
    folder = out.parent if tool == "prune" else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A training is gone on with, so its log stays with it; others' only after a failure.
        logs = folder / "logs" if tool == "train" else Path(tempfile.mkdtemp(prefix="gsd-splat-"))
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror or error}.") from None
    # One process at a time trains into a folder.
    with locked(folder) if tool == "train" else contextlib.nullcontext():
        if tool == "train":
            _tidy(folder)
        made = _child_of(tool, job, settings, logs)
    if tool != "train":
        shutil.rmtree(logs, ignore_errors=True)
    print("\n".join(made))
    return EXIT_DONE


def _tidy(folder: Path) -> None:
    """Delete what a killed training left half-written; the folder's lock is held."""
    for place in (folder, folder / "logs", folder / splat_tools.CHECKPOINTS):
        for path in place.glob(f"{TEMPORARY}*"):
            path.unlink(missing_ok=True)


def _child_of(tool: str, job: dict[str, Any], settings: Settings, logs: Path) -> list[str]:
    """Run the tool in the worker's environment; returns what it made, in words."""
    stop, console = threading.Event(), Console()
    stop_on_signals(stop, console)
    made: list[str] = []

    def show(event: dict[str, Any]) -> None:
        if event["event"] == "made":
            made.append(str(event["text"]))
        else:
            console(event)

    console(make_event("stage_started", label=f"splat {tool}"))
    log, file = logs / f"splat-{tool}.log", logs / f"splat-{tool}.json"
    write_json(file, {"tool": tool, **job, "settings": to_json(settings)})
    ended = run_child(
        [*worker_command(settings), CHILD, str(file)],
        log=log,
        on_event=show,
        stop=stop,
        env=child_environment(settings.threads),
    )
    if ended.code:
        if ended.message is None:
            raise crash_error(f"splat {tool}", ended.code, log, ended.tail)
        raise error_for_exit_code(ended.code, ended.message)
    return made


def child(argv: Sequence[str]) -> None:
    """The child's side: ``argv`` is the job's file."""
    job = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    settings = from_json(job.pop("settings"))
    os.environ["GSD_THREADS"] = str(settings.threads or os.environ.get("GSD_THREADS", "0"))
    package = (__package__ or "").rpartition(".")[0]
    module = "colmap_folder" if job["tool"] == "convert" else "tools"
    importlib.import_module(f"{package}.engine.splat.{module}").do(
        job, settings, child_emitter("splat", 0)
    )
