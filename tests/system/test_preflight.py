"""What a run would fail of later is told before its first stage begins, through every door."""

from __future__ import annotations

import json
import shutil

import pytest

from .program import TINY, events, gsd
from .server import PASSWORD, USER, server

AUTH = {"GSD_A1111_AUTH": f"{USER}:{PASSWORD}"}
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with server([], tmp_path_factory.mktemp("server") / "record.jsonl") as found:
        yield found


def refused(done, code: int, *words: str) -> None:
    """One sentence with ``words``, and no stage was begun."""
    assert done.code == code, done.err
    said = [line for line in done.err.splitlines() if line.startswith("gsd: ")]
    assert len(said) == 1 and "Rendering" not in done.err, done.err
    for word in words:
        assert word in said[0], said[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sampler", "DPM++ 2N"], ["'DPM++ 2N'; --sampler can be DPM++ 2M,"]),
        (["--prompt", "a head <lora:bronce:1>"], ["no LoRA called 'bronce'", "it has bronze"]),
        (["--control", "depth@nobodys"], ["no ControlNet model called 'nobodys'"]),
        (["--iterations", "2", "--schedule", "sampler=Euler->Eulr"], ["--sampler can be Euler,"]),
    ],
)  # fmt: skip
def test_a_wrong_name_is_told_before_the_turntable(scene, tmp_path, address, options, words):
    out = tmp_path / "out"
    chosen = [*TINY, "--stylizer", "a1111", "--server", address, *options]
    refused(gsd("run", "--blend", scene, "--out", out, *chosen, env=AUTH), 2, *words)
    assert not out.exists()


def test_check_tells_it_too_and_what_auto_stands_for(scene, tmp_path, address):
    options = ("--server", address, "--sampler", "nope", "--blend", scene, "--out", tmp_path)
    done = gsd("check", *options, env=AUTH)
    assert done.code == 3, done.out
    assert "MISSING Stylizer: a1111, which auto stands for here — The server has no" in done.out
    assert "ok      Trainer: builtin, which auto stands for here" in done.out
    assert "ok      Disk: " in done.out
    done = gsd("check", "--model", tmp_path / "none.obj", "--stylizer", "preview", "--json")
    assert done.code == 3
    found = {f["name"]: f for f in json.loads(done.out)}
    assert "none.obj does not exist" in found["Model"]["todo"]


def test_a_sweep_tells_it_for_the_run_concerned(scene, tmp_path, address):
    file = tmp_path / "sweep.json"
    settings = dict(zip([o[2:].replace("-", "_") for o in TINY[::2]], TINY[1::2], strict=True))
    settings = {n: int(v) if v.isdecimal() and n not in ("style", "size") else v
                for n, v in settings.items()}  # fmt: skip
    settings |= {"blend": str(scene), "stylizer": "a1111", "server": address, "sampler": "nope"}
    file.write_text(json.dumps({"settings": settings, "vary": {"seed": [1, 2]}}))
    done = gsd("sweep", file, "--out", tmp_path / "out", "--only", "seed-1", env=AUTH)
    refused(done, 2, "no sampler called 'nope'")
    assert not (tmp_path / "out" / "seed-1").exists()


def test_no_server_is_told_at_once_and_the_same_command_goes_on_when_it_is_there(scene, tmp_path):
    out = tmp_path / "out"
    run = ("run", "--blend", scene, "--out", out, *TINY, "--stylizer", "a1111")
    refused(gsd(*run, "--server", NOBODY), 3, "No server is running at http://127.0.0.1:9")
    done = gsd(*run, "--server", NOBODY, "--until", "turntable")  # what needs no server
    assert done.code == 0, done.err
    with server([], tmp_path / "record.jsonl") as address:
        done = gsd(*run, "--server", address, "--until", "stylize", env=AUTH)
        assert done.code == 0, done.err
    done = gsd(*run, "--server", address, "--until", "propagate")  # nor does what is restyled
    assert done.code == 0 and "Stage stylize of iteration 1 is already done" in done.err
    finished = [e["stage"] for e in events(out) if e["event"] == "stage_finished"]
    assert finished == ["turntable", "stylize", "propagate"]


def test_a_program_that_is_missing_is_told_before_the_turntable(scene, tmp_path):
    out = tmp_path / "out"
    done = gsd("run", "--blend", scene, "--out", out, *TINY, "--trainer", "brush", "--brush", "/no")
    refused(done, 3, "There is no program /no; correct --brush.")
    assert not (out / "train_main").exists()


def test_a_refused_change_leaves_a_finished_run_as_it_was(finished, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(finished, root)
    before = (root / "run.json").read_bytes()
    done = gsd("run", "--out", root, "--style", "nope", "--redo")
    refused(done, 2, "no style 'nope'")
    assert (root / "run.json").read_bytes() == before and not (root / "superseded").exists()
    again = gsd("run", "--out", root)
    assert again.code == 0 and again.err.count("already done") == 8, again.err
