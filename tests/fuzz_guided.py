"""Coverage-guided damage, by atheris: inputs that reach new branches are kept and damaged again.

:func:`guided` runs one reader's fuzzer as a child (``python -m tests.fuzz_guided JOB.json``), since
libFuzzer ends its process itself at a crash, a hang or too much memory. Findings that Python sees
(another exception, no sentence, memory, processor time) are written down, and it goes on.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import mmap
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the child imports the package only where atheris sees it
    from .fuzzing import Reader

ROOT = Path(__file__).resolve().parent.parent
RAM = Path("/dev/shm")
READERS = "tests.fuzz_readers:all_readers"

INSTRUMENTED = ("gs_diffusion_addon.core", "gs_diffusion_addon.engine", "tomllib", "PIL")
"""Modules whose branches guide the fuzzer: ours, and the parsers below them that are written in
Python. Without Pillow's own the pictures' fuzzer sees 16 branches, with them more than 1000.
"""

MOST_FINDINGS = 20
LIMITS = ("-timeout=150", "-rss_limit_mb=3072", "-report_slow_units=150", "-mutate_depth=2")
"""Seconds, by the clock, and megabytes at which libFuzzer ends the child; ours come before, and by
the processor's time, so that a machine with much else to do finds no hangs.
"""

_COUNTER = struct.Struct("<QQ")
_OURS = 0.5  # share of inputs damaged with words and numbers of the formats, as bench/fuzz.py does
_STUCK = 30  # times its seconds, and a quarter of an hour, after which a child is stuck
_STATUS = re.compile(r"cov: (\d+) ft: \d+ corp: (\d+)/")


@dataclass
class Guided:
    """What one child did: inputs given and accepted, branches reached, inputs kept in the corpus,
    files of findings with what was found.
    """

    inputs: int = 0
    accepted: int = 0
    branches: int = 0
    kept: int = 0
    findings: list[tuple[str, str]] = field(default_factory=list)


def missing() -> str | None:
    """Why nothing can be guided here, in a sentence; None if it can."""
    if importlib.util.find_spec("atheris") is not None:
        return None
    return (
        "Guided fuzzing needs the package atheris; install it with 'pip install -r "
        "requirements/test-guided.txt' in the worker's environment, or leave out --guided."
    )


def prefix(name: str) -> str:
    """What the files of a reader's findings begin with."""
    return name.replace(" ", "-") + "-"


# --- the parent ---------------------------------------------------------------------------------


def guided(
    reader: Reader,
    state: Path,
    seconds: float,
    source: str = READERS,
    instrumented: Sequence[str] = INSTRUMENTED,
    options: Sequence[str] = (),
) -> Guided:
    """Fuzz ``reader``, one of those that ``source`` (module:function) makes, for ``seconds`` of the
    processor's time.

    The corpus is kept in ``state/corpus``; each finding becomes a file in ``state``. ``options``:
    more of libFuzzer's. A child that is stuck or ends otherwise than it should is a finding.
    """
    corpus, logs = state / "corpus" / prefix(reader.name)[:-1], state / "logs"
    for folder in (corpus, logs):
        folder.mkdir(parents=True, exist_ok=True)
    for k, seed in enumerate(reader.seeds):
        (corpus / f"seed-{k}").write_bytes(seed)
    before, log = _files(state, reader), logs / f"{prefix(reader.name)[:-1]}.log"
    with tempfile.TemporaryDirectory(dir=RAM if RAM.is_dir() else None) as scratch:
        counter, job = Path(scratch) / "counter", Path(scratch) / "job.json"
        crashes = f"-artifact_prefix={state / prefix(reader.name)}"
        fields = {
            "reader": reader.name, "source": source, "scratch": scratch, "state": str(state),
            "counter": str(counter), "instrumented": list(instrumented),
            "seconds": seconds, "options": [*LIMITS, crashes, *options, str(corpus)],
        }  # fmt: skip
        job.write_text(json.dumps(fields), encoding="utf-8")
        code = _run([sys.executable, "-m", __name__, str(job)], log, 900 + _STUCK * seconds)
        given = _COUNTER.unpack(counter.read_bytes()) if counter.is_file() else (0, 0)
    said = log.read_text(encoding="utf-8", errors="replace")
    found = dict(re.findall(r"^FINDING (\S+) (.*)$", said, re.M))
    new = sorted(_files(state, reader) - before)
    findings = [(name, found.get(name, f"ended the process, see {log}")) for name in new]
    if code and not findings:
        findings = [("nothing", f"the fuzzer ended with code {code}, see {log}")]
    branches, kept = ([*_STATUS.findall(said), (0, 0)] if code else _STATUS.findall(said))[-1]
    return Guided(*given, int(branches), int(kept), findings)


def _files(state: Path, reader: Reader) -> set[str]:
    return {p.name for p in state.glob(f"{prefix(reader.name)}*") if p.is_file()}


def _run(command: list[str], log: Path, seconds: float) -> int:
    """Run a child with its output in ``log``; its exit code, -1 where it had to be ended."""
    with open(log, "wb") as file:
        try:
            return subprocess.run(
                command, cwd=ROOT, stdout=file, stderr=file, check=False, timeout=seconds
            ).returncode
        except subprocess.TimeoutExpired:
            return -1


# --- the child ----------------------------------------------------------------------------------


class _Counter:
    """Inputs given and accepted, in a file that outlives the process however it ends."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(_COUNTER.size))
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _COUNTER.size)
        self._inputs = self._accepted = 0

    def add(self, accepted: bool) -> None:
        self._inputs += 1
        self._accepted += accepted
        _COUNTER.pack_into(self._memory, 0, self._inputs, self._accepted)


def kind_of(finding: str) -> str:
    """A finding without its numbers and names, so that one fault is written down once."""
    return re.sub(r"[0-9]+|'[^']*'", "", finding)[:60]


def child(job: Mapping[str, Any]) -> None:
    """Fuzz the reader ``job['reader']``; never returns."""
    import atheris

    warnings.simplefilter("ignore")  # Pillow's, a line for each large picture
    module, _, function = job["source"].partition(":")
    with atheris.instrument_imports(include=job["instrumented"]):
        readers = getattr(importlib.import_module(module), function)()
        from .fuzzing import damaged, trial

    reader = next(r for r in readers if r.name == job["reader"])
    counter, path = _Counter(Path(job["counter"])), Path(job["scratch"]) / "input"
    known: set[str] = set()

    end = time.process_time() + job["seconds"]

    def one(data: bytes) -> None:
        if time.process_time() > end:
            sys.stdout.flush()
            os._exit(0)  # what was reached is in the corpus already
        accepted, finding = trial(reader, data, path)
        counter.add(accepted)
        if finding and kind_of(finding) not in known and len(known) < MOST_FINDINGS:
            known.add(kind_of(finding))
            sha = hashlib.sha1(data, usedforsecurity=False).hexdigest()[:12]
            name = f"{prefix(reader.name)}{sha}"
            (Path(job["state"]) / name).write_bytes(data)
            print(f"FINDING {name} {finding!r}", flush=True)

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < _OURS:
            return damaged(rng, [data], reader.text)[:most]
        return bytes(atheris.Mutate(data, most))

    atheris.Setup([sys.argv[0], *job["options"]], one, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    child(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
