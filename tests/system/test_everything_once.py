"""Whole runs against the test server: everything that can go wrong there goes wrong once, and the
result is the one of a run without faults. The same run shows that the password stays out of it.
"""

from __future__ import annotations

import base64
import html
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from .program import events, gsd, repeated, temporaries
from .server import PASSWORD, USER, server

# What a person reads of each fault: those after which a page is set aside, ...
ASIDE = {
    "oom": "ran out of graphics memory",
    "lowvram": "could not load a diffusion model",
    "plain500": "Internal Server Error",
    "not_json": "not an A1111 server",
    "black": "black picture",
    "wrong_size": "were asked for",
    "other_sampler": "the sampler 'Euler a'",
    "other_schedule": "the schedule 'Exponential'",
    "other_seed": "the seed 8 instead",
    "other_model": "somebody-elses",
    "no_image": "no picture",
    "bad_base64": "not base64",
    "interrupted": "half finished",
    "control_off": "0 of 1 ControlNet units acted",
    "refiner_off": "did not use the refiner",
}
# ... those after which the same page is asked for again at once, ...
AGAIN = {
    "nan": "produced NaNs",
    "html502": "status 502",
    "html504": "status 504",
    "reset": "closed the connection",
    "torn": "broke off in the middle of its answer",
    "rst": "broke off in the middle of its answer",
    "die_back": "went away in the middle of a picture",
    "queue_full": "Queue is full",
}
# ... and one that comes to light with the next page. Pictures that are right need no words.
LATER = {"refuse": "went away before a picture"}
GOOD = ("slow", "grid", "webp")

TINY = [
    *("--rings", "none", "--size", "32", "--samples", "1"),
    *("--sides", "1", "--page-size", "64", "--stylizer", "a1111", "--prompt", "a bronze bust"),
    *("--control", "tile", "--refiner", "tiny-random", "--diffusion-steps", "2", "--seed", "7"),
    *("--propagator", "reproject", "--trainer", "builtin", "--train-steps", "30"),
    *("--splats", "300", "--max-splats", "400"),
]


EVERYTHING = {*ASIDE, *AGAIN, *LATER, *GOOD}
FAR = ("render", "import")
FEW = {"oom", "nan", "lowvram", "torn", "rst", "black", "no_image", "webp"}


def plan(faults: set[str]) -> list[str]:
    """All ``faults`` once, with a picture that succeeds between any two that fail."""
    again, alone = ([f for f in group if f in faults] for group in (AGAIN, (*LATER, *GOOD)))
    between = iter([*([fault, "ok"] for fault in again), *([fault] for fault in alone)])
    aside = [fault for fault in ASIDE if fault in faults]
    return [fault for name in aside for fault in (name, *next(between, ["ok"]))]


@dataclass
class Case:
    """A run without faults, one with ``faults``, and what the second one's server sent."""

    faults: set[str]
    calm: Path
    stormy: Path
    sent: list[dict]
    views: int


@pytest.fixture(scope="module", params=["few", pytest.param("everything", marks=pytest.mark.slow)])
def case(
    request: pytest.FixtureRequest, scene: Path, tmp_path_factory: pytest.TempPathFactory
) -> Case:
    """Few faults end with the stage that they happen in; everything is a whole run."""
    few = request.param == "few"
    faults, views, ends = (FEW, 8, ("stylize",) * 2) if few else (EVERYTHING, 32, FAR)
    folder = tmp_path_factory.mktemp("servers")
    calm, stormy, record = folder / "calm", folder / "stormy", folder / "record.jsonl"
    auth = {"GSD_A1111_AUTH": f"{USER}:{PASSWORD}"}
    first = ("run", "--blend", scene, "--out", calm, *TINY, "--views", views, "--keys", views)
    done = gsd(*first, "--until", "turntable", env=auth)
    assert done.code == 0, done.err
    shutil.copytree(calm, stormy)
    for root, names, until in zip((calm, stormy), ([], plan(faults)), ends, strict=True):
        with server(names, record if names else folder / "calm.jsonl") as address:
            done = gsd("run", "--out", root, "--server", address, "--until", until, env=auth)
        assert done.code == 0, done.err
    sent = [json.loads(line) for line in record.read_text().splitlines()]
    return Case(faults, calm, stormy, sent, views)


def test_every_fault_is_named_in_events_and_report(case: Case) -> None:
    warned = [e["message"] for e in events(case.stormy) if e["event"] == "warning"]
    report = case.stormy / "report.html"
    shown = html.unescape(report.read_text(encoding="utf-8")) if report.exists() else None
    assert (shown is None) == (case.faults == FEW)
    for fault, words in (ASIDE | AGAIN | LATER).items():
        told = [message for message in warned if words in message]
        assert bool(told) == (fault in case.faults), (fault, warned)
        assert shown is None or told[0] in shown, fault
    assert not [e for e in events(case.stormy) if e["event"] == "error"]


def test_no_page_is_asked_for_after_it_was_delivered(case: Case) -> None:
    pages = [entry["page"] for entry in case.sent]
    assert len(pages) == len(set(pages)) == case.views
    assert {entry["fault"] for entry in case.sent} == {"ok", *LATER, *GOOD} & {"ok", *case.faults}
    assert not repeated(case.stormy) and not temporaries(case.stormy)


def test_the_result_is_the_one_without_faults(case: Case) -> None:
    folders = ("keys",) if case.faults == FEW else ("keys", "stylized", "gs/train", "renders")
    for folder in folders:
        paths = sorted((case.calm / "iter1" / folder).glob("*.png"))
        assert len(paths) >= 0.6 * case.views  # validation and test take their share
        for path in paths:
            other = case.stormy / "iter1" / folder / path.name
            assert path.read_bytes() == other.read_bytes(), path
    if case.faults != FEW:
        splats = [(root / "splat_iter1.ply").read_bytes() for root in (case.calm, case.stormy)]
        assert splats[0] == splats[1]


def test_the_password_is_nowhere_in_the_run(case: Case) -> None:
    """Neither plain nor as HTTP Basic sends it; command lines stand in the logs. The user's name
    would be no secret, but is nowhere needed.
    """
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode())
    for root in (case.calm, case.stormy):
        files = [path for path in root.rglob("*") if path.is_file()]
        names = {path.name for path in files}
        assert {"run.json", "events.jsonl", "1-stylize.log", "keys00000.png"} <= names
        for path in files:
            data = path.read_bytes()
            for secret in (PASSWORD.encode(), basic, USER.encode()):
                assert secret not in data, path
