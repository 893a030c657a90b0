"""Damaged input for every reader, a million in all, accumulated over calls; prints a table.

    .venv-worker/bin/python bench/fuzz.py [--count N] [--minutes M] [--reader NAME] [--state FOLDER]
    .venv-worker/bin/python bench/fuzz.py --guided [--minutes M] [--reader NAME] [--state FOLDER]
    .venv-worker/bin/python bench/fuzz.py --again FILE

Each call goes on with seeds not tried before (remembered in FOLDER, .cache/fuzz) and gives N inputs
(20000) to each reader; findings are written there, to become tests. --guided shares M minutes (5)
of the processor among the readers and looks for inputs that reach new branches (atheris), from
those that earlier calls found. --again gives a finding's file to its reader once more. The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gs_diffusion_addon.core.errors import EXIT_INPUT, EXIT_MISSING
from gs_diffusion_addon.core.run import write_json
from tests.fuzz_guided import RAM, guided, missing, prefix
from tests.fuzz_readers import all_readers
from tests.fuzzing import Reader, campaign, trial

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Do a round; returns 1 if there was a finding."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000, help="inputs for each reader")
    parser.add_argument("--reader", help="only readers whose name holds this")
    parser.add_argument("--minutes", type=float, default=0, help="more rounds until this")
    parser.add_argument("--state", type=Path, default=ROOT / ".cache" / "fuzz")
    parser.add_argument("--guided", action="store_true", help="guided by coverage (atheris)")
    parser.add_argument("--again", type=Path, metavar="FILE", help="a finding, once more")
    given = parser.parse_args()
    if given.again:
        return again(given.again)
    sentence = missing() if given.guided else None
    if sentence:
        print(f"fuzz: {sentence}", file=sys.stderr)
        return EXIT_MISSING
    state = given.state.resolve()
    state.mkdir(parents=True, exist_ok=True)
    ledger = state / "inputs.json"
    totals = json.loads(ledger.read_text(encoding="utf-8")) if ledger.exists() else {}
    end = time.monotonic() + 60 * given.minutes
    readers = [r for r in all_readers() if not given.reader or given.reader in r.name]
    if not readers:
        print(f"fuzz: no reader's name holds {given.reader!r}.", file=sys.stderr)
        return EXIT_INPUT
    share = 60 * (given.minutes or 5) / len(readers)
    found = 0
    while True:
        for reader in readers:
            total = totals.setdefault(reader.name, {"rounds": 0, "inputs": 0, "accepted": 0})
            if given.guided:
                found += guided_round(reader, total, share, state)
            else:
                found += round_of(reader, total, given.count, state)
            write_json(ledger, totals)
        if given.guided or time.monotonic() > end:
            break
    print(json.dumps({**figures(totals), "findings_now": found}))
    return 1 if found else 0


def figures(totals: dict[str, dict[str, int]]) -> dict[str, object]:
    """All that was ever given, by the kind of damage and by reader."""
    return {
        "inputs": sum(t["inputs"] for t in totals.values()),
        "guided": sum(t.get("guided", 0) for t in totals.values()),
        "by_reader": {n: t["inputs"] for n, t in totals.items()},
        "guided_by_reader": {n: t.get("guided", 0) for n, t in totals.items()},
    }


def again(file: Path) -> int:
    """Give a finding's file to the reader its name begins with; 1 if it is still one."""
    fitting = [r for r in all_readers() if file.name.startswith(prefix(r.name))]
    if not fitting or not file.is_file():
        print(f"fuzz: {file} is no file that begins with a reader's name.", file=sys.stderr)
        return EXIT_INPUT
    with tempfile.TemporaryDirectory() as folder:
        accepted, finding = trial(fitting[0], file.read_bytes(), Path(folder) / "input")
    print(finding or ("It is read." if accepted else "It is refused with a sentence."))
    return 1 if finding else 0


def guided_round(reader: Reader, total: dict[str, int], seconds: float, state: Path) -> int:
    """One guided fuzzer, its inputs added to ``total`` apart; the number of findings."""
    done = guided(reader, state, seconds)
    for name, number in (("guided", done.inputs), ("guided_accepted", done.accepted)):
        total[name] = total.get(name, 0) + number
    print(
        f"{reader.name:20} {done.inputs:8} guided now, {total['guided']:9} in all, "
        f"{done.accepted / max(done.inputs, 1):4.0%} accepted, {done.branches:5} branches, "
        f"{done.kept:4} kept, {len(done.findings)} findings",
        flush=True,
    )
    for name, finding in done.findings:
        print(f"    {name}: {finding}")
        if (state / name).is_file():
            print(f"    once more: .venv-worker/bin/python bench/fuzz.py --again '{state / name}'")
    return len(done.findings)


def round_of(reader: Reader, total: dict[str, int], count: int, state: Path) -> int:
    """One campaign against a reader, added to its ``total``; the number of findings."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=RAM if RAM.is_dir() else None) as folder:
        tally = campaign(reader, Path(folder), total["rounds"], count)
    total["rounds"] += 1
    total["inputs"] += tally.inputs
    total["accepted"] += tally.accepted
    rate = tally.inputs / max(time.monotonic() - begun, 1e-9)
    print(
        f"{reader.name:20} {tally.inputs:8} now, {total['inputs']:9} in all, "
        f"{tally.accepted / max(tally.inputs, 1):4.0%} accepted, {rate:7.0f}/s, "
        f"{len(tally.findings)} findings",
        flush=True,
    )
    for data, finding in tally.findings:
        name = hashlib.sha1(data, usedforsecurity=False).hexdigest()[:12]
        (state / f"{prefix(reader.name)}{name}").write_bytes(data)
        print(f"    {name}: {finding}")
    return len(tally.findings)


if __name__ == "__main__":
    sys.exit(main())
