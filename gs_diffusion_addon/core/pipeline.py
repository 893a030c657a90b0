"""The supervisor: starts each stage as a child of the right interpreter, passes its events on,
stamps it.

It does no stage itself, so it can stop anything within two seconds, and it alone writes run.json. A
stage is finished when its stamp is written; a killed run starts the same stage again, which skips
the frames it finds finished.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import borrow, loop, preflight, stages, stale
from .errors import GsdError, InputError, StageError, crash_error, error_for_exit_code
from .events import Event, encode, make_event
from .folder import forget_empty_run, prepare_folder, resolve
from .interpreters import blender_command, versions_of, worker_command, worker_python
from .job_object import hold_descendants
from .lock import locked
from .made import Made
from .process import child_environment, run_child
from .run import (
    Run,
    new_manifest,
    read_manifest,
    remove_temporaries,
    replace_file,
    run_settings,
    write_json,
)
from .settings import Settings, flag, from_json, names, to_json
from .sharing import fair_threads, sharing
from .version import version

Sink = Callable[[Event], None]


FOLLOWERS = {
    "main_folder": ("views", "rings"),
    "main_frames": ("views", "rings"),
    "stylizer": ("compare_independent",),
}
"""What is resolved from a setting, and so anew when that changes."""


@dataclass
class Supervisor:
    """One process's work on one run folder: where events go, when to stop, whether stale work is
    redone, and the run or folder of runs that a finished turntable may be copied from.
    """

    root: Path
    sink: Sink
    stop: threading.Event = field(default_factory=threading.Event)
    redo: bool = False
    lenders: Path | None = None

    def __post_init__(self) -> None:
        self._made = Made(self.root)

    def run(self, changes: Mapping[str, Any], until: str = "import", start: int = 0) -> None:
        """Make or continue the run: every stage up to ``until`` of the last iteration that is not
        finished yet.

        ``changes`` are the settings given explicitly; an existing run keeps its others.
        Iterations up to ``start`` are taken as they are, finished or stale. Raises the package's
        errors; everything finished stays.
        """
        fresh = not (self.root / "run.json").exists()
        if fresh:
            preflight.require_startable(from_json(dict(changes)))
        prepare_folder(self.root)
        ours = False
        try:
            with locked(self.root), sharing():
                ours = True
                remove_temporaries(self.root)
                manifest = self._open(changes)
                settings = run_settings(manifest)
                loop.require_start(self.root, settings, start)
                self._work(manifest, settings, loop.todo(settings, until, start), until)
        except InputError:
            # Without the lock the folder is another process's, which may have begun just now.
            if fresh and ours:
                forget_empty_run(self.root)
            raise

    def one_stage(self, name: str, iteration: int, changes: Mapping[str, Any]) -> None:
        """Do one stage of an existing run."""
        read_manifest(self.root)
        with locked(self.root), sharing():
            remove_temporaries(self.root)
            manifest = self._open(changes)
            settings = run_settings(manifest)
            if name == "turntable":
                iteration = 0
            if (name, iteration) not in stages.plan(max(settings.iterations, iteration)):
                raise InputError(f"Stage {name} has no iteration {iteration}.")
            self._require_earlier(manifest, name, iteration)
            self._work(manifest, settings, [(name, iteration)], name)

    # --- the parts of a run
    # -------------------------------------------------------------------------

    def _open(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        fresh = not (self.root / "run.json").exists()
        if fresh:
            manifest = new_manifest(from_json(dict(changes)), version())
        else:
            manifest = read_manifest(self.root)
            self._change(manifest, changes)
        settings = from_json(manifest["settings"])
        manifest["resolved"] = {**resolve(settings, manifest["resolved"]), **manifest["resolved"]}
        python = worker_python(settings)
        manifest["versions"].update(gs_diffusion=version(), worker=versions_of(python))
        if fresh:  # an older run keeps its settings until the new ones are found to be usable
            self._save(manifest)
        return manifest

    def _change(self, manifest: dict[str, Any], changes: Mapping[str, Any]) -> None:
        old = from_json(manifest["settings"])
        new = from_json({**to_json(old), **changes})
        changed = [n for n in names() if getattr(old, n) != getattr(new, n)]
        for name in changed:
            before = run_settings(manifest)
            if manifest["resolved"].get(name) == getattr(new, name):
                continue  # said now what "auto" was taken for
            hit = loop.changed_stages(manifest["stages"], name, before, new)
            if hit and not self.redo:
                raise InputError(
                    f"{self.root} was made with {flag(name)} {getattr(old, name)!r}, not "
                    f"{getattr(new, name)!r}: its stage {hit[0]} would be stale. Choose another "
                    f"--out, or "
                    f"add --redo to do it anew (the old results are moved to superseded/)."
                )
            for follower in (name, *FOLLOWERS.get(name, ())):
                manifest["resolved"].pop(follower, None)
        manifest["settings"] = to_json(new)

    def _require_earlier(self, manifest: dict[str, Any], name: str, iteration: int) -> None:
        for earlier, k in stages.plan(max(iteration, 1)):
            if (earlier, k) == (name, iteration):
                return
            record = manifest["stages"].get(stages.record_name(earlier, k), {})
            if record.get("state") != "done" and earlier != "report":
                raise InputError(
                    f"Stage {name} needs stage {earlier} of iteration {k} first: run "
                    f"'gsd stage {earlier} --out {self.root} --iteration {k}'."
                )

    def _work(
        self,
        manifest: dict[str, Any],
        settings: Settings,
        todo: Sequence[tuple[str, int]],
        until: str,
    ) -> None:
        order = [stages.record_name(*s) for s in todo]
        self._say(make_event("run_started", stages=order, until=until))
        if loose := hold_descendants():
            self._say(make_event("warning", message=loose))
        try:
            self._preflight(manifest, settings, todo)
            self._save(manifest)
            ended = 0
            for name, iteration in todo:
                if ended and name != "import" and iteration > ended:
                    continue
                last = ended if ended and name == "import" else iteration
                self._stage(manifest, settings, name, last)
                if name == "report" and (reason := loop.stopped(self.root, settings, iteration)):
                    ended = iteration
                    self._say(make_event("loop_ended", iteration=iteration, message=reason))
        except GsdError as error:
            kind = "interrupted" if error.exit_code == 130 else "error"
            more = {"tail": list(error.tail)} if error.tail else {}
            self._say(make_event(kind, message=str(error), code=error.exit_code, **more))
            raise
        finally:
            remove_temporaries(self.root)
        self._say(make_event("run_finished", out=str(self.root)))

    def _preflight(
        self, manifest: dict[str, Any], settings: Settings, todo: Sequence[tuple[str, int]]
    ) -> None:
        """Raise what a stage of ``todo`` would fail of later, before the first of them begins."""
        waiting = preflight.pending(self.root, manifest["stages"], settings, todo)

        def warn(message: str) -> None:
            self._say(make_event("warning", message=message))

        preflight.require_sources(settings, waiting)
        steps = preflight.steps_of(settings, waiting)
        log = Run(self.root).logs / "check.log"
        for problem in preflight.problems(steps, log, self._say, self.stop):
            raise problem.error
        preflight.require_space(self.root, settings, waiting, warn)
        if steps and len(todo) > 1:
            new = not manifest["stages"]
            self._say(make_event("plan", message=preflight.sentence(manifest, settings, new)))

    def _stage(
        self, manifest: dict[str, Any], settings: Settings, name: str, iteration: int
    ) -> None:
        run, stage = Run(self.root, iteration), stages.BY_NAME[name]
        label = {"stage": name, "iteration": iteration}
        record = manifest["stages"].get(stages.record_name(name, iteration))
        key = stale.stage_key(name, run, settings, record)
        if record is not None and record["key"] != key:
            self._supersede(manifest, run, name, record, key)
            record = None
        if record is not None and not self._unfinished(run, stage, settings, record["state"]):
            self._say(make_event("stage_skipped", **label))
            return
        if name == "import" and record is None and run.result.exists():
            self._move_aside([run.result])
        started = time.time()
        if record is None:
            sources = stale.sources_of(name, run, settings)
            record = {"key": key, "sources": sources, "seconds": 0.0}
        record.update(state="running", started=round(started, 3))
        record["values"] = stale.values_of(name, iteration, settings)
        record.pop("finished", None)
        manifest["stages"][stages.record_name(name, iteration)] = record
        self._save(manifest)
        self._say(make_event("stage_started", label=stages.label_of(name, settings), **label))
        if not self._borrowed(run, name, key):
            for number in range(len(stages.parts_of(name, settings))):
                self._part(settings, run, name, number)
        self._made.note(stages.record_name(name, iteration), stage.kept(run))
        record.update(
            state="done",
            finished=round(time.time(), 3),
            seconds=round(record["seconds"] + time.time() - started, 3),
        )
        self._save(manifest)
        self._say(make_event("stage_finished", seconds=record["seconds"], **label))

    def _borrowed(self, run: Run, name: str, key: Mapping[str, str]) -> bool:
        """Whether the stage is the turntable and another run had it."""
        if name != "turntable" or self.lenders is None:
            return False
        lender = borrow.turntable(run, key, self.lenders)
        if lender:
            message = f"The turntable is copied from {lender}, which has the same settings"
            self._say(make_event("phase", stage=name, iteration=run.iteration, message=message))
        return bool(lender)

    def _unfinished(self, run: Run, stage: stages.Stage, settings: Settings, state: str) -> bool:
        """Whether a stage that was begun has anything to do: it is not done, or results are gone
        or in pieces, or settings ask for more. Pieces are moved aside, so that the stage sees what
        it has to make.
        """
        record = stages.record_name(stage.name, run.iteration)
        made, kept = self._made, stage.kept(run)
        lost = made.restored(record, made.lost(record, kept))
        if lost:
            message = (
                f"Results of stage {stage.name} are lost or damaged ({len(lost)}, the first is "
                f"{lost[0]}): they are made again."
            )
            where = {"stage": stage.name, "iteration": run.iteration}
            self._say(make_event("warning", message=message, **where))
            self._move_aside([self.root / name for name in lost])
        wanted = [*stage.proof(run), *stage.extra(run, settings)]
        if lost or state != "done" or not all(path.exists() for path in wanted):
            return True
        if not made.knows(record):
            made.note(record, kept)
        return False

    def _supersede(
        self,
        manifest: dict[str, Any],
        run: Run,
        name: str,
        record: dict[str, Any],
        key: dict[str, str],
    ) -> None:
        what = "settings" if record["key"]["settings"] != key["settings"] else "input files"
        if not self.redo:
            raise InputError(
                f"Stage {name} of iteration {run.iteration} in {self.root} is stale: its {what} "
                f"changed since "
                f"it was done. Add --redo to do it anew (the old results are moved to superseded/)."
            )
        self._say(
            make_event(
                "warning",
                stage=name,
                iteration=run.iteration,
                message=f"Stage {name} is stale, its {what} changed: it is done anew.",
            )
        )
        self._move_aside(stages.BY_NAME[name].outputs(run))
        self._made.forget(stages.record_name(name, run.iteration))
        del manifest["stages"][stages.record_name(name, run.iteration)]
        self._save(manifest)

    def _move_aside(self, paths: Sequence[Path]) -> None:
        there = [path.relative_to(self.root) for path in paths if path.exists()]
        stamp, number = time.strftime("%Y%m%d-%H%M%S"), 1
        attic = self.root / "superseded" / stamp
        while any((attic / name).exists() for name in there):
            number += 1
            attic = self.root / "superseded" / f"{stamp}-{number}"
        for name in there:
            target = attic / name
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.root / name, target)

    def _part(self, settings: Settings, run: Run, name: str, number: int) -> None:
        part = stages.parts_of(name, settings)[number]
        blender = part.interpreter == "blender"
        command = blender_command(settings) if blender else worker_command(settings)
        command += ["stage", name, "--out", str(run.root), "--iteration", str(run.iteration)]
        command += ["--part", str(number)]
        log = run.logs / f"{run.iteration}-{name}.log"
        env = child_environment(settings.threads or fair_threads())
        if blender:
            env.pop("OMP_NUM_THREADS", None)  # Cycles' denoiser and Blender's modifiers use OpenMP
        ended = run_child(
            command,
            log=log,
            on_event=self._say,
            stop=self.stop,
            env=env,
            priority=settings.priority,
        )
        if ended.code != 0:
            crash = str(crash_error(name, ended.code, log, ended.tail))
            error = error_for_exit_code(ended.code, ended.message or crash)
            error.tail = ended.tail
            raise error

    def _save(self, manifest: dict[str, Any]) -> None:
        write_json(self.root / "run.json", manifest)

    def _say(self, event: Event) -> None:
        append_event(Run(self.root).events, event)
        self.sink(event)


def append_event(path: Path, event: Event) -> None:
    """Append one line; a line torn by a kill is closed first, so that it spoils nothing after
    it.
    """
    with open(path, "ab+") as file:
        torn = b""
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            torn = b"" if file.read(1) == b"\n" else b"\n"
        file.write(torn + encode(event).encode("utf-8") + b"\n")


def run_part(root: Path, name: str, iteration: int, number: int) -> None:
    """Do one part of a stage in this process: what the supervisor's children call."""
    import importlib

    from .events import child_emitter

    settings = run_settings(read_manifest(root))
    part = stages.parts_of(name, settings)[number]
    settings = stages.stage_settings(name, iteration, settings)
    module, function = part.target.split(":")
    package = __package__.rpartition(".")[0]
    if part.interpreter == "blender":
        importlib.import_module(f"{package}.scene.model_file").open_source(settings)
    try:
        work = getattr(importlib.import_module(f"{package}.{module}"), function)
    except ModuleNotFoundError as error:
        raise StageError(
            f"Stage {name} needs the package {error.name}, which this Python lacks; run 'gsd "
            f"check'."
        ) from None
    work(Run(root, iteration), settings, child_emitter(name, iteration))
