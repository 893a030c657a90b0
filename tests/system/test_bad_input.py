"""Wrong input: one sentence, the right exit code, nothing left half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .program import TINY, gsd, temporaries

EMPTY = """
import bpy, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
{extra}
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[1])
import os; os._exit(0)
"""

INSIDE = """
bpy.ops.mesh.primitive_uv_sphere_add(radius=2)
bpy.ops.object.camera_add(location=(0, 0, 0.5))
bpy.context.scene.camera = bpy.context.object
"""


def make(path: Path, extra: str = "") -> Path:
    subprocess.run(
        [sys.executable, "-c", EMPTY.format(extra=extra), str(path)],
        check=True,
        capture_output=True,
    )
    return path


def one_sentence(done, code: int, *words: str) -> None:
    assert done.code == code, (done.code, done.err)
    lines = [line for line in done.err.splitlines() if line.startswith("gsd: ")]
    assert len(lines) == 1, done.err
    assert "Traceback" not in done.err + done.out
    for word in words:
        assert word in lines[0], lines[0]


def test_no_mesh_in_the_scene(tmp_path):
    blend = make(tmp_path / "empty.blend")
    out = tmp_path / "out"
    one_sentence(gsd("run", "--blend", blend, "--out", out, *TINY), 2, "no object with geometry")
    assert not out.exists()


def test_a_camera_inside_the_object(tmp_path):
    blend = make(tmp_path / "inside.blend", INSIDE)
    out = tmp_path / "out"
    done = gsd("run", "--blend", blend, "--out", out, "--camera", "scene", *TINY)
    one_sentence(done, 2, "camera", "inside")
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--model", "nothing.glb"], 2, ["nothing.glb", "does not exist"]),
        (["--blend", "nothing.blend"], 2, ["nothing.blend", "does not exist"]),
        (["--model", __file__], 2, [".py"]),
        ([], 2, ["--blend", "--model"]),
        (["--blend", "{scene}", "--views", "1"], 2, ["--views", "8"]),
        (["--blend", "{scene}", "--size", "zero"], 2, ["--size"]),
        (["--blend", "{scene}", "--nonsense", "1"], 2, ["--nonsense"]),
        (["--blend", "{scene}", "--style", "no-such-style"], 2, ["no-such-style"]),
        (["--blend", "{scene}", "--objects", "Nobody"], 2, ["Nobody"]),
        (["--blend", "{scene}", "--blender", "no-blender"], 3, ["no-blender"]),
        (["--blend", "{scene}", "--worker-python", sys.executable], 3, ["torch"]),
    ],
)
def test_a_wrong_option(scene, tmp_path, options, code, words):
    filled = [o.format(scene=scene) for o in options]
    given = {o for o in filled if o.startswith("--")}
    pairs = list(zip(TINY[::2], TINY[1::2], strict=True))
    rest = [value for pair in pairs if pair[0] not in given for value in pair]
    out = tmp_path / "out"
    done = gsd("run", "--out", out, "--prompt", "x", *filled, *rest)
    one_sentence(done, code, *words)
    assert not out.exists()
    assert not temporaries(tmp_path)


def test_a_server_that_is_not_there(scene, tmp_path):
    out = tmp_path / "out"
    options = [*TINY, "--stylizer", "a1111", "--server", "http://127.0.0.1:9"]
    done = gsd("run", "--blend", scene, "--out", out, *options)
    one_sentence(done, 3, "127.0.0.1:9")


def test_a_folder_that_cannot_be_written(scene, tmp_path):
    file = tmp_path / "a file"
    file.write_text("mine")
    one_sentence(gsd("run", "--blend", scene, "--out", file, *TINY), 2, "a file")
    one_sentence(gsd("run", "--blend", scene, "--out", file / "deeper", *TINY), 2, "deeper")
    assert file.read_text() == "mine"
    if os.geteuid() != 0:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)
        one_sentence(gsd("run", "--blend", scene, "--out", closed, *TINY), 2, "closed")


def test_a_strangers_folder_is_refused(scene, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    one_sentence(gsd("run", "--blend", scene, "--out", tmp_path, *TINY), 2, "thesis.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_stage_and_status_without_a_run(tmp_path):
    one_sentence(gsd("status", "--out", tmp_path), 2, "run.json")
    one_sentence(gsd("stage", "train", "--out", tmp_path), 2, "run.json")


def test_a_stage_before_its_time(scene, tmp_path):
    out = tmp_path / "out"
    done = gsd("run", "--blend", scene, "--out", out, "--until", "turntable", *TINY)
    assert done.code == 0, done.err
    one_sentence(gsd("stage", "train", "--out", out), 2, "stylize")
    assert gsd("stage", "stylize", "--out", out).code == 0


def test_check_names_every_part(scene):
    done = gsd("check", "--server", "http://127.0.0.1:9")
    assert done.code == 0, done.out
    for name in ("Blender", "Worker environment", "Torch", "gsplat", "Automatic1111", "EbSynth"):
        assert name in done.out
    broken = gsd("check", "--worker-python", sys.executable)
    assert broken.code == 3 and "MISSING Worker environment" in broken.out
