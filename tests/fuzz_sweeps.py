"""Readers under damage: sweep files, and the notes of what finished stages made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from gs_diffusion_addon.core.inside import plain
from gs_diffusion_addon.core.made import FILE, Made
from gs_diffusion_addon.core.sweep import Job, flags, read_sweep

from .fuzzing import Reader

_SWEEP = {
    "settings": {
        "blend": "a.blend",
        "views": 48,
        "strength": 0.5,
        "later": "a < b",
        "denoise": True,
    },
    "vary": {"prompt": ["clay", "bronze"], "size": ["64", {"name": "x", "size": "640x360"}]},
    "runs": [{"name": "one", "seed": 3}, {"style": "a.onnx", "rings": "30:24,-25:12"}],
}
_SWEEP_TOML = (
    b"""# A sweep.
[settings]
blend = "a.blend"
views = 48
strength = 0.5
[vary]
prompt = ["clay", 'bronze \\ "x"', """
    + b'''"""long
text"""]
size = ["64", {name = "x", size = "640x360"}]
[[runs]]
name = "one"
seed = 0x10
[[runs]]
denoise = false
hdri = "../b.exr"
'''
)


def _read_sweep(suffix: str) -> Callable[[bytes, Path], list[Job]]:
    def from_bytes(data: bytes, path: Path) -> list[Job]:
        named = path.with_suffix(suffix)
        named.write_bytes(data)
        return read_sweep(named)

    return from_bytes


def _check_jobs(jobs: list[Job]) -> str | None:
    names = [job.name.lower() for job in jobs]
    if len(set(names)) != len(names):
        return "two runs have one name"
    bad = [n for n in names if not plain(n) or "/" in n or len(n) > 100]
    for job in jobs:
        flags(job.settings)
    return f"the name {bad[0]!r} is no folder" if bad else None


def _read_notes(data: bytes, path: Path) -> list[str]:
    root = path.with_name(path.name + "-notes")
    (root / "keys").mkdir(parents=True, exist_ok=True)
    (root / FILE).write_bytes(data)
    made = Made(root)
    try:
        return made.restored("1/stylize", made.lost("1/stylize", [root / "keys"]))
    finally:
        shutil.rmtree(root)


_NOTES = {"1/stylize": {f"keys/keys0000{k}.png": f"{k} abcdef {k}" for k in range(3)}}


def sweep_readers() -> list[Reader]:
    """Readers of sweep.toml, sweep.json and files.json."""
    return [
        Reader("sweep.toml", [_SWEEP_TOML], _read_sweep(".toml"), _check_jobs),
        Reader(
            "sweep.json", [json.dumps(_SWEEP).encode()], _read_sweep(".json"), _check_jobs, True
        ),
        Reader("files.json", [json.dumps(_NOTES).encode()], _read_notes, text=True),
    ]
