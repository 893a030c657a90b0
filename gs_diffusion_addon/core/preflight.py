"""What a run would fail of later, told before its first stage begins.

A stage tells its own faults when it begins, which may be hours after the run did. So a new run's
source is looked at here, then what the settings of every stage still to do say by themselves, and
last, in a child of the worker's environment (:mod:`..engine.preflight`), the backends that need
something besides this program: a server and its names, a program, a package, a model.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import keyframes, orbit, stages, stale, styles, upstream
from .a1111_control import parse_control
from .check import Finding
from .errors import GsdError, InputError, Interrupted, StageError, crash_error, error_for_exit_code
from .estimate import estimate, folder_bytes, size_of
from .estimate import sentence as costs
from .events import Event, make_event
from .folder import resolve
from .interpreters import blender_program, worker_command, worker_python
from .process import child_environment, run_child
from .run import Run, read_json, write_json
from .settings import Settings, from_json, to_json
from .sharing import fair_threads
from .values import parse_size

Sink = Callable[[Event], None]

CHOSEN = {"stylize": "stylizer", "propagate": "propagator", "train": "trainer"}
"""The stages that a backend does, and the setting that chooses it."""

EMBEDDED = ("preview", "reproject", "patchmatch", "none", "ebsynth_folder", "builtin")
"""Backends that need nothing but the worker's environment."""


@dataclass(frozen=True)
class Step:
    """A stage to be done and the settings that it will work with."""

    stage: str
    settings: Settings


@dataclass(frozen=True)
class Problem:
    """What a stage would fail of."""

    stage: str
    error: GsdError


def require_startable(settings: Settings) -> None:
    """One existing source and the interpreters; raises InputError or MissingError."""
    if settings.main_folder:
        if settings.blend or settings.model:
            raise InputError("Give either --main-folder or a Blender scene, not both.")
        upstream.find(Path(settings.main_folder), settings.main_frames)
        worker_python(settings)
        return
    if bool(settings.blend) == bool(settings.model):
        raise InputError("Name the model with either --blend FILE.blend or --model FILE.")
    path = Path(settings.blend or settings.model)
    if not path.is_file():
        raise InputError(f"The model file {path} does not exist.")
    blender_program(settings)
    worker_python(settings)


def pending(
    root: Path,
    records: Mapping[str, Any],
    settings: Settings,
    todo: Iterable[tuple[str, int]],
) -> list[tuple[str, int]]:
    """The stages of ``todo`` that are not begun, or begun with other settings or inputs, and those
    that read what these will make.

    A stage that was begun asks for itself what it still needs: a server may be gone once all its
    pages are there.
    """
    out, anew = [], list[Path]()
    for name, k in todo:
        record, run = records.get(stages.record_name(name, k)), Run(root, k)
        reads = stages.BY_NAME[name].inputs(run, stages.stage_settings(name, k, settings))
        if (
            record is None
            or any(path.is_relative_to(made) for path in reads for made in anew)
            or record["key"] != stale.stage_key(name, run, settings, record)
        ):
            out.append((name, k))
            anew += stages.BY_NAME[name].outputs(run)
    return out


def require_sources(settings: Settings, todo: Iterable[tuple[str, int]]) -> None:
    """Raise InputError where a stage of ``todo`` reads a model or main folder that is gone."""
    for name, _ in todo:
        if name == "turntable" and settings.main_folder:
            upstream.find(Path(settings.main_folder), settings.main_frames)
        elif name in ("turntable", "import"):
            path = Path(settings.blend or settings.model)
            if not path.is_file() and name == "import":
                raise InputError(
                    f"The model file {path}, into whose scene the splat is put, does not exist; "
                    f"put it back, or leave that stage out with --until report."
                )
            if not path.is_file():
                raise InputError(f"The model file {path} does not exist.")


def steps_of(settings: Settings, todo: Iterable[tuple[str, int]]) -> list[Step]:
    """What is to be asked about: the stages of ``todo`` with the settings of their iteration."""
    found: dict[tuple[object, ...], Step] = {}
    for name, k in todo:
        if name in (*CHOSEN, "report"):
            step = Step(name, stages.stage_settings(name, k, settings))
            # Strengths and other fractions are in their range and decide nothing here.
            values = (v for v in to_json(step.settings).values() if not isinstance(v, float))
            found.setdefault((name, *values), step)
    return list(found.values())


def problems(
    steps: Sequence[Step], log: Path, on_event: Sink, stop: threading.Event
) -> list[Problem]:
    """What these stages would fail of; raises Interrupted when ``stop`` is set."""
    found: list[Problem] = []
    asked = []
    for step in steps:
        try:
            _look(step)
        except GsdError as error:
            found.append(Problem(step.stage, error))
        else:
            asked += [step] if _needs(step) else []
    return [*found, *(_ask(asked, log, on_event, stop) if asked else [])]


def require_space(
    root: Path, settings: Settings, todo: Sequence[tuple[str, int]], warn: Callable[[str], None]
) -> None:
    """Look whether the stages of ``todo`` have room on the disk of ``root``.

    Warns where they may not, and raises StageError where they cannot: the estimate is good to a
    factor of two.
    """
    turntable = any(name == "turntable" for name, _ in todo)
    needed = folder_bytes(settings, turntable, len({k for name, k in todo if name == "train"}))
    free = shutil.disk_usage(root).free
    if free < needed / 2:
        raise StageError(
            f"The run needs about {size_of(needed)}, and {size_of(free)} are free on the disk of "
            f"{root}; free some, or choose another --out."
        )
    if free < needed:
        warn(
            f"The run may need {size_of(needed)}, and {size_of(free)} are free on the disk of "
            f"{root}. If it fills up, the same command goes on once there is room."
        )


def sentence(manifest: Mapping[str, Any], settings: Settings, new: bool) -> str:
    """What a run is going to work with, and what a ``new`` one will roughly cost."""
    words = []
    for name in CHOSEN.values():
        chosen = getattr(settings, name)
        notes = ["auto"] if manifest["settings"].get(name) == "auto" else []
        notes += ["no diffusion"] if chosen == "preview" else []
        words.append(f"{name} {chosen}" + (f" ({', '.join(notes)})" if notes else ""))
    text = f"This run: {', '.join(words)}"
    if new and not settings.main_folder:
        text += f"; {costs(estimate(settings))}, roughly"
    return f"{text}."


def findings(settings: Settings, root: Path | None, stop: threading.Event) -> list[Finding]:
    """Lines for ``check``: whether a run with these settings, in the folder ``root`` if one is
    named, could do each of its stages; raises GsdError where that cannot be found out.
    """
    try:
        if settings.blend or settings.model or settings.main_folder:
            require_startable(settings)
        resolved = from_json({**to_json(settings), **resolve(settings)})
    except Interrupted:
        raise
    except GsdError as error:
        return [Finding("Model", False, "cannot be used", str(error), required=True)]
    todo = stages.plan(resolved.iterations, not resolved.main_folder)
    with tempfile.TemporaryDirectory(prefix="gsd-") as folder:
        log = Path(folder) / "check.log"
        found = problems(steps_of(resolved, todo), log, lambda event: None, stop)
    out = [_finding(stage, name, settings, resolved, found) for stage, name in CHOSEN.items()]
    out += [
        Finding("Report", False, "cannot be made", str(p.error), required=True)
        for p in found
        if p.stage == "report"
    ]
    if root is not None:
        out.append(_space(root, resolved, todo))
    return out


def _finding(
    stage: str, name: str, asked: Settings, resolved: Settings, found: Sequence[Problem]
) -> Finding:
    taken = getattr(resolved, name)
    detail = f"{taken}, which auto stands for here" if getattr(asked, name) == "auto" else taken
    wrong = [str(p.error) for p in found if p.stage == stage]
    return Finding(name.capitalize(), not wrong, detail, " ".join(wrong), required=True)


def _space(root: Path, settings: Settings, todo: Sequence[tuple[str, int]]) -> Finding:
    near = next(p for p in (root, *root.parents) if p.exists())
    doubts: list[str] = []
    try:
        require_space(near, settings, todo, doubts.append)
    except GsdError as error:
        return Finding("Disk", False, "too little space", str(error), required=True)
    return Finding("Disk", True, f"{size_of(shutil.disk_usage(near).free)} free", " ".join(doubts))


def _look(step: Step) -> None:
    """What the settings say by themselves; raises InputError."""
    s = step.settings
    if step.stage == "stylize":
        if s.stylizer == "preview":
            styles.find_style(s.style)
        if not s.main_folder:
            orbit.cell_room(max(parse_size(s.size)), s.sides, s.page_size)
        elif any(unit.kind == "materials" for unit in parse_control(s.control)):
            raise InputError(
                "A main folder's frames do not tell materials apart; use --control seg."
            )
    if step.stage == "propagate" and not keyframes.by_coverage(s):
        used = orbit.used_keys(s)
        if s.propagator == "ebsynth_folder":
            orbit.require_first_ring(used, s.views)


def _needs(step: Step) -> bool:
    """Whether the stage needs something that only the worker's environment can ask about."""
    s = step.settings
    if step.stage == "stylize" and s.stylizer == "preview":
        return not s.style.strip().isdecimal() and s.style.strip() not in styles.preset_names()
    if step.stage in CHOSEN:
        return getattr(s, CHOSEN[step.stage]) not in EMBEDDED
    return bool(s.clip_model)


def _ask(steps: Sequence[Step], log: Path, on_event: Sink, stop: threading.Event) -> list[Problem]:
    found = []

    def hear(event: Event) -> None:
        if event["event"] == "problem":
            error = error_for_exit_code(int(event["code"]), str(event["message"]))
            found.append(Problem(str(event["of"]), error))
        else:
            on_event(event)

    on_event(make_event("phase", message="Asking whether the later stages can do their part"))
    machine = steps[0].settings
    with tempfile.TemporaryDirectory(prefix="gsd-") as folder:
        job = Path(folder) / "job.json"
        write_json(job, [{"stage": s.stage, "settings": to_json(s.settings)} for s in steps])
        ended = run_child(
            [*worker_command(machine), "check", "--job", str(job), "--part", "0"],
            log=log,
            on_event=hear,
            stop=stop,
            env=child_environment(machine.threads or fair_threads()),
            priority=machine.priority,
        )
    if ended.code != 0:
        crash = str(crash_error("check", ended.code, log, ended.tail))
        raise error_for_exit_code(ended.code, ended.message or crash)
    return found


def run_part(job: Path) -> None:
    """Ask about the steps of ``job`` in this process: what :func:`problems` starts a child for."""
    import importlib

    from .events import child_emitter

    steps = [Step(s["stage"], from_json(s["settings"])) for s in read_json(job)]
    package = __package__.rpartition(".")[0]
    importlib.import_module(f"{package}.engine.preflight").look(steps, child_emitter("check", 0))
