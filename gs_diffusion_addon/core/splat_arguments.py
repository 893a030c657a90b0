"""The command line of ``gsd splat``: tools for any 3DGS file; no Blender needed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .presets import TRAININGS

BACKGROUNDS = ("white", "black")
PRESETS = {name.removeprefix("train-"): dict(values) for name, values in TRAININGS.items()}
"""What each preset sets; everything given beside it wins."""
TRAINING = (
    "train_steps", "seed", "splats", "max_splats", "sh_degree", "checkpoint_seconds",
)  # fmt: skip
MACHINE = ("threads", "worker_python")

AddSetting = Callable[[Any, str], None]


def add_splat(commands: Any, parser_class: type[argparse.ArgumentParser], add: AddSetting) -> None:
    """Add ``splat`` and its commands; ``add(parser, name)`` adds a setting's option."""
    splat = commands.add_parser("splat", help="train, inspect, draw and convert any splat model")
    tools = splat.add_subparsers(dest="tool", required=True, parser_class=parser_class)
    _train(tools, add)

    info = tools.add_parser("info", help="count, degree, bounds, faults and histograms of a .ply")
    _file(info)
    info.add_argument("--json", action="store_true", help="as JSON")

    render = tools.add_parser("render", help="draw a model from the cameras of a transforms file")
    _file(render)
    render.add_argument("--transforms", type=Path, required=True, help="transforms*.json")
    _out(render, "folder for the pictures, named as in the transforms file")
    render.add_argument(
        "--background",
        choices=("transparent", *BACKGROUNDS),
        default="transparent",
        help="what shows beside the model (default: transparent)",
    )
    for name in MACHINE:
        add(render, name)

    convert = tools.add_parser(
        "convert",
        help="write another format: .ply by itself; .spz .sog .compressed.ply .csv .ksplat by "
        "splat-transform",
    )
    _file(convert)
    _out(convert, "the file to write; its ending names the format")

    prune = tools.add_parser("prune", help="leave out splats that are never seen")
    _file(prune)
    _out(prune, "the .ply to write")
    prune.add_argument(
        "--transforms", type=Path, help="cameras to look from; else only faint ones go"
    )
    prune.add_argument(
        "--faintest", type=float, default=0.005, help="least opacity kept (default: 0.005)"
    )
    for name in MACHINE:
        add(prune, name)

    for name, text in (
        ("pause", "let a training wait at its next step"),
        ("resume", "let a paused training go on"),
        ("preview", "have a training write preview.ply beside its checkpoint now"),
    ):
        tool = tools.add_parser(name, help=text)
        _out(tool, "the folder of a 'splat train' or of a run")


def _train(tools: Any, add: AddSetting) -> None:
    train = tools.add_parser(
        "train", help="train a folder of posed pictures (transforms.json or transforms_train.json)"
    )
    train.add_argument("--data", type=Path, required=True, help="the folder of the data set")
    _out(train, "folder for splat.ply and metrics.json; the same command again goes on")
    train.add_argument(
        "--points", type=Path, help=".ply with points to start from (default: points3d.ply in data)"
    )
    train.add_argument(
        "--preset",
        dest="splat_preset",  # not the diffusion's presets, a setting of that name
        choices=tuple(PRESETS),
        default="default",
        help="300, 1000 or 3000 steps with fitting sizes; options beside it win",
    )
    train.add_argument(
        "--background",
        choices=BACKGROUNDS,
        default="white",
        help="what transparent test pictures are judged on (default: white, as the field does)",
    )
    train.add_argument(
        "--exposure",
        action="store_true",
        help="let each training view be brighter or darker than the model",
    )
    for name in (*TRAINING, *MACHINE):
        add(train, name)


def _file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a splat model, .ply")


def _out(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--out", type=Path, required=True, help=text)
