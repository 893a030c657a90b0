"""Sweep files: many runs over prompts, seeds, models and any other settings.

A sweep file is TOML or JSON::

    [settings]                      # of every run
    model = "head.obj"              # paths count from the sweep file's folder
    views = 48

    [vary]                          # every combination becomes a run
    prompt = ["a bronze bust", "a marble bust"]
    seed = [1, 2]
    look = [{strength = 0.5, cfg_scale = 5.0}, {strength = 0.8, cfg_scale = 9.0}]  # set together

    [[runs]]                        # further runs, one by one
    name = "no-control"
    prompt = "a bronze bust"

Each run has a folder of its own, named after what makes it differ.
"""

from __future__ import annotations

import itertools
import json
import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import json_text
from .arguments import complete
from .digests import digest
from .errors import InputError
from .inside import plain
from .settings import from_json, knob, names

PARTS = ("settings", "vary", "runs")
MOST_RUNS = 10_000
LONGEST_NAME = 72
LONGEST_PART = 28
RESERVED = ("logs", "sweep.json", "contact-sheet.png", "contact-sheet.html")
"""What else lies in a sweep's folder."""


@dataclass(frozen=True)
class Job:
    """One run of a sweep: its folder's name and the settings that are given to it."""

    name: str
    settings: Mapping[str, Any]


def read_sweep(path: Path) -> list[Job]:
    """The runs of a sweep file, in its order, with names that differ even where case does not
    count. Raises InputError with the reason.
    """
    data = _load(path)
    unknown = sorted(set(data) - set(PARTS))
    if unknown:
        raise InputError(
            f"{path} has a part {unknown[0]!r}; a sweep file has {', '.join(PARTS)}, and settings "
            f"of all runs stand under 'settings'."
        )
    folder = path.resolve().parent
    common = _table(path, "settings", data.get("settings", {}))
    drafts: list[tuple[str, dict[str, Any]]] = []
    axes = _axes(path, data.get("vary", {}))
    if axes:
        size = 1
        for axis in axes:
            size *= len(axis)
        if size > MOST_RUNS:
            raise InputError(f"{path} asks for {size} runs; {MOST_RUNS} are the most.")
        for combination in itertools.product(*axes):
            label = "-".join(part for part, _ in combination)
            given = {name: v for _, values in combination for name, v in values.items()}
            drafts.append((label, given))
    for number, entry in enumerate(_list(path, "runs", data.get("runs", []))):
        given = _table(path, f"runs[{number}]", entry)
        name = given.pop("name", "")
        label = slug(str(name)) or "-".join(_part(n, v) for n, v in given.items())
        drafts.append((label or f"run-{number + 1}", given))
    if not drafts:
        raise InputError(f"{path} asks for no run: give it values under 'vary', or 'runs'.")
    whole = [(label, _resolved({**common, **given}, folder)) for label, given in drafts]
    return _named(path, whole)


def slug(text: str, longest: int = LONGEST_NAME) -> str:
    """The text as part of a file name on every system: lower case letters, digits, dot, hyphen.

    Windows' names of devices get a word before them.
    """
    ascii_text = (
        unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower()
    )
    words = re.sub(r"[^a-z0-9.]+", "-", ascii_text).strip("-.")
    if len(words) > longest:
        words = words[: longest + 1].rpartition("-")[0] or words[:longest]
    words = words.strip("-.")
    return words if plain(words) or not words else f"run-{words}"


def flags(settings: Mapping[str, Any]) -> list[str]:
    """The settings as arguments of ``gsd run``."""
    out = []
    for name, value in settings.items():
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            out.append(option if value else "--no-" + option[2:])
        else:
            out.append(f"{option}={value}")  # joint, since a value may begin with a hyphen
    return out


def _load(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows' editors begin files with a mark
        data = json_text.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise InputError(f"The sweep file {path} does not exist.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"The sweep file {path} cannot be read: {error}.") from None
    if not isinstance(data, dict):
        raise InputError(f"{path} is no sweep file: it must hold a table of {', '.join(PARTS)}.")
    return data


def _table(path: Path, where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"'{where}' in {path} must be a table of settings.")
    return {_name(str(k)): v for k, v in value.items()}


def _list(path: Path, where: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"'{where}' in {path} must be a list.")
    return value


def _axes(path: Path, value: Any) -> list[list[tuple[str, dict[str, Any]]]]:
    """For each line under vary its choices: (part of the name, settings)."""
    axes = []
    for name, choices in _table(path, "vary", value).items():
        choices = _list(path, f"vary.{name}", choices)
        if not choices:
            raise InputError(f"'vary.{name}' in {path} is empty.")
        axis = []
        for number, choice in enumerate(choices):
            if isinstance(choice, dict):
                table = _table(path, f"vary.{name}", choice)
                label = slug(str(table.pop("name", "")), LONGEST_PART)
                axis.append((label or f"{slug(name, LONGEST_PART)}-{number + 1}", table))
            else:
                axis.append((_part(name, choice), {name: choice}))
        axes.append(axis)
    return axes


def _name(name: str) -> str:
    return name.strip().lstrip("-").replace("-", "_")


def _part(name: str, value: Any) -> str:
    """A setting in a folder's name: texts and files by themselves, numbers with their name."""
    if isinstance(value, str) and name in names() and knob(name).path:
        return _short(Path(value).stem)
    if isinstance(value, str) and not re.fullmatch(r"[\d.:,x-]*", value):
        return _short(value)
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{slug(name)}-{_short(text)}"


def _short(text: str) -> str:
    """A slug; of a text that it cannot hold whole, with letters that tell it from its like, so
    that a folder keeps its name when the sweep grows.
    """
    whole = slug(text, len(text) + 1)
    if whole and len(whole) <= LONGEST_PART:
        return whole
    mark = digest([text.encode("utf-8", "surrogatepass")])[:4]
    return f"{slug(text, LONGEST_PART)}-{mark}".lstrip("-")


def _resolved(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The settings with presets expanded and paths made absolute; checked as a whole."""
    from_json(given)  # raises InputError, with the setting's name
    return complete(given, folder)


def _named(path: Path, drafts: Sequence[tuple[str, dict[str, Any]]]) -> list[Job]:
    """Names short and different: those that are not get a few letters made from their settings."""
    prints = [digest([json.dumps(given, sort_keys=True)]) for _, given in drafts]
    twice = [p for p, count in Counter(prints).items() if count > 1]
    if twice:
        first, second = [k for k, p in enumerate(prints) if p == twice[0]][:2]
        raise InputError(
            f"Runs {first + 1} and {second + 1} of {path} have the same settings; leave one out."
        )
    labels = [slug(label) or "run" for label, _ in drafts]
    labels = [f"run-{label}" if label in RESERVED else label for label in labels]
    often = Counter(labels)
    return [
        Job(label if often[label] == 1 else f"{label}-{mark[:6]}", given)
        for label, mark, (_, given) in zip(labels, prints, drafts, strict=True)
    ]
