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

_CAMERAS = "transforms*.json, or a data set's folder"

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
    render.add_argument("--transforms", type=Path, required=True, help=_CAMERAS)
    _out(render, "folder for the pictures, named as in the transforms file")
    render.add_argument(
        "--background",
        choices=("transparent", *BACKGROUNDS),
        default="transparent",
        help="what shows beside the model (default: transparent)",
    )
    for name in MACHINE:
        add(render, name)

    _convert(tools, add)

    prune = tools.add_parser("prune", help="leave out splats that are never seen")
    _file(prune)
    _out(prune, "the .ply to write")
    prune.add_argument(
        "--transforms", type=Path, help=f"cameras to look from ({_CAMERAS}); else faint ones go"
    )
    prune.add_argument(
        "--faintest", type=_share, default=0.005, help="least opacity kept (default: 0.005)"
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


def _convert(tools: Any, add: AddSetting) -> None:
    convert = tools.add_parser(
        "convert",
        help="write another format: .ply and a COLMAP data set by itself; .spz .sog "
        ".compressed.ply .csv .ksplat by splat-transform",
    )
    _file(convert)
    _out(convert, "the file to write, whose ending names the format; COLMAP's folder")
    convert.add_argument(
        "--to",
        choices=("colmap",),
        help="a data set as COLMAP leaves it: cameras, pictures, points",
    )
    convert.add_argument("--transforms", type=Path, help=f"its cameras: {_CAMERAS}")
    convert.add_argument("--text", action="store_true", help="COLMAP's .txt instead of .bin files")
    convert.add_argument(
        "--background",
        choices=("transparent", *BACKGROUNDS),
        default="transparent",
        help="what transparent pictures are laid on (default: transparent, linked as they are)",
    )
    for name in MACHINE:
        add(convert, name)


def _train(tools: Any, add: AddSetting) -> None:
    train = tools.add_parser(
        "train", help="train a folder of posed pictures (transforms files or a COLMAP model)"
    )
    train.add_argument("--data", type=Path, required=True, help="the folder of the data set")
    _out(train, "folder for splat.ply and metrics.json; the same command again goes on")
    train.add_argument(
        "--points",
        type=Path,
        help=".ply with points to start from (default: points3d.ply in data, or COLMAP's)",
    )
    train.add_argument(
        "--images", help="folder in data with the pictures of a COLMAP model (default: images)"
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


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} does not lie between 0 and 1")
    return value


def _file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a splat model, .ply")


def _out(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--out", type=Path, required=True, help=text)
