"""Damaged input for every reader, a million in all, accumulated over calls; prints a table.

    .venv-worker/bin/python bench/fuzz.py [--count N] [--minutes M] [--reader NAME] [--state FOLDER]

Each call goes on with seeds not tried before (remembered in FOLDER, .cache/fuzz) and gives N inputs
(20000) to each reader; findings are written there, to become tests. The last line is one JSON
object.
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

from gs_diffusion_addon.core.run import write_json
from tests.fuzz_readers import all_readers
from tests.fuzzing import Reader, campaign

ROOT = Path(__file__).resolve().parent.parent
RAM = Path("/dev/shm")


def main() -> int:
    """Do a round; returns 1 if there was a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="inputs for each reader")
    parser.add_argument("--reader", help="only readers whose name holds this")
    parser.add_argument("--minutes", type=float, default=0, help="more rounds until this")
    parser.add_argument("--state", type=Path, default=ROOT / ".cache" / "fuzz")
    given = parser.parse_args()
    given.state.mkdir(parents=True, exist_ok=True)
    ledger = given.state / "inputs.json"
    totals = json.loads(ledger.read_text(encoding="utf-8")) if ledger.exists() else {}
    end = time.monotonic() + 60 * given.minutes
    readers = [r for r in all_readers() if not given.reader or given.reader in r.name]
    found = 0
    while True:
        for reader in readers:
            total = totals.setdefault(reader.name, {"rounds": 0, "inputs": 0, "accepted": 0})
            found += round_of(reader, total, given.count, given.state)
            write_json(ledger, totals)
        if time.monotonic() > end:
            break
    figures = {"inputs": sum(t["inputs"] for t in totals.values()), "findings_now": found}
    print(json.dumps({**figures, "by_reader": {n: t["inputs"] for n, t in totals.items()}}))
    return 1 if found else 0


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
        (state / f"{reader.name.replace(' ', '-')}-{name}").write_bytes(data)
        print(f"    {name}: {finding}")
    return len(tally.findings)


if __name__ == "__main__":
    sys.exit(main())
