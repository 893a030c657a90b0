"""``gsd sweep``, ``gsd sheet`` and ``gsd video``: many runs, and what is made of finished ones."""

from __future__ import annotations

import argparse
import importlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from . import openjd, sweep_run
from .console import Console
from .errors import EXIT_DONE, InputError, error_for_exit_code
from .events import Event, child_emitter
from .interpreters import worker_command
from .process import child_environment, run_child, stop_on_signals
from .run import read_manifest, run_settings, write_json
from .settings import Settings, from_json
from .sweep import Job, read_sweep

Say = Callable[[Event], None]


def sweep(parsed: argparse.Namespace, print_event: Say) -> int:
    """Do ``gsd sweep``; returns the exit code, that of the first run that failed if one did."""
    jobs = read_sweep(parsed.file)
    out = parsed.out.expanduser().resolve()
    if parsed.list:
        print("\n".join(job.name for job in jobs))
        return EXIT_DONE
    if parsed.openjd is not None:
        path = parsed.openjd.expanduser().resolve()
        write_json(
            path, openjd.template(jobs, parsed.file.resolve(), out, path.parent, parsed.until)
        )
        print(path)
        return EXIT_DONE
    if parsed.jobs < 1:
        raise InputError("--jobs must be 1 or more.")
    stop = threading.Event()
    stop_on_signals(stop)
    tell = _teller(print_event if parsed.events else None)
    more = ["--until", parsed.until, *(["--redo"] if parsed.redo else [])]
    sweep_run.prepare(out, jobs)
    if parsed.only:
        (job,) = sweep_run.chosen(jobs, parsed.only)
        sweep_run.run_one(out, job, 1, more, stop, tell)
        print(out / job.name)
        return EXIT_DONE
    failures = sweep_run.run_all(out, jobs, parsed.jobs, more, stop, tell)
    in_worker("sheet", out, ["--out", str(out)], _machine(parsed))
    print(f"{len(jobs) - len(failures)} of {len(jobs)} runs are finished.", file=sys.stderr)
    for name in sweep_run.SHEETS:
        print(out / name)
    for failure in failures:
        print(f"gsd: {failure.job.name}: {failure.error}", file=sys.stderr)
    return failures[0].error.exit_code if failures else EXIT_DONE


def _teller(print_event: Say | None) -> sweep_run.Tell:
    lock = threading.Lock()

    def tell(job: Job, event: Event) -> None:
        text = sweep_run.line(job, event)
        with lock:
            if print_event is not None:
                print_event({**event, "run": job.name})
            elif text:
                print(text, file=sys.stderr, flush=True)

    return tell


def sheet(parsed: argparse.Namespace, _print_event: Say) -> int:
    """Do ``gsd sheet``."""
    out = parsed.out.expanduser().resolve()
    if not out.is_dir():
        raise InputError(f"The folder {out} does not exist; name the folder of the runs.")
    in_worker("sheet", out, ["--out", str(out)], _machine(parsed))
    for name in sweep_run.SHEETS:
        print(out / name)
    return EXIT_DONE


def video(parsed: argparse.Namespace, _print_event: Say) -> int:
    """Do ``gsd video``; prints the file."""
    out = parsed.out.expanduser().resolve()
    settings = run_settings(read_manifest(out))
    iteration = parsed.iteration or last_rendered(out, settings.iterations)
    arguments = ["--out", str(out), "--kind", parsed.kind, "--iteration", str(iteration)]
    made = in_worker("video", out, [*arguments, "--width", str(parsed.width)], _machine(parsed))
    for path in made:
        print(out / path)
    return EXIT_DONE


def last_rendered(root: Path, most: int) -> int:
    """The last iteration with renders of its splat; raises InputError if there is none."""
    for k in range(most, 0, -1):
        if any((root / f"iter{k}" / "renders").glob("*.png")):
            return k
    raise InputError(f"{root} has no renders of a splat yet; run it first.")


def part(parsed: argparse.Namespace) -> None:
    """What the worker's child does: the command ``parsed`` itself, in this process."""
    name = parsed.command
    package = __package__.rpartition(".")[0]
    emit = child_emitter(name, 0)
    if name == "sheet":
        importlib.import_module(f"{package}.engine.contact_sheet").make(parsed.out, emit)
        return
    videos = importlib.import_module(f"{package}.engine.videos")
    path = videos.make(parsed.out, parsed.iteration, parsed.kind, parsed.width)
    emit("frame_done", frame=0, path=path.relative_to(parsed.out).as_posix())


def in_worker(name: str, out: Path, arguments: list[str], settings: Settings) -> list[str]:
    """Run the command's part in the worker's environment; returns the paths it made, relative."""
    stop, console, made = threading.Event(), Console(), []
    stop_on_signals(stop, console)

    def on_event(event: Event) -> None:
        if event["event"] == "frame_done":
            made.append(str(event["path"]))
        else:
            console(event)

    log = out / "logs" / f"{name}.log"
    ended = run_child(
        [*worker_command(settings), name, *arguments, "--part", "0"],
        log=log,
        on_event=on_event,
        stop=stop,
        env=child_environment(settings.threads),
    )
    if ended.code != 0:
        sentence = ended.message or f"It ended unexpectedly; the reason stands in {log}."
        raise error_for_exit_code(ended.code, sentence)
    return made


def _machine(parsed: argparse.Namespace) -> Settings:
    named = getattr(parsed, "worker_python", "")
    return from_json({"worker_python": named} if named else {})
