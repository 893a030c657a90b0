"""``try``: one view, or the collage page it lies on, restyled in seconds without starting a run.

Frames of an existing run are used where there are any; missing ones are rendered, or taken from the
main folder, into a temporary one. The picture shows before and after side by side.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import preflight, stages
from .a1111_control import needs_geometry
from .errors import InputError, error_for_exit_code
from .folder import resolve
from .interpreters import blender_command, worker_command
from .keyframes import planned
from .orbit import page_of
from .pipeline import Sink
from .process import child_environment, run_child
from .run import Run, read_json, read_manifest, run_settings, write_json
from .settings import Settings, all_rings, from_json, to_json


def run(
    out: Path,
    given: Mapping[str, Any],
    *,
    view: int,
    page: bool,
    sink: Sink,
    stop: threading.Event,
) -> Path:
    """Restyle ``view`` (and with ``page`` all keyframes on its page); returns the picture's path.

    ``out`` is a run folder, whose settings (changed by ``given``) and frames are used and which
    gets ``try/view_K.png``, or a .png to write. Raises the package's errors; nothing but the
    picture is left.
    """
    settings, folder, picture = _target(out, given, view)
    count = sum(ring.count for ring in all_rings(settings))
    if not 0 <= view < count:
        raise InputError(f"--view must lie between 0 and {count - 1}, not {view}.")
    frames = page_of(planned(folder, settings), settings.sides, view) if page else [view]
    with tempfile.TemporaryDirectory(prefix="gsd-try-") as name:
        scratch = Run(Path(name) / "run")
        scratch.train_main.mkdir(parents=True)
        wanted = [scratch.frame(frame) for frame in frames]
        if needs_geometry(settings.control):
            wanted += [scratch.guide(frame) for frame in frames] + [scratch.transforms_main]
        if folder is not None:
            # The run's own range of depths, if it has one, so that grays are the same.
            _copy(folder, scratch, [*wanted, scratch.input / "depth_range.json"])
        job = Path(name) / "job.json"
        write_json(
            job,
            {
                "settings": to_json(settings),
                "root": str(scratch.root),
                "frames": frames,
                "view": view,
                "picture": str(picture),
            },
        )
        if not all(path.exists() for path in wanted):
            # Only now: a run that has the frames does not need what they were made from any more.
            _require(settings, scratch, sink, stop)
            taken = worker_command if settings.main_folder else blender_command
            _part(taken(settings), job, 0, settings, scratch, sink, stop)
        _part(worker_command(settings), job, 1, settings, scratch, sink, stop)
    return picture


def _require(settings: Settings, scratch: Run, sink: Sink, stop: threading.Event) -> None:
    """Raise what would keep the view from being made or restyled, before that takes time."""
    preflight.require_startable(settings)
    if settings.main_folder and needs_geometry(settings.control):
        raise InputError(
            f"--control {settings.control} needs the model's geometry, which a run makes of a main "
            f"folder's frames: do 'gsd run … --until turntable' and name that run with --out, or "
            f"try without --control."
        )
    steps = preflight.steps_of(settings, [("stylize", 1)])
    for problem in preflight.problems(steps, scratch.logs / "check.log", sink, stop):
        raise problem.error


def _copy(folder: Run, scratch: Run, paths: Sequence[Path]) -> None:
    """Files of the run in ``folder``, as far as they are there, named as in ``scratch``."""
    for path in paths:
        there = folder.root / path.relative_to(scratch.root)
        if there.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(there, path)


def _target(out: Path, given: Mapping[str, Any], view: int) -> tuple[Settings, Run | None, Path]:
    known: Mapping[str, Any] = {}
    if (out / "run.json").exists():
        manifest = read_manifest(out)
        settings = from_json({**to_json(run_settings(manifest)), **given})
        known = {} if {"main_folder", "main_frames"} & set(given) else manifest["resolved"]
        folder: Run | None = Run(out)
        picture = out / "try" / f"view_{view}.png"
    elif out.suffix.lower() == ".png":
        settings, folder, picture = from_json(dict(given)), None, out
    else:
        raise InputError(f"{out} is neither a run folder nor a .png; name one of them with --out.")
    if not (settings.main_folder or settings.blend or settings.model):
        preflight.require_startable(settings)  # which says what to name
    settings = from_json({**to_json(settings), **resolve(settings, known)})
    # What the first iteration would do, where a schedule has a value for each.
    return stages.stage_settings("stylize", 1, settings), folder, picture


def _part(
    command: list[str],
    job: Path,
    number: int,
    settings: Settings,
    scratch: Run,
    sink: Sink,
    stop: threading.Event,
) -> None:
    log = scratch.logs / f"try-{number}.log"
    ended = run_child(
        [*command, "try", "--out", "-", "--job", str(job), "--part", str(number)],
        log=log,
        on_event=sink,
        stop=stop,
        env=child_environment(settings.threads),
    )
    if ended.code != 0:
        tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        crash = f"The view could not be restyled (code {ended.code}): {' '.join(tail)}"
        raise error_for_exit_code(ended.code, ended.message or crash)


def run_part(job: Path, number: int) -> None:
    """Do the part that makes frames (0, in Blender but for a main folder's), or the one that
    restyles them (1, the worker's), of a try in this process.
    """
    import importlib

    from .events import child_emitter

    data = read_json(job)
    settings, scratch = from_json(data["settings"]), Run(Path(data["root"]))
    package = __package__.rpartition(".")[0]
    emit = child_emitter("try", 0)
    if number == 0 and settings.main_folder:
        upstream = importlib.import_module(f"{package}.engine.upstream")
        upstream.take_some(scratch, settings, data["frames"], emit)
        return
    if number == 0:
        importlib.import_module(f"{package}.scene.model_file").open_source(settings)
        turntable = importlib.import_module(f"{package}.scene.turntable")
        turntable.render_frames(scratch, settings, data["frames"], emit)
        return
    stylize = importlib.import_module(f"{package}.engine.stylize.try_view")
    stylize.try_view(scratch, settings, data["frames"], data["view"], Path(data["picture"]), emit)
