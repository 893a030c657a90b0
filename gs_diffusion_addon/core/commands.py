"""The commands behind every door: run, stage, try, status, check, splat, sweep and others.

Thin: they parse, call and print.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import (
    arguments,
    check,
    folder,
    loop,
    pipeline,
    preflight,
    splat_commands,
    sweep_commands,
    upstream_options,
)
from .console import Console, duration
from .errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_MISSING,
    EXIT_STAGE,
    GsdError,
    InputError,
    memory_error,
    out_of_memory,
    system_error,
)
from .events import RECORD, Event, child_emitter, encode
from .process import end_with_parent, stop_on_signals
from .run import Run, read_manifest, run_settings
from .settings import from_json, to_json


def main(argv: Sequence[str]) -> int:
    """Do the command ``argv``; returns the exit code. Users see sentences, never a traceback."""
    if argv and argv[0] == splat_commands.CHILD:
        log = Path(argv[1]).with_suffix(".log")
        return _child("splat", 0, lambda: splat_commands.child(argv[1:]), str(log))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a path that Windows' code page lacks ends no command
            stream.reconfigure(errors="backslashreplace")
    try:
        parsed = arguments.parse(upstream_options.normalized(list(argv)))
        command: Callable[[argparse.Namespace], int] = COMMANDS[parsed.command]
        return command(parsed)
    except GsdError as error:
        print(f"gsd: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return EXIT_DONE
    except KeyboardInterrupt:  # Ctrl-C in a command that starts nothing, such as check
        print("gsd: Stopped.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (OSError, MemoryError) as error:
        print(f"gsd: {system_error(error)}", file=sys.stderr)
        return system_error(error).exit_code


def _run(parsed: argparse.Namespace) -> int:
    if parsed.with_parent:
        end_with_parent()
    given = arguments.given_settings(parsed)
    meant, sentences = upstream_options.translate(parsed, given)
    given = {**meant, **given}
    for sentence in sentences:
        print(f"Note: {sentence}", file=sys.stderr)
    if not {"blend", "model", "main_folder"} & set(given):
        given.update(_open_scene(parsed.out))
    supervisor = _supervisor(parsed)
    if parsed.turntable_from is not None:
        supervisor.lenders = _lenders(parsed.turntable_from.expanduser().resolve())
    if parsed.end is not None:
        given["iterations"] = parsed.end
    supervisor.run(given, parsed.until, parsed.start)
    run = Run(supervisor.root)
    settings = run_settings(read_manifest(supervisor.root))
    run = run.at(loop.last_iteration(run.root, settings))
    for path in (run.report, run.splat, run.video, run.result):
        if path.exists():
            print(path)
    return EXIT_DONE


def _lenders(path: Path) -> Path:
    if not path.is_dir():
        raise InputError(
            f"The folder {path} of --turntable-from does not exist; name a run or a folder of runs."
        )
    return path


def _open_scene(out: Path) -> dict[str, str]:
    """``blender -b FILE.blend -P worker.py -- run``: the file that Blender has open is the
    model.
    """
    bpy: Any = sys.modules.get("bpy")
    opened = bpy.data.filepath if bpy is not None else ""
    return {"blend": opened} if opened and not (out / "run.json").exists() else {}


def _stage(parsed: argparse.Namespace) -> int:
    if parsed.part is not None:
        return _child(
            parsed.name,
            parsed.iteration,
            lambda: pipeline.run_part(parsed.out, parsed.name, parsed.iteration, parsed.part),
        )
    _supervisor(parsed).one_stage(parsed.name, parsed.iteration, arguments.given_settings(parsed))
    return EXIT_DONE


def _supervisor(parsed: argparse.Namespace) -> pipeline.Supervisor:
    stop = threading.Event()
    stop_on_signals(stop)
    sink = print_event if parsed.events else Console()
    return pipeline.Supervisor(parsed.out.expanduser().resolve(), sink, stop, parsed.redo)


def print_event(event: Event) -> None:
    """One event on standard output, framed so that it stands out from what Blender prints there."""
    os.write(1, f"\n{RECORD}{encode(event)}\n".encode())


def _child(stage: str, iteration: int, work: Callable[[], None], log: str = "") -> int:
    """Do ``work`` as a supervisor's child: errors become events, defects go to the log with a
    traceback. ``log``: where that is, if not in a run's folder.
    """
    end_with_parent()
    emit = child_emitter(stage, iteration)
    try:
        work()
    except GsdError as error:
        tail = {"tail": list(error.tail)} if error.tail else {}
        emit("error", message=str(error), code=error.exit_code, **tail)
        return error.exit_code
    except (OSError, MemoryError) as error:
        traceback.print_exc()
        emit("error", message=str(system_error(error)), code=system_error(error).exit_code)
        return system_error(error).exit_code
    except Exception as error:  # noqa: BLE001 — the last line of defense of a process
        traceback.print_exc()
        if memory_error(error):
            emit("error", message=str(out_of_memory()), code=EXIT_STAGE)
            return EXIT_STAGE
        emit(
            "error",
            message=f"Stage {stage} failed ({type(error).__name__}: {error}); the details stand "
            f"in {log or f'logs/{iteration}-{stage}.log of the run folder'}.",
            code=EXIT_STAGE,
        )
        return EXIT_STAGE
    return EXIT_DONE


def _try(parsed: argparse.Namespace) -> int:
    from . import attempt

    if parsed.part is not None:
        return _child("try", 0, lambda: attempt.run_part(parsed.job, parsed.part))
    stop = threading.Event()
    sink = print_event if parsed.events else Console()
    stop_on_signals(stop, sink)
    picture = attempt.run(
        parsed.out.expanduser().resolve(),
        arguments.given_settings(parsed),
        view=parsed.view,
        page=parsed.page,
        sink=sink,
        stop=stop,
    )
    print(picture)
    return EXIT_DONE


def _reroll(parsed: argparse.Namespace) -> int:
    from . import reroll

    root, seed = parsed.out.expanduser().resolve(), parsed.seed
    if parsed.part is not None:
        return _child(
            "stylize",
            parsed.iteration,
            lambda: reroll.run_part(root, parsed.key, parsed.iteration, seed),
        )
    seed = random.randrange(2**31) if seed < 0 else seed
    stop = threading.Event()
    sink = print_event if parsed.events else Console()
    stop_on_signals(stop, sink)
    print(reroll.run(root, parsed.key, parsed.iteration, seed, sink, stop))
    return EXIT_DONE


def _environment(parsed: argparse.Namespace) -> int:
    from . import environment

    def say(sentence: str) -> None:
        print_event({"event": "phase", "message": sentence})

    folder = parsed.folder.expanduser().resolve()
    if parsed.action == "create":
        steps = [environment.exactly(environment.REQUIREMENTS)]
        print(environment.ensure(folder, steps, say, torch=True))
    else:
        environment.remove(folder)
    return EXIT_DONE


def _status(parsed: argparse.Namespace) -> int:
    states = folder.status(parsed.out)
    if parsed.json:
        print(json.dumps([vars(s) for s in states], indent=1))
        return EXIT_DONE
    for s in states:
        seconds = "" if s.seconds is None else duration(s.seconds)
        name = s.stage if s.stage == "turntable" else f"{s.stage} {s.iteration}"
        print(f"{name:14} {s.state:10} {seconds:>8}")
    return EXIT_DONE


def _check(parsed: argparse.Namespace) -> int:
    if parsed.part is not None:
        return _child("check", 0, lambda: preflight.run_part(parsed.job))
    stop = threading.Event()
    stop_on_signals(stop)
    root = parsed.out.expanduser().resolve() if parsed.out else None
    given = arguments.given_settings(parsed)
    if root is not None and (root / "run.json").exists():
        given = {**to_json(run_settings(read_manifest(root))), **given}
    settings = from_json(given)
    findings = [*check.everything(settings), *preflight.findings(settings, root, stop)]
    if parsed.json:
        print(json.dumps([vars(f) for f in findings], indent=1))
    else:
        for f in findings:
            mark = "ok     " if f.ok else "MISSING" if f.required else "-      "
            print(f"{mark} {f.name}: {f.detail}" + (f" — {f.todo}" if f.todo else ""))
    lacking = any(f.required and not f.ok for f in findings)
    return EXIT_MISSING if lacking else EXIT_DONE


def _splat(parsed: argparse.Namespace) -> int:
    return splat_commands.command(parsed, arguments.given_settings(parsed))


def _many(parsed: argparse.Namespace) -> int:
    if getattr(parsed, "part", None) is not None:
        return _child(parsed.command, 0, lambda: sweep_commands.part(parsed))
    work = {
        "sweep": sweep_commands.sweep,
        "sheet": sweep_commands.sheet,
        "video": sweep_commands.video,
    }
    return work[parsed.command](parsed, print_event)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "stage": _stage,
    "try": _try,
    "reroll": _reroll,
    "status": _status,
    "check": _check,
    "splat": _splat,
    "environment": _environment,
    "sweep": _many,
    "sheet": _many,
    "video": _many,
}
