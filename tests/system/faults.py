"""Whole tiny runs that are killed, stopped, starved and damaged, and what must hold afterwards.

A fault is injected into the program as a user starts it; then the same command is given again and
the folder compared with an undisturbed run's. Linux only: processes are found through /proc.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gs_diffusion_addon.core import stages
from gs_diffusion_addon.core.exr import read_exr
from gs_diffusion_addon.core.run import Run, write_json
from tests.processes import LIMIT

from .program import MAKE_SCENE, Done, command, events, gsd, png_facts, png_pixels, repeated

SMALLEST = [
    *("--views", "8", "--rings", "none", "--size", "48", "--samples", "1", "--keys", "4"),
    *("--sides", "2", "--page-size", "128", "--style", "3", "--stylizer", "preview"),
    *("--propagator", "reproject", "--trainer", "builtin", "--train-steps", "20"),
    *("--splats", "200", "--max-splats", "250", "--checkpoint-seconds", "5", "--seed", "7"),
    *("--priority", "normal"),
]

MODES = ("tree", "parent", "child", "interrupt")
"""Who is killed: everything at once, the supervisor alone, one child alone; and, for comparison, a
polite Ctrl-C."""

TIMES = (
    *("run.json", "events.jsonl", "report.html", "result.blend", ".lock"),
    *("metrics.json", "metrics-history.json", "files.json"),
)
"""Files with times or names in them: not compared byte by byte."""


@dataclass(frozen=True)
class Reference:
    """A finished, undisturbed run: its folder, its model file and its contents."""

    root: Path
    scene: Path
    contents: dict[str, str]

    def arguments(self, root: Path) -> list[str]:
        """The command that makes the same run in ``root``."""
        given = ["--blend", str(self.scene), "--out", str(root), "--prompt", "a bronze bust"]
        return ["run", *given, *SMALLEST]

    def seconds(self, stage: str) -> float:
        """How long a stage took undisturbed."""
        manifest = json.loads((self.root / "run.json").read_text(encoding="utf-8"))
        return float(manifest["stages"][record(stage)]["seconds"])


def record(stage: str) -> str:
    """A stage's name in run.json of a run of one iteration."""
    return stages.record_name(stage, 0 if stage == "turntable" else 1)


def reference(folder: Path) -> Reference:
    """Make the undisturbed run in ``folder``, or take the one a former call made there."""
    folder.mkdir(parents=True, exist_ok=True)
    scene, root = folder / "model.blend", folder / "undisturbed"
    if not scene.exists():
        subprocess.run(
            [sys.executable, "-c", MAKE_SCENE, str(scene)], check=True, capture_output=True
        )
    made = Reference(root, scene, {})
    done = gsd(*made.arguments(root), timeout=900)
    if done.code:
        raise AssertionError(f"the undisturbed run failed: {done.err}")
    return Reference(root, scene, contents(root))


def begin(made: Reference, stage: str, root: Path) -> Path:
    """A run folder in which everything before ``stage`` is done: a copy of the undisturbed run."""
    if stage == stages.NAMES[0]:
        return root
    shutil.copytree(made.root, root)
    manifest = json.loads((root / "run.json").read_text(encoding="utf-8"))
    run = Run(root)
    for name in stages.NAMES[stages.NAMES.index(stage) :]:
        manifest["stages"].pop(record(name), None)
        for path in stages.BY_NAME[name].outputs(run):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    run.report.unlink(missing_ok=True)
    for path in (run.events, root / ".lock"):
        path.unlink(missing_ok=True)
    write_json(root / "run.json", manifest)
    return root


# --- processes ----------------------------------------------------------------------------------


def processes_of(root: Path) -> list[int]:
    """Ids of all processes whose command line names ``root``, zombies left out."""
    name, found = os.fsencode(str(root)), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if name in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def strike(mode: str, supervisor: int, root: Path, rng: random.Random) -> None:
    """Send the signals of ``mode``."""
    if mode == "interrupt":
        os.kill(supervisor, signal.SIGINT)
        return
    children = [pid for pid in processes_of(root) if pid != supervisor]
    if mode == "child" and not children:  # between two stages
        mode = "parent"
    targets = {
        "tree": [supervisor, *children],
        "parent": [supervisor],
        "child": [rng.choice(children)] if children else [],
    }[mode]
    for pid in targets:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def orphans(root: Path, patience: float = LIMIT) -> list[int]:
    """Processes that still work for ``root`` after ``patience`` seconds."""
    end = time.monotonic() + patience
    while (left := processes_of(root)) and time.monotonic() < end:
        time.sleep(0.02)
    return left


# --- what must hold -----------------------------------------------------------------------------


@contextlib.contextmanager
def manifest_watched(root: Path) -> Iterator[list[str]]:
    """Reads run.json all the time; the list holds whatever could not be read."""
    faults: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.03):
            try:
                json.loads((root / "run.json").read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue
            except ValueError as error:
                faults.append(f"run.json was not readable: {error}")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield faults
    finally:
        over.set()
        thread.join()


def contents(root: Path) -> dict[str, str]:
    """A digest of each result in a run folder, of what it shows and not of the times in it."""
    out = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root).as_posix()
        if name.startswith(("logs/", "checkpoints/", "superseded/")):
            continue
        out[name] = "" if path.name in TIMES else _digest(path)
    out["metrics"] = json.dumps(_measures(root), sort_keys=True)
    return out


def _digest(path: Path) -> str:
    if path.suffix == ".png":
        raw = repr(png_facts(path)).encode() + png_pixels(path)
    elif path.suffix == ".exr":
        raw = b"".join(n.encode() + v.tobytes() for n, v in sorted(read_exr(path).items()))
    else:
        raw = path.read_bytes()
    return hashlib.blake2b(raw, digest_size=12).hexdigest()


def _measures(root: Path) -> object:
    """The figures of all metrics files without what the clock has a part in."""

    def timeless(value: object) -> object:
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if k not in ("seconds", "incidents")}
        return [timeless(v) for v in value] if isinstance(value, list) else value

    files = sorted([*root.glob("iter*/metrics.json"), *root.glob("metrics-history.json")])
    return [timeless(json.loads(p.read_text(encoding="utf-8"))) for p in files]


def differences(made: Reference, root: Path) -> list[str]:
    """Sentences about every result that is not the undisturbed run's."""
    found = contents(root)
    out = [f"{name} is missing" for name in made.contents if name not in found]
    out += [f"{name} is one too many" for name in found if name not in made.contents]
    out += [f"{n} differs" for n, was in made.contents.items() if n in found and found[n] != was]
    return out


def pictures(root: Path) -> dict[Path, tuple[int, int]]:
    """The finished pictures and geometry passes of a folder: what must never be made again."""
    found = [p for p in root.rglob("r_*") if p.suffix in (".png", ".exr")]
    found += [*root.glob("iter*/keys/*.png"), *root.glob("iter*/renders/*.png")]
    kept = [p for p in found if ".gsd-tmp" not in p.name and "superseded" not in p.parts]
    return {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in kept}


def finish(made: Reference, root: Path, before: dict[Path, tuple[int, int]]) -> list[str]:
    """Give the same command again; returns everything that is not as it should be."""
    done = gsd(*made.arguments(root), timeout=900)
    out = [] if done.code == 0 else [f"the same command ended with {done.code}: {done.err[-400:]}"]
    out += differences(made, root)
    after = pictures(root)
    out += [f"{p.name} was made again" for p, stamp in before.items() if after.get(p) != stamp]
    out += [f"{key} was reported done {n} times" for key, n in repeated(root).items()]
    out += [f"{p.name} is left over" for p in root.rglob(".gsd-tmp-*")]
    out += [f"process {pid} is left over" for pid in orphans(root)]
    return out


# --- seeded kills -------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What one seed did: the stage and mode of each kill that hit, and what was wrong."""

    seed: int
    kills: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def seeded(made: Reference, seed: int, folder: Path) -> Outcome:
    """One run, killed once or more at times drawn from ``seed``, then finished and compared.

    It starts at a stage drawn from the seed, with the undisturbed run's results of the stages
    before it.
    """
    rng, out = random.Random(seed), Outcome(seed)
    first = stages.NAMES[seed % len(stages.NAMES)]
    root = begin(made, first, folder / f"seed{seed}")
    with manifest_watched(root) as unreadable:
        for number in range(rng.choice((1, 1, 1, 2, 3))):
            # The last kill of a series may come in any later stage; the first hits its own.
            later = stages.NAMES[stages.NAMES.index(first) :]
            stage = first if number == 0 else rng.choice(later)
            mode = rng.choices(MODES, weights=(5, 3, 3, 1))[0]
            before = pictures(root)
            if kill(made, root, stage, mode, rng):
                out.kills.append(f"{stage}:{mode}")
            out.faults += [f"process {pid} outlived a {mode} kill" for pid in orphans(root)]
            after = pictures(root)
            out.faults += [f"{p} was made again" for p, s in before.items() if after.get(p) != s]
        out.faults += finish(made, root, pictures(root))
    out.faults += unreadable
    if not out.faults:
        shutil.rmtree(root)
    return out


def kill(made: Reference, root: Path, stage: str, mode: str, rng: random.Random) -> bool:
    """Run until a random moment of ``stage``, then strike; whether there was something to strike.

    The moment is a share of the stage's undisturbed time, or its end on a machine that is faster.
    """
    delay = rng.uniform(0.02, 0.98) * made.seconds(stage)
    child = subprocess.Popen(
        command(*made.arguments(root)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait(child, root, "stage_started", stage, 600)
        _wait(child, root, "stage_finished", stage, delay)
        alive = child.poll() is None
        if alive:
            strike(mode, child.pid, root, rng)
        child.wait(timeout=900)
    finally:
        child.kill()
        child.wait()
    return alive


def _wait(child: subprocess.Popen, root: Path, kind: str, stage: str, seconds: float) -> None:
    """Until the event stream holds ``kind`` of ``stage``, the child ends or time is over."""
    end = time.monotonic() + seconds
    while child.poll() is None and time.monotonic() < end:
        if (root / "events.jsonl").exists() and any(
            e.get("stage") == stage and e["event"] in (kind, "stage_skipped") for e in events(root)
        ):
            return
        time.sleep(0.02)


def one_sentence(done: Done, *words: str) -> list[str]:
    """What is wrong with how a command failed: a traceback, no sentence, or a word missing."""
    lines = [line for line in done.err.splitlines() if line.startswith("gsd: ")]
    out = [] if done.code in (2, 3, 4, 5) else [f"it ended with {done.code}"]
    out += ["it showed a traceback"] if "Traceback" in done.out + done.err else []
    if len(lines) != 1:
        return [*out, f"it said {lines} and {done.err[-300:]!r}"]
    return out + [f"its sentence lacks {w!r}: {lines[0]}" for w in words if w not in lines[0]]
