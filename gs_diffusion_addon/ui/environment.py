"""The worker's environment from the preferences: looked at, made and removed by child processes."""

from __future__ import annotations

import functools
import json
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import bpy

from ..core.check import WORKER as WORKER_FINDING
from ..core.console import duration
from ..core.environment import has_nvidia
from ..core.errors import GsdError
from ..core.interpreters import WORKER, environment_folder
from ..core.settings import flag
from ..declarations import SCENE_SETTINGS, Operators
from . import findings, online, running
from .job import Job
from .places import worker_python
from .properties import options
from .text import draw_text, tell

SIZES = {False: (0.5, 1.8), True: (3.5, 8.0)}
"""Gigabytes to download and on disk, without and with CUDA (1.7 measured, rest guessed)."""

ASKED = (
    "server",
    "server_verify",
    "ebsynth",
    "graphdeco",
    "graphdeco_python",
    "brush",
    "opensplat",
)
"""Settings of the scene that say where the check looks."""

MAKING = "Making the environment"

ALLOW = "Allow it first: Preferences > System > Allow Online Access."

check_job: Job | None = None
environment_job: Job | None = None
_since = "", 0.0  # what the environment's job does, and from when on


def busy(job: Job | None) -> bool:
    """Whether a job is under way."""
    return job is not None and job.code is None


@functools.cache
def _question() -> tuple[threading.Thread, list[bool]]:
    """Ask once whether there is an NVIDIA card, in a thread: it starts a program, which may take a
    second, and panels that want to know it are being drawn. The answer is in the list at its end.
    """
    answer: list[bool] = []
    thread = threading.Thread(target=lambda: answer.append(has_nvidia()), daemon=True)
    thread.start()
    if not bpy.app.background:
        bpy.app.timers.register(
            lambda: 0.1 if thread.is_alive() else running.redraw(), first_interval=0.1
        )
    return thread, answer


def _has_card() -> bool | None:
    """Whether there is an NVIDIA card; None in a window that does not know it yet."""
    thread, answer = _question()
    if bpy.app.background:
        thread.join()
    return answer[0] if answer else None


def announcement() -> str:
    """What making the environment will cost, in one sentence."""
    cuda = _has_card()
    if cuda is None:
        return "Looking whether there is an NVIDIA card…"
    download, disk = SIZES[cuda]
    folder = environment_folder()
    near = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(near).free / 1e9
    build = "CUDA" if cuda else "processor"
    return (
        f"Torch's {build} build and others: about {download:g} GB to download, {disk:g} GB on "
        f"disk ({free:.0f} GB are free)."
    )


def draw_offer(layout: Any) -> None:
    """In the main panel: the environment's making under way, how it failed, or, where the check
    found none, the button that makes it.
    """
    job = environment_job
    if not busy(job) and not _is_missing() and (job is None or job.succeeded):
        if job is not None and job.stage == MAKING and running.current is None:
            layout.label(text="The environment is ready", icon="CHECKMARK")
        return
    box = layout.box()
    if job is None or job.succeeded:
        draw_text(box, "Once, before the first run: a Python environment of its own.", "INFO")
        draw_text(box, announcement(), "BLANK1")
    elif draw_job(box, job):
        return
    if not online.allowed():
        draw_text(box, ALLOW, "ERROR")
    box.operator(Operators.ENVIRONMENT, text="Create", icon="IMPORT").action = "create"


def draw_job(layout: Any, job: Job, width: int = 34) -> bool:
    """What the environment's job does, with Cancel, or how it ended; returns whether it runs."""
    if busy(job):
        # pip says nothing for minutes: that the time goes on shows that it works
        draw_text(layout, f"{job.stage}: {job.detail} ({duration(_elapsed(job))})", "TIME", width)
        layout.operator(Operators.ENVIRONMENT, text="Cancel", icon="CANCEL").action = "cancel"
        return True
    stopped = "Stopped; Create goes on from here."
    text = stopped if job.cancelled else job.message or job.outcome
    draw_text(layout, text, "INFO" if job.succeeded or job.cancelled else "ERROR", width)
    return False


def _elapsed(job: Job) -> float:
    """For how many seconds the job has been doing what it says."""
    global _since
    if _since[0] != job.detail:
        _since = job.detail, time.monotonic()
    return time.monotonic() - _since[1]


def _is_missing() -> bool:
    """Whether the last check found no worker's environment; nobody knows before the first one."""
    findings.load()
    return any(item["name"] == WORKER_FINDING and not item["ok"] for item in findings.lines)


def _program(*words: str) -> list[str]:
    return [sys.executable, str(WORKER), *words]


class GS_DIFFUSION_OT_check(bpy.types.Operator):
    """Look for everything a run can use: Blender, the worker, torch, gsplat, servers, EbSynth"""

    bl_idname = Operators.CHECK
    bl_label = "Check Again"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """One check at a time."""
        return not busy(check_job)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start ``gsd check --json`` and read what it prints."""
        global check_job
        words = ["check", "--json", f"--blender={bpy.app.binary_path or sys.executable}"]
        words += _asked(context.scene)
        check_job = Job(_program(*words), environment_folder())
        try:
            check_job.start()
        except GsdError as error:
            tell(self, "ERROR", error)
            return {"CANCELLED"}
        running.follow(check_job, _checked)
        return {"FINISHED"}


def _asked(scene: bpy.types.Scene) -> list[str]:
    """Where to look, as the scene says; a server on another machine only with permission."""
    settings = getattr(scene, SCENE_SETTINGS)
    flags = {f"{flag(name)}=": name for name in ASKED}
    words = [w for w in options(settings) if w.startswith(tuple(flags))]
    far = [s for s in settings.server.split(",") if s.strip() and not online.is_local(s.strip())]
    if far and not online.allowed():
        words = [w for w in words if not w.startswith(f"{flag('server')}=")]
    python = worker_python(settings)
    return [*words, *([f"--worker-python={python}"] if python else [])]


def _checked(job: Job) -> None:
    text = "\n".join(job.log)
    try:
        findings.keep(json.loads(text[text.index("[") : text.rindex("]") + 1]))
    except ValueError:
        job.message = job.message or "The check printed nothing that can be read."
    except OSError as error:
        job.message = f"What was found cannot be kept: {error}"


_offered = False


def look_once() -> None:
    """Check by itself, soon, when nobody ever has: the choices of backends then say what is there.

    Called while a panel is drawn, where nothing may be started.
    """
    global _offered
    if _offered or bpy.app.background:
        return
    _offered = True
    if not findings.load():
        bpy.app.timers.register(_look, first_interval=1.0)


def _look() -> None:
    if not busy(check_job):
        bpy.ops.gs_diffusion.check()


class GS_DIFFUSION_OT_environment(bpy.types.Operator):
    """Make or remove the worker's own Python environment; Blender's Python stays as it is"""

    bl_idname = Operators.ENVIRONMENT
    bl_label = "Worker Environment"

    action: bpy.props.EnumProperty(
        items=[
            ("create", "Create", "Download and install torch and what else the worker needs"),
            ("remove", "Remove", "Delete the worker's environment"),
            ("cancel", "Cancel", "Stop what is going on"),
        ],
        options={"HIDDEN"},
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask before anything is deleted."""
        if self.action == "remove":
            return context.window_manager.invoke_confirm(
                self,
                event,
                title="Remove the Worker's Environment?",
                message="No run can work without it. Create makes it again, with a download.",
                confirm_text="Remove",
                icon="WARNING",
            )
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the child, or end it."""
        global environment_job
        if self.action == "cancel":
            if environment_job is not None:
                environment_job.cancel()
            return {"FINISHED"}
        if self.action == "create" and not online.allowed():
            self.report({"ERROR"}, ALLOW)
            return {"CANCELLED"}
        if busy(environment_job):
            self.report({"ERROR"}, "The environment is being worked on already.")
            return {"CANCELLED"}
        folder = Path(environment_folder())
        job = Job(_program("environment", self.action, f"--folder={folder}"), folder)
        job.stage = MAKING if self.action == "create" else "Removing it"
        try:
            job.start()
        except GsdError as error:
            tell(self, "ERROR", error)
            return {"CANCELLED"}
        environment_job = job
        running.follow(job, _changed)
        return {"FINISHED"}


def _changed(job: Job) -> None:
    if job.succeeded:
        job.message = "Done."
    findings.forget()
    if not bpy.app.background:
        _look()


CLASSES = (GS_DIFFUSION_OT_check, GS_DIFFUSION_OT_environment)
