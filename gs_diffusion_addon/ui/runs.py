"""The runs of this scene: found, listed with their state, and the operators on one of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from ..core.errors import GsdError
from ..core.lock import in_use
from ..core.loop import plan
from ..core.run import Run, read_manifest, run_settings
from ..core.stages import record_name
from ..declarations import SCENE_SETTINGS, Operators
from .places import runs_folder

KEYFRAME = re.compile(r"keys(\d+)\.png")
"""The name of a restyled keyframe."""


def runs(folder: Path) -> list[Path]:
    """The run folders in ``folder``, oldest first."""
    found = folder.glob("run-*") if folder.is_dir() else ()
    numbered = [p for p in found if re.fullmatch(r"run-\d+", p.name) and Run(p).manifest.is_file()]
    return sorted(numbered, key=lambda p: int(p.name[4:]))


def next_run(folder: Path) -> Path:
    """A folder for a new run."""
    last = runs(folder)
    return folder / f"run-{int(last[-1].name[4:]) + 1 if last else 1:03}"


def unfinished(folder: Path) -> Path | None:
    """The last run, if it is not done yet."""
    last = runs(folder)
    if not last or Run(last[-1]).result.exists():
        return None
    found = row(last[-1])
    return None if found and found.done >= found.stages else last[-1]


def selected(scene: bpy.types.Scene) -> Path | None:
    """The run that stage buttons go on with; None for a new one."""
    name = getattr(scene, SCENE_SETTINGS).run
    folder = runs_folder(scene) / name
    return folder if name and Run(folder).manifest.is_file() else None


def choose(settings: Any, folder: Path | None) -> None:
    """Make a run the one that stage buttons go on with; None for a new one. The keyframes left out
    are then those that it leaves out itself.
    """
    name = folder.name if folder else ""
    if settings.run != name:
        try:
            own = read_manifest(folder)["settings"].get("reject_keys", "") if folder else ""
        except GsdError:  # a run that has not begun yet, or a damaged one
            own = ""
        settings.reject_keys = str(own)
    settings.run = name


def newest_keys(folder: Path) -> Run | None:
    """The run at its newest iteration that has restyled keyframes; None if it has none."""
    found = [p.name[4:] for p in folder.glob("iter*") if p.name[4:].isdecimal()]
    numbers = [int(number) for number in found if restyled(Run(folder, int(number)))]
    return Run(folder, max(numbers)) if numbers else None


def restyled(run: Run) -> dict[int, Path]:
    """The restyled keyframes that are there, by their numbers; copies beside them are none."""
    found = [(KEYFRAME.fullmatch(p.name), p) for p in run.keys.glob("keys*.png")]
    return dict(sorted((int(name[1]), path) for name, path in found if name))


@dataclass(frozen=True)
class Row:
    """One line of the list: folder, stages done of all, whether it stopped amid one, prompt, the
    splat or None.
    """

    folder: Path
    done: int
    stages: int
    stopped: bool
    prompt: str
    splat: Path | None


_rows: dict[Path, tuple[int, Row]] = {}


def row(folder: Path) -> Row | None:
    """What a run's run.json says, read again only when it changes; None if it is damaged."""
    try:
        changed = Run(folder).manifest.stat().st_mtime_ns
        kept = _rows.get(folder)
        if kept is None or kept[0] != changed:
            _rows[folder] = (changed, _read(folder))
    except (OSError, GsdError):
        return None
    return _rows[folder][1]


def _read(folder: Path) -> Row:
    manifest = read_manifest(folder)
    settings, stages = run_settings(manifest), manifest["stages"]
    steps = plan(folder, settings)  # to where the loop ended, which may be early
    wanted = [record_name(*step) for step in steps]
    done = sum(stages.get(name, {}).get("state") == "done" for name in wanted)
    splats = [Run(folder, k).splat for k in range(settings.iterations, 0, -1)]
    splat = next((p for p in splats if p.is_file()), None)
    stopped = any(record.get("state") == "running" for record in stages.values())
    return Row(folder, done, len(wanted), stopped, settings.prompt, splat)


def is_working(folder: Path) -> bool:
    """Whether some process works in the run folder."""
    try:
        return in_use(folder)
    except OSError:
        return False


def left_behind(folder: Path) -> Path | None:
    """The newest run if it works without us or stopped amid a stage; None otherwise."""
    last = runs(folder)
    found = row(last[-1]) if last else None
    return found.folder if found and (found.stopped or is_working(found.folder)) else None


class GS_DIFFUSION_OT_skip_ebsynth(bpy.types.Operator):
    """Wait no longer for EbSynth: frames that it has not made are carried over by reproject"""

    bl_idname = Operators.SKIP_EBSYNTH
    bl_label = "Skip"

    folder: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Leave the file that ends the wait."""
        try:
            (Path(self.folder) / "SKIP").touch()
        except OSError as error:
            self.report({"ERROR"}, f"{self.folder} cannot be written: {error.strerror}.")
            return {"CANCELLED"}
        return {"FINISHED"}


class GS_DIFFUSION_OT_choose_run(bpy.types.Operator):
    """Let the stage buttons go on with this run; again to let them start a new one"""

    bl_idname = Operators.CHOOSE_RUN
    bl_label = "Choose Run"

    name: bpy.props.StringProperty(options={"HIDDEN"})

    @classmethod
    def description(cls, context: bpy.types.Context, properties: Any) -> str:
        """The tooltip begins with the run's prompt."""
        found = row(runs_folder(context.scene) / properties.name)
        prompt = found.prompt.strip() if found else ""
        return f"{prompt}. {cls.__doc__}" if prompt else str(cls.__doc__)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Toggle."""
        settings = getattr(context.scene, SCENE_SETTINGS)
        folder = runs_folder(context.scene) / self.name
        choose(settings, None if settings.run == self.name else folder)
        return {"FINISHED"}


class GS_DIFFUSION_OT_open_file(bpy.types.Operator):
    """Open this file or folder with the system's program for it"""

    bl_idname = Operators.OPEN_FILE
    bl_label = "Open"

    path: bpy.props.StringProperty(subtype="FILE_PATH", options={"HIDDEN"})

    @classmethod
    def description(cls, context: bpy.types.Context, properties: Any) -> str:
        """The tooltip says what is opened, and of a keyframe what for."""
        if KEYFRAME.fullmatch(Path(properties.path).name):
            return (
                "Paint over this keyframe: open it with the system's program for pictures, save it "
                "under the same name, then press Propagate"
            )
        return f"Open {properties.path} with the system's program for it"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Hand it over."""
        if not Path(self.path).exists():
            self.report({"ERROR"}, f"{self.path} does not exist.")
            return {"CANCELLED"}
        bpy.ops.wm.path_open(filepath=self.path)
        return {"FINISHED"}


CLASSES = (
    GS_DIFFUSION_OT_skip_ebsynth,
    GS_DIFFUSION_OT_choose_run,
    GS_DIFFUSION_OT_open_file,
)
