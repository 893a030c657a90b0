"""What else can be made of a finished run: videos, and its splat described, thinned, converted."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bpy

from ..core.errors import GsdError, InputError
from ..core.run import Run
from ..core.splat_tools import FORMATS
from ..core.sweep_arguments import VIDEO_KINDS
from ..declarations import SCENE_SETTINGS, Operators
from . import running
from .job import Job
from .places import worker_python
from .runs import row, selected
from .text import tell

_KIND_HELP = {
    "side-by-side": "MP4: the source left, the splat right",
    "ping-pong": "MP4: once around the splat and back",
    "gif": "Endless GIF on white",
    "webp": "Endless WebP with a transparent background",
}
KINDS = tuple((k, k.replace("-", " ").title(), _KIND_HELP[k]) for k in VIDEO_KINDS)
ENDINGS = tuple((e, e, f"Write a {e} file") for e in FORMATS if e != ".ply")
SHOWN_FACTS = ("splats", "SH degree", "bounds", "with NaN", "opacity:", "size:")

_facts: dict[Path, list[str]] = {}


def facts_of(splat: Path) -> list[str]:
    """What Info has found about a splat; nothing before it was pressed."""
    return _facts.get(splat, [])


class _Tool:
    """What all tools for the chosen run have in common."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """One job at a time, and a run with a splat."""
        if running.is_running():
            cls.poll_message_set("A run is under way already")
            return False
        if _splat(context.scene) is None:
            cls.poll_message_set("No run with a result is chosen under Runs")
            return False
        return True

    def _begin(
        self, context: Any, words: Sequence[str], stage: str, done: Callable[[Job], None]
    ) -> set[str]:
        """Start the program with ``words``; the panel shows it as the job."""
        settings = getattr(context.scene, SCENE_SETTINGS)
        try:
            command = [*running.command_of(settings), *words]
            python = worker_python(settings)
            if python and "info" not in words and "convert" not in words:
                command.append(f"--worker-python={python}")
            folder = selected(context.scene)
            if folder is None:
                raise InputError("No run with a result is chosen.")
        except GsdError as error:
            tell(self, "ERROR", error)
            return {"CANCELLED"}
        job = running.become_current(Job(command, folder, settings.threads, stage=stage))
        running.follow(job, done)
        if bpy.app.background and not job.succeeded:
            tell(self, "ERROR", job.outcome)
            return {"CANCELLED"}
        return {"FINISHED"}


def _splat(scene: bpy.types.Scene) -> Path | None:
    """The newest splat of the chosen run."""
    folder = selected(scene)
    found = row(folder) if folder else None
    return found.splat if found else None


def _made(job: Job) -> None:
    """The program's last line is the file that it made."""
    if job.succeeded:
        line = next((text for text in reversed(job.log) if text.strip()), "")
        job.message = f"Written: {line.strip()}"


class GS_DIFFUSION_OT_export_video(_Tool, bpy.types.Operator):
    """Make another video or an animated picture of the chosen run, in its folder"""

    bl_idname = Operators.EXPORT_VIDEO
    bl_label = "Export Video"

    kind: bpy.props.EnumProperty(name="Kind", items=KINDS)
    width: bpy.props.IntProperty(
        name="Width", description="widest side of GIF and WebP", default=320, min=16, max=4096
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start it; the outcome names the file."""
        words = ["video", f"--out={selected(context.scene)}", f"--kind={self.kind}"]
        return self._begin(context, [*words, f"--width={self.width}"], "Making a video", _made)


class GS_DIFFUSION_OT_splat_info(_Tool, bpy.types.Operator):
    """Count, degree, bounds, faults, opacities and sizes of the chosen run's splats"""

    bl_idname = Operators.SPLAT_INFO
    bl_label = "Splat Info"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start it; the facts appear below the buttons."""
        splat = _splat(context.scene)
        assert splat is not None

        def show(job: Job) -> None:
            if job.succeeded:
                lines = [text for text in job.log if text.startswith(SHOWN_FACTS)]
                _facts[splat] = [_as_fact(text) for text in lines]
                job.message = f"{splat.name}: the facts stand under Result."

        return self._begin(context, ["splat", "info", str(splat)], "Reading the splat", show)


def _as_fact(line: str) -> str:
    """``"bounds      (0, 0, 0) to …"`` -> ``"Bounds: (0, 0, 0) to …"``."""
    name, values = re.split(r":? {2,}|: ", line.strip(), maxsplit=1)
    return f"{name[:1].upper()}{name[1:]}: {' '.join(values.split())}"


class GS_DIFFUSION_OT_prune_splat(_Tool, bpy.types.Operator):
    """Write the chosen run's splat without the splats that no camera of the run sees"""

    bl_idname = Operators.PRUNE_SPLAT
    bl_label = "Prune Splat"

    faintest: bpy.props.FloatProperty(
        name="Faintest", description="least opacity kept", default=0.005, min=0.0, max=1.0
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start it; the new file stands beside the old one."""
        splat = _splat(context.scene)
        assert splat is not None
        out = splat.with_name(f"{splat.stem}-pruned.ply")
        words = ["splat", "prune", str(splat), f"--out={out}", f"--faintest={self.faintest:.7g}"]
        cameras = Run(splat.parent).transforms_main
        if cameras.is_file():
            words.append(f"--transforms={cameras}")
        return self._begin(context, words, "Leaving out unseen splats", _made)


class GS_DIFFUSION_OT_convert_splat(_Tool, bpy.types.Operator):
    """Write the chosen run's splat in another format; all but .ply need splat-transform"""

    bl_idname = Operators.CONVERT_SPLAT
    bl_label = "Convert Splat"

    ending: bpy.props.EnumProperty(name="Format", items=ENDINGS)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start it; the new file stands beside the old one."""
        splat = _splat(context.scene)
        assert splat is not None
        out = splat.with_name(f"{splat.stem}{self.ending}")
        words = ["splat", "convert", str(splat), f"--out={out}"]
        return self._begin(context, words, f"Writing {out.name}", _made)


CLASSES = (
    GS_DIFFUSION_OT_export_video,
    GS_DIFFUSION_OT_splat_info,
    GS_DIFFUSION_OT_prune_splat,
    GS_DIFFUSION_OT_convert_splat,
)
