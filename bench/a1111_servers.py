"""Wall time of 8 pages on one server and on two, and on two of which one dies midway.

    .venv-worker/bin/python bench/a1111_servers.py [SECONDS]

Test servers on the loopback that take SECONDS (2) a page; the last line is one JSON object. Of the
dying server, the page in work is given back, and every page must arrive exactly once.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gs_diffusion_addon.engine.stylize import run_stage
from tests.engine.stylize_helpers import Recorder, make_turntable, small
from tests.servers.a1111_server import A1111Server

PAGES = 8
MOST = 0.6  # of one server's wall time


def measure(plans: list[list[str]], seconds: float) -> dict[str, Any]:
    """One pass of the stylize stage over as many servers as there are fault plans."""
    servers = [A1111Server(plan, seconds_per_page=seconds).start() for plan in plans]
    settings = small(
        stylizer="a1111", server=",".join(s.address for s in servers), sides=1, page_size=64,
        views=PAGES, keys=PAGES, rings="none",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = make_turntable(Path(folder), settings)
        began = time.monotonic()
        run_stage(run, settings, Recorder())
        wall = time.monotonic() - began
        keys = len(list(run.keys.iterdir()))
    delivered = [page for server in servers for page in server.delivered]
    for server in servers:
        server.stop()
    once = len(delivered) == len(set(delivered)) == keys == PAGES
    return {
        "wall_seconds": round(wall, 2),
        "pages_by_server": [len(s.delivered) for s in servers],
        "each_page_once": once,
    }


def main() -> int:
    """Print the table and the figures; returns 1 if a promise does not hold."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    figures = {
        "one": measure([[]], seconds),
        "two": measure([[], []], seconds),
        "two_one_dies": measure([[], ["ok", "ok", "die"]], seconds),
    }
    for name, found in figures.items():
        print(f"{name:14} {found['wall_seconds']:7.2f} s  pages {found['pages_by_server']}")
    ratio = figures["two"]["wall_seconds"] / figures["one"]["wall_seconds"]
    print(f"two / one      {ratio:7.3f}    (at most {MOST})")
    print(
        json.dumps({"pages": PAGES, "seconds_a_page": seconds, "ratio": round(ratio, 3)} | figures)
    )
    return 0 if ratio <= MOST and all(f["each_page_once"] for f in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
