"""``gsd splat``: what needs the kernels is done by a child in the worker's environment, the rest
here.
"""

from __future__ import annotations

import argparse
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
from .errors import EXIT_DONE, InputError, error_for_exit_code
from .events import child_emitter, make_event
from .interpreters import worker_command
from .process import child_environment, run_child, stop_on_signals
from .run import write_json
from .settings import Settings, from_json, to_json
from .splat_arguments import PRESETS

CHILD = "splat-child"
_FILES = ("file", "data", "points", "transforms", "out")


def settings_of(parsed: argparse.Namespace, given: Mapping[str, Any]) -> Settings:
    """Defaults, then the preset, then what the command line says."""
    return from_json({**PRESETS[getattr(parsed, "splat_preset", "default")], **given})


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
        crash = f"splat {tool} ended with code {ended.code}; the details stand in {log}."
        raise error_for_exit_code(ended.code, ended.message or crash)
    if tool != "train":
        shutil.rmtree(logs, ignore_errors=True)
    print("\n".join(made))
    return EXIT_DONE


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
