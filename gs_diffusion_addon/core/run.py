"""The run folder: its layout, run.json, atomic writes.

A run folder belongs to one run; ``run.json`` in it says which settings it was started with and
which stages are finished. Every file is written under a temporary name and renamed, so whatever has
its final name is whole. Only the supervisor writes run.json; stages write their own files.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import json_text
from .errors import InputError
from .inside import refuse_own_programs
from .settings import Settings, from_json, to_json

FORMAT = 1
TEMPORARY = ".gsd-tmp-"
SCENE_COPY = "scene.blend"
"""The open scene as the panel saved it into the run folder before the run began."""
SCENE_NAMES = "scene.json"
"""Which .blend, scene and objects that was."""
PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5)
"""Seconds between the tries to rename or delete what somebody has open, on Windows."""
PANEL_LOG = "panel.log"
"""In logs/: what a worker printed that Blender's window started."""


@dataclass(frozen=True)
class Run:
    """Paths of a run folder, seen from one iteration (1, 2, …; 0 is the turntable's own)."""

    root: Path
    iteration: int = 1

    def at(self, iteration: int) -> Run:
        """The same folder seen from another iteration."""
        return replace(self, iteration=iteration)

    @property
    def manifest(self) -> Path:
        """run.json."""
        return self.root / "run.json"

    @property
    def events(self) -> Path:
        """events.jsonl, the progress stream."""
        return self.root / "events.jsonl"

    @property
    def logs(self) -> Path:
        """Folder of what the children printed."""
        return self.root / "logs"

    @property
    def train_main(self) -> Path:
        """Folder of the turntable's frames."""
        return self.root / "train_main"

    @property
    def transforms_main(self) -> Path:
        """transforms_train_main.json: the cameras of all frames."""
        return self.root / "transforms_train_main.json"

    @property
    def guides(self) -> Path:
        """Folder of the geometry passes."""
        return self.root / "guides"

    @property
    def surface(self) -> Path:
        """guides/surface.ply: samples of the evaluated mesh with normals."""
        return self.guides / "surface.ply"

    @property
    def folder(self) -> Path:
        """iterK/."""
        return self.root / f"iter{self.iteration}"

    @property
    def sources(self) -> Path:
        """iterK/source: what is restyled, if it is not simply the last splat's renders."""
        return self.folder / "source"

    @property
    def history(self) -> Path:
        """metrics-history.json: the figures of all iterations, for curves."""
        return self.root / "metrics-history.json"

    @property
    def input(self) -> Path:
        """iterK/input: the collage pages sent to the stylizer."""
        return self.folder / "input"

    @property
    def output(self) -> Path:
        """iterK/output: the pages that came back."""
        return self.folder / "output"

    @property
    def keys(self) -> Path:
        """iterK/keys: the restyled keyframes."""
        return self.folder / "keys"

    @property
    def independent(self) -> Path:
        """iterK/independent: every frame of ring 0 restyled on its own, for comparison."""
        return self.folder / "independent"

    @property
    def stylized(self) -> Path:
        """iterK/stylized: every frame restyled, RGBA."""
        return self.folder / "stylized"

    @property
    def gs(self) -> Path:
        """iterK/gs: the training data set."""
        return self.folder / "gs"

    @property
    def model(self) -> Path:
        """iterK/gs/model: the trainer's own output."""
        return self.gs / "model"

    @property
    def renders(self) -> Path:
        """iterK/renders: the splat seen from every turntable camera."""
        return self.folder / "renders"

    @property
    def metrics(self) -> Path:
        """iterK/metrics.json."""
        return self.folder / "metrics.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of what this iteration's training needs to resume."""
        return self.root / "checkpoints" / f"iter{self.iteration}"

    @property
    def splat(self) -> Path:
        """splat_iterK.ply, the iteration's result."""
        return self.root / f"splat_iter{self.iteration}.ply"

    @property
    def video(self) -> Path:
        """iterK.mp4 (iter0.mp4 is the turntable's)."""
        return self.root / f"iter{self.iteration}.mp4"

    @property
    def report(self) -> Path:
        """report.html."""
        return self.root / "report.html"

    @property
    def result(self) -> Path:
        """result.blend, the scene with the splat in it."""
        return self.root / "result.blend"

    def frame(self, number: int) -> Path:
        """The turntable's frame, RGBA with straight alpha."""
        return self.train_main / f"r_{number}.png"

    def guide(self, number: int) -> Path:
        """The geometry passes of a frame."""
        return self.guides / f"r_{number}.exr"

    def own_guide(self, number: int) -> Path:
        """iterK/guides: the geometry of a frame where the last splat has left the model."""
        return self.folder / "guides" / f"r_{number}.exr"

    def geometry(self, number: int) -> Path:
        """The geometry passes that this iteration works with."""
        own = self.own_guide(number)
        return own if self.iteration > 1 and own.is_file() else self.guide(number)

    def source(self, number: int) -> Path:
        """What this iteration restyles: the turntable in the first; after it the last splat's
        renders, unless the stylize stage put something else into :attr:`sources`.
        """
        if self.iteration <= 1:
            return self.frame(number)
        own = self.sources / f"{number:05d}.png"
        return own if own.exists() else self.at(self.iteration - 1).render(number)

    def key(self, number: int) -> Path:
        """A restyled keyframe, opaque RGB."""
        return self.keys / f"keys{number:05d}.png"

    def stylized_frame(self, number: int) -> Path:
        """A restyled frame, RGBA with the render's alpha."""
        return self.stylized / f"r_{number}.png"

    def render(self, number: int) -> Path:
        """The splat from a turntable camera, RGBA."""
        return self.renders / f"{number:05d}.png"


# --- atomic writes -----------------------------------------------------------------------------


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path (same folder, same extension) that becomes ``path`` when the block ends
    well.

    The folder is made if need be. After an error nothing is left under either name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        yield temporary
        replace_file(temporary, path)
    finally:
        patiently(lambda: temporary.unlink(missing_ok=True))


def replace_file(source: Path, target: Path) -> None:
    """Rename a file or folder, over a file that is there."""
    patiently(lambda: os.replace(source, target))


def patiently(work: Callable[[], None]) -> None:
    """Rename or delete something. Windows refuses that while anybody has it open: a virus scanner,
    a search index, our own panel. They close it soon, so that is waited for, three seconds at most.
    """
    for pause in PAUSES if os.name == "nt" else ():
        try:
            return work()
        except PermissionError:
            time.sleep(pause)
    return work()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically, with line ends as given."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, data: Any) -> None:
    """Write readable JSON atomically; NaN and infinity, which other readers refuse, are refused."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; raises InputError with the reason."""
    try:
        return json_text.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None


def remove_temporaries(root: Path) -> None:
    """Delete what a killed process left half-written; call it with the lock held."""
    for path in root.rglob(f"{TEMPORARY}*"):
        patiently(lambda path=path: path.unlink(missing_ok=True))  # type: ignore[misc]


# --- run.json ----------------------------------------------------------------------------------


def new_manifest(settings: Settings, version: str) -> dict[str, Any]:
    """The content of a fresh run.json."""
    return {
        "format": FORMAT,
        "program": "GS Diffusion",
        "version": version,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "settings": to_json(settings),
        "resolved": {},
        "versions": {},
        "stages": {},
    }


def read_manifest(root: Path) -> dict[str, Any]:
    """run.json of a folder that is ours; raises InputError otherwise."""
    path = root / "run.json"
    if not path.is_file():
        raise InputError(f"{root} holds no run: there is no run.json in it.")
    data = read_json(path)
    if not isinstance(data, dict) or data.get("program") != "GS Diffusion":
        raise InputError(f"{path} was not written by GS Diffusion; choose another --out.")
    if data.get("format") != FORMAT:
        raise InputError(f"{path} has format {data.get('format')!r}, this version reads {FORMAT}.")
    for part in ("settings", "resolved", "versions", "stages"):
        if not isinstance(data.get(part), dict):
            raise InputError(
                f"{path} is damaged: its '{part}' is missing; restore it or choose another --out."
            )
    broken = next((name for name, r in data["stages"].items() if not _is_record(r)), None)
    if broken is not None:
        raise InputError(
            f"{path} is damaged: its record of stage {broken} is incomplete; restore it or choose "
            f"another --out."
        )
    refuse_own_programs(root, {**data["settings"], **data["resolved"]})
    return data


def _is_record(record: Any) -> bool:
    """Whether a stage's entry in run.json has what a run reads of it."""
    if not isinstance(record, dict) or not isinstance(record.get("key"), dict):
        return False
    texts = (record.get("state"), record["key"].get("settings"), record["key"].get("inputs"))
    seconds = record.get("seconds", 0.0)
    return all(isinstance(t, str) for t in texts) and isinstance(seconds, (int, float))


def run_settings(manifest: dict[str, Any]) -> Settings:
    """The settings of a run, with every ``auto`` replaced by what it was resolved to at its
    start.
    """
    return from_json({**manifest["settings"], **manifest["resolved"]})
