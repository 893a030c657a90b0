"""The options of ``gsd sweep``, ``gsd sheet`` and ``gsd video``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

VIDEO_KINDS = ("side-by-side", "ping-pong", "gif", "webp")

AddSetting = Callable[[Any, str], None]


def add_sweep(commands: Any, until: tuple[str, ...], add: AddSetting) -> None:
    """Add the three commands; ``add(parser, name)`` adds a setting's option."""
    sweep = commands.add_parser(
        "sweep", help="many runs over prompts, seeds, models and settings of one file"
    )
    sweep.add_argument("file", type=Path, help="the sweep file, TOML or JSON (docs/farm.md)")
    _out(sweep, "folder of all runs")
    sweep.add_argument("--jobs", type=int, default=1, help="runs at once (default: 1)")
    sweep.add_argument(
        "--only", metavar="NAME", help="do this one run alone, as a farm's task does"
    )
    sweep.add_argument("--list", action="store_true", help="print the runs' names, do nothing")
    sweep.add_argument(
        "--openjd",
        type=Path,
        metavar="FILE",
        help="write an Open Job Description template (.json) in place of doing the runs",
    )
    sweep.add_argument("--until", choices=until, default="import", help="last stage of each run")
    sweep.add_argument("--redo", action="store_true", help="passed on to each run")
    sweep.add_argument("--events", action="store_true", help="print events on standard output")
    add(sweep, "worker_python")

    sheet = commands.add_parser("sheet", help="a contact sheet of all runs in a folder")
    _out(sheet, "folder of the runs")
    sheet.add_argument("--part", type=int, help=argparse.SUPPRESS)
    add(sheet, "worker_python")

    video = commands.add_parser("video", help="another video or an animated picture of a run")
    _out(video, "the run folder")
    video.add_argument("--kind", choices=VIDEO_KINDS, required=True, help="what to make")
    video.add_argument(
        "--iteration", type=int, help="the iteration (default: the last with a splat)"
    )
    video.add_argument(
        "--width",
        type=int,
        default=320,
        help="width of gif and webp at most, pixels (default: 320)",
    )
    video.add_argument("--part", type=int, help=argparse.SUPPRESS)
    add(video, "worker_python")


def _out(parser: Any, text: str) -> None:
    parser.add_argument("--out", type=Path, required=True, help=text)
