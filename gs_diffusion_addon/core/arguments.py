"""The command line, generated from :mod:`settings`: an option stands in the parser because it is a
setting.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import stages, upstream_options
from .errors import InputError
from .presets import expand
from .settings import Settings, flag, kind, knob, names
from .settings_loop import ARROW
from .splat_arguments import add_splat
from .sweep_arguments import add_sweep
from .version import version

GROUPS = {
    "model": "model",
    "turntable": "turntable",
    "prompt": "prompt",
    "stylize": "stylize",
    "propagate": "propagate",
    "train": "training",
    "trainers": "installed trainers",
    "run": "run",
    "machine": "machine",
}

METAVARS = {str: "TEXT", int: "N", float: "X"}

PROGRAMS = ("worker_python", "blender", "graphdeco_python", "brush", "opensplat")
"""Settings that may name a program on the PATH instead of a file."""

DESCRIPTION = "Restyle a 3D model with diffusion and get a 3D Gaussian splat of it back."

START = (
    " Name a model and a folder for the run; everything else has a default, and 'auto' takes the "
    "best that 'gsd check' finds. The report, the splat and a video lie in the folder at the end."
)

SOURCE = "(--blend FILE | --model FILE | --main-folder DIR)"

EPILOG = (
    "Exit codes: 0 done, 2 bad input, 3 something is missing, 4 a stage failed, 5 EbSynth was "
    "waited for in vain, 130 interrupted. "
    "The same command again goes on where a stopped run ended."
)


class Parser(argparse.ArgumentParser):
    """argparse that raises InputError (one sentence, exit 2) instead of printing usage and
    exiting.
    """

    def error(self, message: str) -> NoReturn:
        """Turn argparse's complaint into a sentence."""
        raise InputError(f"{message[:1].upper()}{message[1:]}; see '{self.prog} --help'.")


def build() -> Parser:
    """The parser of all commands."""
    parser = Parser(prog="gsd", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"GS Diffusion {version()}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)

    run = commands.add_parser(
        "run",
        help="make a run, or go on with one",
        usage=f"gsd run {SOURCE} --out DIR\n               [--prompt TEXT] [option ...]",
        description=DESCRIPTION + START,
        epilog=EPILOG,
    )
    _out(run)
    run.add_argument(
        "--until",
        choices=stages.NAMES,
        default="import",
        help="last stage to do in the last iteration (default: import)",
    )
    run.add_argument(
        "--start",
        type=_count,
        default=0,
        metavar="K",
        help="begin after iteration K, whose results are there and are taken as they are",
    )
    run.add_argument(
        "--end", type=_count, metavar="K", help="the last iteration; the same as --iterations"
    )
    run.add_argument(
        "--turntable-from",
        type=Path,
        metavar="DIR",
        help="a run, or a folder of runs: a finished turntable of the same settings and model is "
        "copied from there in place of rendering it",
    )
    run.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)
    _common(run)
    add_settings(run)
    upstream_options.add_options(run)

    stage = commands.add_parser(
        "stage",
        help="do one stage of a run",
        usage="gsd stage NAME --out DIR [--iteration K] [option ...]",
    )
    stage.add_argument("name", choices=stages.NAMES, help="the stage")
    _out(stage)
    stage.add_argument("--iteration", type=int, default=1, help="the iteration (default: 1)")
    stage.add_argument("--part", type=int, help=argparse.SUPPRESS)
    _common(stage)
    add_settings(stage)

    attempt = commands.add_parser(
        "try",
        help="restyle one view in seconds, before and after beside it",
        usage=f"gsd try (--out RUN | {SOURCE} --out FILE.png) [--view K] [option ...]",
    )
    attempt.add_argument("--view", type=int, default=0, help="frame of the turntable (default: 0)")
    attempt.add_argument(
        "--page", action="store_true", help="restyle the whole collage page of that view"
    )
    attempt.add_argument(
        "--out",
        type=Path,
        required=True,
        help="a run folder whose settings and frames are used, or a .png to write",
    )
    attempt.add_argument("--events", action="store_true", help="print events on standard output")
    attempt.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    attempt.add_argument("--part", type=int, help=argparse.SUPPRESS)
    add_settings(attempt)

    reroll = commands.add_parser("reroll", help="restyle one keyframe of a run with another seed")
    _out(reroll)
    reroll.add_argument("--key", type=int, required=True, help="the keyframe's number")
    reroll.add_argument("--iteration", type=int, default=1, help="the iteration (default: 1)")
    reroll.add_argument("--seed", type=int, default=-1, help="the seed (default: a random one)")
    reroll.add_argument("--events", action="store_true", help="print events on standard output")
    reroll.add_argument("--part", type=int, help=argparse.SUPPRESS)

    status = commands.add_parser("status", help="what is done in a run folder")
    _out(status)
    status.add_argument("--json", action="store_true", help="as JSON")

    environment = commands.add_parser(
        "environment", help="make or remove the worker's environment (torch and others)"
    )
    environment.add_argument("action", choices=("create", "remove"), help="what to do")
    environment.add_argument("--folder", type=Path, required=True, help="where it lies")

    check = commands.add_parser(
        "check",
        help="what is installed and reachable, and what to do about it",
        usage="gsd check [--json] [option of gsd run ...]",
        description="Says what is installed and reachable and, given the options of 'gsd run', "
        "whether that run could do all its stages. Nothing is rendered.",
    )
    check.add_argument("--json", action="store_true", help="as JSON")
    check.add_argument(
        "--out", type=Path, help="the run folder: its settings, if it is there, and its disk"
    )
    check.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    check.add_argument("--part", type=int, help=argparse.SUPPRESS)
    add_settings(check)

    def add(tool: argparse.ArgumentParser, name: str) -> None:
        tool.add_argument(flag(name), **_option(name))

    add_splat(commands, Parser, add)
    add_sweep(commands, stages.NAMES, add)
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line ``argv``; raises InputError, for a mistyped option with the nearest one."""
    parsed, rest = build().parse_known_args(argv)
    if not rest:
        return parsed
    option = next((word for word in rest if word.startswith("-")), rest[0]).partition("=")[0]
    near = difflib.get_close_matches(option, map(flag, names()), 1)
    meant = f"did you mean {near[0]}? See" if near else "see"
    raise InputError(f"There is no option {option}: {meant} 'gsd {parsed.command} --help'.")


def _count(text: str) -> int:
    """A whole number of 0 or more."""
    value = int(text) if text.isdecimal() else -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return value


def _out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="the run folder")


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--events",
        action="store_true",
        help="print events on standard output (RFC 7464: RS, JSON, line end) instead of a bar",
    )
    parser.add_argument(
        "--redo",
        action="store_true",
        help="do stages anew whose settings or inputs changed; old results go to superseded/",
    )


def add_settings(parser: argparse.ArgumentParser, groups: Sequence[str] = tuple(GROUPS)) -> None:
    """One option for each setting of ``groups``; only options given are in the parsed namespace."""
    for group in groups:
        section = parser.add_argument_group(GROUPS[group])
        for name in names():
            if knob(name).group == group:
                section.add_argument(flag(name), **_option(name))


def _option(name: str) -> dict[str, Any]:
    k, default = knob(name), getattr(Settings(), name)
    notes = [f"default: {default}"] if default != "" else []
    if k.low is not None and k.high is not None:
        notes.insert(0, f"{k.low:.10g} to {k.high:.10g}{' ' + k.unit if k.unit else ''}")
    text = k.help + (f" ({'; '.join(notes)})" if notes else "")
    option: dict[str, Any] = {
        "dest": name,
        "default": argparse.SUPPRESS,
        "help": text.replace("%", "%%"),
    }
    if kind(name) is bool:
        option["action"] = argparse.BooleanOptionalAction
        return option
    option["type"] = kind(name)
    option["metavar"] = "PATH" if k.path else METAVARS[kind(name)]
    if k.choices:
        option["choices"] = k.choices
        option["metavar"] = "{" + ",".join(k.choices) + "}"
    return option


def given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings named on the command line, with paths made absolute (children work
    elsewhere).
    """
    given = {n: getattr(arguments, n) for n in names() if hasattr(arguments, n)}
    return complete(given, Path())


def complete(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Settings as given, with presets expanded and paths made absolute, which count from
    ``folder``. Raises InputError for a preset that there is not.
    """
    out = {**expand(str(given.get("preset", ""))), **given}
    for name, value in out.items():
        is_file = name == "style" and Path(str(value)).suffix and (folder / value).is_file()
        is_model = name in ("checkpoint", "vae") and _holds_model(folder, value)
        if value and (knob(name).path or is_file or is_model) and name not in PROGRAMS:
            out[name] = str((folder / Path(value).expanduser()).resolve())
    for name in ("schedule", "later"):
        if out.get(name):
            out[name] = ";".join(_with_pictures(p, folder) for p in str(out[name]).split(";"))
    return out


def _holds_model(folder: Path, name: Any) -> bool:
    """Whether this is a folder with a diffusers model and not a name on a server or the hub."""
    place = folder / Path(str(name)).expanduser()
    return any((place / f).is_file() for f in ("model_index.json", "config.json"))


def _with_pictures(part: str, folder: Path) -> str:
    """A setting of a schedule, such as ``style=a.png->3``, with the paths of pictures absolute."""
    name, _, values = part.partition("=")
    if name.strip().strip("-") != "style":
        return part
    styles = [value.strip() for value in values.split(ARROW)]
    return f"{name}=" + ARROW.join(
        str((folder / style).resolve())
        if Path(style).suffix and (folder / style).is_file()
        else style
        for style in styles
    )
