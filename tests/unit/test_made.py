"""Lost results are found: missing, empty, cut off, filled with zeros; edited ones are not lost."""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
import zlib
from types import SimpleNamespace

import numpy as np
import pytest

from gs_diffusion_addon.core import digests
from gs_diffusion_addon.core.exr import write_exr
from gs_diffusion_addon.core.made import FILE, Made
from gs_diffusion_addon.core.ply import Points, write_points
from gs_diffusion_addon.core.png_text import without_text
from gs_diffusion_addon.core.run import write_json
from gs_diffusion_addon.core.whole import whole


def png(path, seed):
    rng = np.random.default_rng(seed)
    rows = b"".join(b"\0" + row.tobytes() for row in rng.integers(0, 256, (40, 120), np.uint8))

    def chunk(kind, body):
        sum_ = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + sum_

    head = struct.pack(">IIBBBBB", 40, 40, 8, 2, 0, 0, 0)
    packed = zlib.compress(rows)
    half = len(packed) // 2
    body = chunk(b"IDAT", packed[:half]) + chunk(b"IDAT", packed[half:])
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b""))


def points(path, seed):
    rng = np.random.default_rng(seed)
    shape = (500, 3)
    normal, color = rng.normal(size=shape), rng.integers(1, 255, shape).astype(np.uint8)
    write_points(path, Points(rng.normal(size=shape).astype("f4"), normal.astype("f4"), color))


def video(path, seed):
    boxes = [(b"ftyp", b"isom"), (b"moov", bytes(range(64))), (b"mdat", b"picture" * 500)]
    path.write_bytes(b"".join((8 + len(b)).to_bytes(4, "big") + k + b for k, b in boxes))


def passes(path, seed):
    plane = np.random.default_rng(seed).normal(size=(40, 33))
    write_exr(path, {"Depth.Z": plane, "Flat.X": np.zeros((40, 33))})


WRITERS = {
    "train_main/r_0.png": png,
    "train_main/r_1.png": png,
    "guides/r_0.exr": passes,
    "guides/r_1.exr": passes,
    "guides/surface.ply": points,
    "iter0.mp4": video,
    "cameras.json": lambda path, seed: write_json(path, {"frames": list(range(200))}),
}
DAMAGES = {
    "deleted": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "cut by a byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "zeros at the end": lambda path: path.write_bytes(
        path.read_bytes()[: path.stat().st_size // 3].ljust(path.stat().st_size, b"\0")
    ),
}


@pytest.fixture
def made(tmp_path):
    for seed, (name, write) in enumerate(WRITERS.items()):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, seed)
    out = Made(tmp_path)
    out.note("0/turntable", results(tmp_path))
    return out


def results(root):
    return [root / "train_main", root / "guides", root / "iter0.mp4", root / "cameras.json"]


@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", WRITERS)
def test_what_is_damaged_is_lost_and_nothing_else(made, tmp_path, name, damage, noted):
    if not noted:  # an unfinished stage's, or an earlier version's
        made.forget("0/turntable")
    assert made.lost("0/turntable", results(tmp_path)) == []
    if damage == "cut by a byte" and name.endswith(".json"):
        return  # its line end: nothing is lost
    DAMAGES[damage](tmp_path / name)
    expected = [name] if noted or damage != "deleted" else []
    assert Made(tmp_path).lost("0/turntable", results(tmp_path)) == expected


def test_the_clock_and_an_edit_lose_nothing(made, tmp_path):
    for path in tmp_path.rglob("*"):
        os.utime(path, (4_000_000_000, 4_000_000_000))
    assert made.lost("0/turntable", results(tmp_path)) == []
    for seed, (name, write) in enumerate(WRITERS.items()):
        write(tmp_path / name, 100 + seed)
    (tmp_path / "train_main" / "notes.txt").touch()
    assert made.lost("0/turntable", results(tmp_path)) == []


def test_zeros_behind_an_unchanged_time_are_seen(made, tmp_path):
    path = tmp_path / "guides" / "r_1.exr"
    stat = path.stat()
    path.write_bytes(path.read_bytes()[:200].ljust(stat.st_size, b"\0"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert made.lost("0/turntable", results(tmp_path)) == ["guides/r_1.exr"]


def test_a_twin_is_copied_back(made, tmp_path):
    model = tmp_path / "model" / "splat.ply"
    model.parent.mkdir()
    points(model, 77)
    shutil.copyfile(model, tmp_path / "splat_iter1.ply")
    kept = model.read_bytes()
    made.note("1/train", [model.parent])
    made.note("1/render", [tmp_path / "splat_iter1.ply"])
    model.write_bytes(kept[:900])
    assert made.restored("1/train", made.lost("1/train", [model.parent])) == []
    assert model.read_bytes() == kept
    model.unlink()
    points(tmp_path / "splat_iter1.ply", 78)  # edited: no twin any more
    assert made.restored("1/train", made.lost("1/train", [model.parent])) == ["model/splat.ply"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": {"b": 1, "c": "x"}}'])
def test_damaged_notes_are_none(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    assert Made(tmp_path).lost("a", [tmp_path]) == (
        [] if text in ("[]",) or ":" in text else [FILE]
    )


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_notes_of_a_stranger_reach_nothing_outside(tmp_path):
    root, outside = tmp_path / "run", tmp_path / "mine.png"
    (root / "keys").mkdir(parents=True)
    outside.write_bytes(bytes(10))
    (root / "keys" / "link.png").symlink_to(outside)
    names = ("../mine.png", str(outside), "keys/../../mine.png", "keys/link.png", "run.json")
    (root / FILE).write_text(json.dumps({"1/stylize": dict.fromkeys(names, "3 abc")}))
    assert Made(root).lost("1/stylize", [root / "keys"]) == []


def test_an_unknown_kind_only_has_to_hold_something(tmp_path):
    path = tmp_path / "result.blend"
    path.write_bytes(b"BLENDER")
    assert whole(path)
    path.write_bytes(bytes(9))
    assert not whole(path)
    assert not whole(tmp_path)


def test_a_picture_without_its_texts_is_the_same_picture(tmp_path):
    png(tmp_path / "a.png", 1)
    plain = (tmp_path / "a.png").read_bytes()
    text = b"tEXtcycles.total_time\x0000:01.03"
    chunk = (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big")
    assert without_text(plain[:33] + chunk + plain[33:]) == plain == without_text(plain)
    assert without_text(b"BLENDER") == b"BLENDER"


def test_a_file_that_just_changed_is_not_remembered_though_it_is_old(tmp_path, monkeypatch):
    """On Windows st_ctime is when a file was made, which says nothing of its last change."""
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    born, real = time.time() - 1000, os.fstat

    def windows(descriptor):
        stat = real(descriptor)
        times = {"st_ctime": born, "st_ctime_ns": int(born * 1e9), "st_mtime": time.time()}
        # The clock's tick is longer than the time between the two changes.
        same = {"st_dev": 1, "st_ino": 1, "st_size": stat.st_size, "st_mtime_ns": 0}
        return SimpleNamespace(**times, **same)

    monkeypatch.setattr(digests.os, "fstat", windows)
    first = digests.file_digest(path)
    path.write_bytes(b"two")
    assert digests.file_digest(path) != first
