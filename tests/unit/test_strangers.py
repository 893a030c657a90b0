"""Files from strangers: they execute nothing, and no name in them leads out of its folder."""

from __future__ import annotations

import ast
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gs_diffusion_addon.core import folder, lock, run, sweep, upstream
from gs_diffusion_addon.core.dataset import read_transforms
from gs_diffusion_addon.core.errors import GsdError, InputError, StageError, system_error
from gs_diffusion_addon.core.inside import PROGRAMS, inside, plain
from gs_diffusion_addon.core.settings import Settings, names

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    p for f in ("gs_diffusion_addon", "tools", "demo") for p in (ROOT / f).rglob("*.py")
)

OUTSIDE = [
    *("../x", "a/../../x", "..", "/etc/passwd", "//host/share/x", "\\\\host\\share\\x", "..\\x"),
    *("C:\\x", "C:x", "c:/x", "x:stream", "NUL", "nul.png", "a/CON", "a\\com1.txt", "LPT9", "aux"),
    *("", "\0", "a\0b", "COM¹", "conout$", ".. /x", "... /x", "a./x", "a ", "x.png.", "nul ."),
]
INSIDE = ["a", "./train/r_0", "iter1/keys/keys00001.png", "a b/ü.png", "console.png", "com.png"]

# --- nothing is executed --------------------

FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "marshal", "shelve", "yaml", "joblib"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}


def dotted(node: ast.expr) -> str:
    """``os.system`` of the expression that is called."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def executions(tree: ast.AST) -> list[str]:
    """Every place of a program where data could become code."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = (
                [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            )
            found += [f"line {node.lineno}: import {m}" for m in modules
                      if str(m).split(".")[0] in FORBIDDEN_MODULES]  # fmt: skip
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        given = {k.arg: ast.unparse(k.value) for k in node.keywords}
        if name in FORBIDDEN_CALLS or given.get("shell", "False") != "False":
            found.append(f"line {node.lineno}: {name}")
        if name == "torch.load" and given.get("weights_only") != "True":
            found.append(f"line {node.lineno}: torch.load without weights_only=True")
        if name.endswith(".load") and given.get("allow_pickle", "False") != "False":
            found.append(f"line {node.lineno}: {name} with pickles")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_source_turns_data_into_code(path):
    assert not executions(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "line",
    [
        *("eval('1')", "exec(x)", "import pickle", "from pickle import loads", "os.system('x')"),
        *("torch.load(p)", "torch.load(p, weights_only=False)", "np.load(p, allow_pickle=True)"),
        *("subprocess.run('x', shell=True)", "import yaml", "run(x, shell=shell)"),
    ],
)
def test_the_scan_sees_what_it_looks_for(line):
    assert executions(ast.parse(line))


# --- names stay inside --------------------


@pytest.mark.parametrize("name", OUTSIDE, ids=ascii)
def test_names_that_lead_out(tmp_path, name):
    assert not plain(name)
    with pytest.raises(InputError, match="leads out"):
        inside(tmp_path, name)
    path = tmp_path / "transforms.json"
    pose = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    frame = {"file_path": name, "transform_matrix": pose}
    path.write_text(json.dumps({"w": 8, "h": 8, "fl_x": 9.0, "frames": [frame]}))
    with pytest.raises(InputError, match="leads out"):
        read_transforms(path)


@pytest.mark.parametrize("name", [n for n in OUTSIDE if "\0" not in n], ids=ascii)
def test_a_main_folder_and_a_sweep_keep_inside(tmp_path, name):
    """A stranger's transforms.json gets no picture from elsewhere, a stranger's sweep no folder."""
    base = tmp_path / "base" / "sub"
    (base / "images").mkdir(parents=True)
    for place in (tmp_path, base.parent):
        (place / "x.png").touch()
    found = upstream.picture_of(base, name)
    assert found is None or found.resolve().is_relative_to(base.resolve())
    label = sweep.slug(name)
    assert not label or (plain(label) and "/" not in label)


@pytest.mark.parametrize("name", INSIDE)
def test_names_that_stay(tmp_path, name):
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_that_lead_out(tmp_path):
    root = tmp_path / "run"
    (root / "iter1").mkdir(parents=True)
    (root / "iter1" / "keys").symlink_to(tmp_path)
    (root / "here").symlink_to(root / "iter1")
    with pytest.raises(InputError, match="leads out"):
        inside(root, "iter1/keys/x.png")
    assert inside(root, "here/x.png").parent == root / "here"


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("name", [".lock", "events.jsonl", "logs", "logs/1-train.log"])
def test_nothing_is_appended_through_a_strangers_link(tmp_path, name):
    """The lock's file is emptied and rewritten, events and logs are appended to."""
    root, mine = tmp_path / "run", tmp_path / ".profile"
    mine.write_text("PATH=/bin")
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).symlink_to(tmp_path if name == "logs" else mine)
    with pytest.raises(InputError, match="is a link"), lock.locked(root):
        pytest.fail("the folder was taken")
    assert mine.read_text() == "PATH=/bin"


def test_every_setting_that_is_run_is_known_as_one():
    assert {n for n in PROGRAMS if n not in names()} == set()


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("form", ["{root}/evil", "evil", "./evil", "{root}/sub/../evil"])
def test_a_program_that_came_with_the_folder_is_not_started(tmp_path, monkeypatch, name, form):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {tmp_path}/proof\n")
    evil.chmod(0o755)
    manifest = run.new_manifest(Settings(), "1.0.0")
    manifest["settings"][name] = form.format(root=tmp_path)
    run.write_json(tmp_path / "run.json", manifest)
    for use in (run.read_manifest, folder.status):
        with pytest.raises(InputError, match="came with the folder"):
            use(tmp_path)
    assert not (tmp_path / "proof").exists()
    manifest["settings"][name] = sys.executable
    run.write_json(tmp_path / "run.json", manifest)
    run.read_manifest(tmp_path)


@pytest.mark.parametrize(
    "record",
    [None, 3, {}, {"state": "done"}, {"key": {}, "state": "done"}, {"key": {"settings": "a"}}],
    ids=str,
)
def test_a_damaged_record_of_a_stage(tmp_path, record):
    manifest = run.new_manifest(Settings(), "1.0.0")
    manifest["stages"]["1/train"] = record
    run.write_json(tmp_path / "run.json", manifest)
    with pytest.raises(InputError, match="1/train is incomplete"):
        folder.status(tmp_path)


# --- the lock --------------------


def test_a_lock_whose_owner_is_gone_is_none(tmp_path):
    """The number of a process that lives, another host, an old time: the lock alone counts."""
    stale = f"process {os.getppid()} on elsewhere since 2001-01-01 00:00:00\n"
    (tmp_path / ".lock").write_text(stale)
    assert not lock.in_use(tmp_path)
    with lock.locked(tmp_path):
        assert lock.in_use(tmp_path)
        text = (tmp_path / ".lock").read_text()
    assert text.startswith(f"process {os.getpid()} on ") and "since 20" in text
    assert not lock.in_use(tmp_path)


def test_a_second_run_is_told_who_has_the_folder_and_since_when(tmp_path):
    code = (
        "import sys; from pathlib import Path; from gs_diffusion_addon.core.lock import locked\n"
        "with locked(Path(sys.argv[1])): print('locked', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "locked\n"
        owner = rf"process {holder.pid} on .* since 20"
        with pytest.raises(InputError, match=owner) as told, lock.locked(tmp_path):
            raise AssertionError
        assert "choose another --out" in str(told.value)
    finally:
        holder.kill()
        holder.wait()
    with lock.locked(tmp_path):
        pass


@pytest.mark.skipif(os.name == "nt", reason="flock")
def test_a_disk_without_locks_is_refused(tmp_path, monkeypatch):
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StageError, match="keeps no locks"), lock.locked(tmp_path):
        raise AssertionError
    assert not lock.in_use(tmp_path)


# --- what the system refuses --------------------


@pytest.mark.parametrize(
    ("error", "words", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b.png"), ["/a/b.png", "space"], 4),
        (OSError(errno.EFBIG, "File too large"), ["no space left"], 4),
        (OSError("100000 requested and 213 written"), ["no space left"], 4),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), ["/a", "permissions"], 2),
        (OSError(errno.EROFS, "Read-only file system", "/a"), ["/a", "another --out"], 2),
        (OSError(errno.EIO, "Input/output error", "/a"), ["/a", "Input/output"], 4),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ["memory ran out", "--size"], 4),
        (MemoryError(), ["memory ran out"], 4),
    ],
    ids=str,
)
def test_each_refusal_is_a_sentence_with_a_next_step(error, words, code):
    told: GsdError = system_error(error)
    assert told.exit_code == code
    assert all(word in str(told) for word in words) and str(told).endswith(".")
