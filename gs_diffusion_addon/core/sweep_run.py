"""Doing a sweep here: its runs one after the other or several at once, each a ``gsd run`` of its
own.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import stale
from .console import duration
from .errors import GsdError, InputError, Interrupted, error_for_exit_code
from .events import Event
from .interpreters import WORKER, running_blender
from .lock import locked
from .process import run_child
from .run import TEMPORARY, Run, read_json, write_json
from .settings import from_json
from .sweep import Job, flags

FORMAT = 1
PROGRAM = "GS Diffusion sweep"
PLAN = "sweep.json"
SHEETS = ("contact-sheet.png", "contact-sheet.html")

Tell = Callable[[Job, Event], None]


@dataclass(frozen=True)
class Failure:
    """A run of a sweep that ended with an error; the others went on."""

    job: Job
    error: GsdError


def prepare(out: Path, jobs: Sequence[Job]) -> None:
    """Make the sweep's folder and write down its runs; refuses a folder with anything else in it.

    Farm workers may do so at the same time: the file is replaced whole.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; choose a folder for --out.")
    plan = {
        "format": FORMAT,
        "program": PROGRAM,
        "runs": [{"name": job.name, "settings": dict(job.settings)} for job in jobs],
    }
    path = out / PLAN
    if path.is_file():
        found = read_json(path)
        if not isinstance(found, dict) or found.get("program") != PROGRAM:
            raise InputError(f"{path} was not written by GS Diffusion; choose another --out.")
        if found == plan:
            return
    elif out.is_dir():
        known = {PLAN, ".lock", "logs", *SHEETS, *(job.name for job in jobs)}
        strangers = sorted(
            p.name for p in out.iterdir() if p.name not in known and TEMPORARY not in p.name
        )
        if strangers:
            raise InputError(
                f"{out} is not empty and holds no sweep (there is {strangers[0]!r} in it); choose "
                f"another --out."
            )
    try:
        write_json(path, plan)
    except OSError as error:
        raise InputError(
            f"{out} cannot be written: {error.strerror}; choose another --out."
        ) from None


def chosen(jobs: Sequence[Job], only: str) -> list[Job]:
    """The run called ``only``; raises InputError with the names that there are."""
    found = [job for job in jobs if job.name == only]
    if not found:
        some = ", ".join(job.name for job in jobs[:5]) + (", …" if len(jobs) > 5 else "")
        raise InputError(f"The sweep has no run {only!r}; it has {some}.")
    return found


def run_all(
    out: Path,
    jobs: Sequence[Job],
    at_once: int,
    more: Sequence[str],
    stop: threading.Event,
    tell: Tell,
) -> list[Failure]:
    """Do the runs, ``at_once`` at a time, with ``more`` arguments each; returns those that failed.

    A finished run is only looked at, a stopped one goes on. Two sweeps never work in one folder,
    nor two processes in one run's. Raises Interrupted when ``stop`` is set.
    """
    failures: list[Failure] = []
    groups = Groups(out, jobs)

    def told(job: Job, event: Event) -> None:
        if event["event"] in ("stage_finished", "stage_skipped") and event["stage"] == "turntable":
            groups.rendered(job)
        tell(job, event)

    def work(job: Job) -> None:
        groups.wait(job, stop)
        if stop.is_set():
            return
        try:
            run_one(out, job, at_once, more, stop, told)
        except Interrupted:
            return
        except GsdError as error:
            tell(job, {"event": "error", "message": str(error), "code": error.exit_code})
            failures.append(Failure(job, error))
        finally:
            groups.rendered(job)

    with locked(out), ThreadPoolExecutor(at_once) as pool:
        begun = [pool.submit(work, job) for job in (groups.ordered(jobs) if at_once > 1 else jobs)]
        try:
            for one in begun:
                # On Windows a main thread that waits without an end hears no Ctrl-C.
                while not one.done():
                    wait([one], timeout=0.2)
                one.result()
        finally:
            for one in begun:
                one.cancel()
    if stop.is_set():
        raise Interrupted("Stopped; the same command goes on from here.")
    return sorted(failures, key=lambda failure: jobs.index(failure.job))


class Groups:
    """Runs that share a turntable: the first of them renders it, the others wait to copy it."""

    def __init__(self, out: Path, jobs: Sequence[Job]) -> None:
        keys = {
            job.name: stale.stage_key("turntable", Run(out / job.name, 0), from_json(job.settings))
            for job in jobs
        }
        self._group = {name: tuple(sorted(key.items())) for name, key in keys.items()}
        self._first = {self._group[job.name]: job.name for job in reversed(jobs)}
        self._done = {group: threading.Event() for group in self._first}

    def ordered(self, jobs: Sequence[Job]) -> list[Job]:
        """The first of every group before all others, so that few have to wait."""
        return sorted(jobs, key=lambda job: not self._leads(job))

    def wait(self, job: Job, stop: threading.Event) -> None:
        """Return when the job's turntable is rendered, or is its own to render, or at ``stop``."""
        done = self._done[self._group[job.name]]
        while not (self._leads(job) or stop.is_set() or done.wait(0.2)):
            pass

    def rendered(self, job: Job) -> None:
        """The turntable of the job's group is there, or its first run has ended without one."""
        if self._leads(job):
            self._done[self._group[job.name]].set()

    def _leads(self, job: Job) -> bool:
        return self._first[self._group[job.name]] == job.name


def run_one(
    out: Path, job: Job, at_once: int, more: Sequence[str], stop: threading.Event, tell: Tell
) -> None:
    """Do one run as a child of this process; raises the error it ended with."""
    given: dict[str, Any] = dict(job.settings)
    if at_once > 1 and not given.get("threads"):
        given["threads"] = max(1, (os.cpu_count() or 1) // at_once)
    root = out / job.name
    command = [sys.executable, str(WORKER), "run", "--out", str(root), "--events", "--with-parent"]
    command += ["--turntable-from", str(out)]
    log = out / "logs" / f"{job.name}.log"
    ended = run_child(
        [*command, *more, *flags(given)],
        log=log,
        on_event=lambda event: tell(job, event),
        stop=stop,
        env=_environment(),
    )
    if ended.code != 0:
        # The child's own last line is its sentence to the user.
        said = next((line[5:] for line in reversed(ended.tail) if line.startswith("gsd: ")), "")
        reason = ended.message or said or f"It ended unexpectedly; the reason stands in {log}."
        raise error_for_exit_code(ended.code, reason)


def _environment() -> dict[str, str]:
    """This process's; a run started from inside Blender renders with that Blender."""
    env = dict(os.environ)
    blender = running_blender()
    if blender:
        env.setdefault("GSD_BLENDER", blender)
    return env


def line(job: Job, event: Event) -> str:
    """What is said of an event of one of many runs; empty for most."""
    iteration = f", iteration {event['iteration']}" if event.get("iteration") else ""
    if event["event"] == "stage_finished":
        return f"{job.name}: {event['stage']}{iteration} done in {duration(event['seconds'])}"
    if event["event"] == "run_finished":
        return f"{job.name}: finished"
    if event["event"] in ("warning", "error"):
        mark = "Note: " if event["event"] == "warning" else ""
        return f"{job.name}: {mark}{event['message']}"
    return ""
