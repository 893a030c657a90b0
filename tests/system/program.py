"""Whole runs of the program as a user starts it: real Blender, real child processes, tiny
pictures.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORKER = ROOT / "gs_diffusion_addon" / "worker.py"

TINY = [
    *("--views", "12", "--rings", "40:4", "--size", "64", "--samples", "2", "--keys", "6"),
    *("--ring-keys", "1", "--sides", "2", "--page-size", "256", "--style", "3"),
    *("--stylizer", "preview", "--propagator", "reproject", "--trainer", "builtin"),
    *("--train-steps", "60", "--splats", "600", "--max-splats", "900", "--seed", "7"),
]

MAKE_SCENE = """
import bpy, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.mesh.primitive_monkey_add(size=2)
material = bpy.data.materials.new("checker")
material.use_nodes = True
tree = material.node_tree
checker = tree.nodes.new("ShaderNodeTexChecker")
checker.inputs["Scale"].default_value = 6
tree.links.new(checker.outputs["Color"], tree.nodes["Principled BSDF"].inputs["Base Color"])
bpy.context.object.data.materials.append(material)
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[1])
import os; os._exit(0)
"""


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def command(*arguments: str) -> list[str]:
    """The program's command line, run by path as Blender and the panel run it."""
    return [sys.executable, str(WORKER), *arguments]


def gsd(*arguments: object, timeout: float = 900, env: dict[str, str] | None = None) -> Done:
    """Run the program to its end."""
    done = subprocess.run(
        command(*map(str, arguments)),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **(env or {})},
    )
    return Done(done.returncode, done.stdout, done.stderr)


def events(root: Path) -> list[dict]:
    """The event stream of a run folder; torn lines of killed processes are left out."""
    out = []
    for line in (root / "events.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            out.append(json.loads(line))
        except ValueError:
            continue
    return out


def repeated(root: Path) -> dict[tuple, int]:
    """What the event stream reports done more than once.

    Without the report's page: it tells of every iteration, so its stage always writes it anew, and
    a kill between the page and the end of the stage gives it twice. metrics.json, which takes
    the time, counts.
    """
    done = Counter(
        (e["stage"], e["iteration"], e["path"])
        for e in events(root)
        if e["event"] == "frame_done" and e["path"] != "report.html"
    )
    return {k: n for k, n in done.items() if n > 1}


def _chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", path
    at = 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        yield kind, data[at + 8 : at + 8 + size]
        at += 12 + size


def png_facts(path: Path) -> tuple[int, ...]:
    """(width, height, bit depth, color type) of a PNG, read without the program's own reader."""
    (header,) = (body for kind, body in _chunks(path) if kind == b"IHDR")
    return struct.unpack(">IIBB", header[:10])


def png_pixels(path: Path) -> bytes:
    """The inflated pixel data, which tells equal pictures (Cycles writes its times beside it)."""
    return zlib.decompress(b"".join(body for kind, body in _chunks(path) if kind == b"IDAT"))


def temporaries(root: Path) -> list[Path]:
    """Half-written files."""
    return list(root.rglob(".gsd-tmp-*"))
