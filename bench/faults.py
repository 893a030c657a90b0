"""Seeded kills of tiny whole runs over all stages, accumulated over calls (Blender's Python).

    .venv/bin/python bench/faults.py [--count N] [--minutes M] [--jobs J] [--state FOLDER]

Each seed is one run that is killed one to three times and then finished by the same command; it has
to equal an undisturbed run. Seeds done are remembered in FOLDER (.cache/faults). The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gs_diffusion_addon.core.run import write_json
from tests.processes import heed_signals
from tests.system.faults import Outcome, reference, seeded

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Do seeds that are not done yet; print the table of all; 1 if any run was not as it should."""
    heed_signals()  # one of the kills is a Ctrl-C
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10, help="new seeds to do in this call")
    parser.add_argument("--minutes", type=float, default=30, help="begin no seed after this time")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--state", type=Path, default=ROOT / ".cache" / "faults")
    given = parser.parse_args()
    ledger = given.state / "seeds.json"
    done = json.loads(ledger.read_text(encoding="utf-8")) if ledger.exists() else {}
    made = reference(given.state)
    end = time.monotonic() + 60 * given.minutes
    new = itertools.islice((s for s in itertools.count() if str(s) not in done), given.count)

    def work(seed: int) -> Outcome | None:
        if time.monotonic() > end:
            return None
        try:
            return seeded(made, seed, given.state)
        except Exception as error:  # noqa: BLE001 — a seed that cannot be judged counts as a fault
            return Outcome(seed, faults=[f"{type(error).__name__}: {error}"])

    with ThreadPoolExecutor(given.jobs) as pool:
        for job in as_completed([pool.submit(work, seed) for seed in list(new)]):
            outcome = job.result()
            if outcome is None:
                continue
            done[str(outcome.seed)] = asdict(outcome)
            write_json(ledger, done)
            result = outcome.faults or "equal"
            print(f"seed {outcome.seed:4}: {' '.join(outcome.kills)} {result}", flush=True)
    kills = [k for o in done.values() for k in o["kills"]]
    faults = [f"seed {s}: {f}" for s, o in done.items() for f in o["faults"]]
    for stage, count in sorted(Counter(k.partition(":")[0] for k in kills).items()):
        print(f"{stage:12} {count:4} kills")
    print("\n".join(faults))
    figures = {
        "runs": len(done),
        "kills": len(kills),
        "by_mode": dict(Counter(k.partition(":")[2] for k in kills)),
        "runs_not_equal": sum(bool(o["faults"]) for o in done.values()),
    }
    print(json.dumps(figures))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
