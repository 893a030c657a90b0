"""What is installed and reachable, each in one line with what to do about it."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from dataclasses import dataclass

from . import environment, interpreters
from . import graphdeco as checkouts
from .errors import GsdError, MissingError
from .process import told
from .programs import trainer_program
from .settings import Settings

WORKER = "Worker environment"
GSPLAT, GRAPHDECO, SERVER = "gsplat (CUDA)", "gaussian-splatting (graphdeco)", "Automatic1111"
BRUSH, OPENSPLAT, DIFFUSERS, EBSYNTH = "Brush", "OpenSplat", "diffusers (local)", "EbSynth"

FINDING_OF = {
    "a1111": SERVER,
    "diffusers_local": DIFFUSERS,
    "ebsynth_cli": EBSYNTH,
    "gsplat": GSPLAT,
    "graphdeco": GRAPHDECO,
    "brush": BRUSH,
    "opensplat": OPENSPLAT,
}
"""The finding that tells whether a backend can be used; the others need nothing more."""


@dataclass(frozen=True)
class Finding:
    """One line of ``check``: what, whether it is usable, details, what to do, whether a run needs
    it.
    """

    name: str
    ok: bool
    detail: str
    todo: str = ""
    required: bool = False


def everything(settings: Settings) -> list[Finding]:
    """All findings, the required ones first."""
    return [
        blender(settings),
        worker(settings),
        torch(settings),
        gsplat(settings),
        graphdeco(settings),
        program(settings, "brush", BRUSH),
        program(settings, "opensplat", OPENSPLAT),
        server(settings),
        diffusers(settings),
        ebsynth(settings),
    ]


def blender(settings: Settings) -> Finding:
    """Blender, or the bpy wheel."""
    try:
        program = interpreters.blender_program(settings)
    except MissingError as error:
        return Finding("Blender", False, "not found", str(error), required=True)
    if interpreters.is_python(program):
        found = interpreters.versions_of(program).get("bpy", "unknown")
        return Finding("Blender", True, f"bpy wheel {found} in {program}", required=True)
    return Finding("Blender", True, f"{_blender_version(program)} at {program}", required=True)


@functools.cache
def _blender_version(program: str) -> str:
    try:
        done = told([program, "--version"], timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return "Blender of unknown version"
    return done.stdout.splitlines()[0].strip() if done.stdout else "Blender of unknown version"


def worker(settings: Settings) -> Finding:
    """The worker's environment with all its packages."""
    try:
        python = interpreters.worker_python(settings)
    except MissingError as error:
        return Finding(WORKER, False, "not found", str(error), required=True)
    version = interpreters.versions_of(python)["python"]
    return Finding(WORKER, True, f"Python {version} at {python}", required=True)


TORCH_PROBE = """
import json, torch
cuda = torch.cuda.is_available()
gpu = torch.cuda.get_device_name(0) if cuda else ""
out = {"version": torch.__version__, "cuda": cuda, "gpu": gpu}
out["gsplat"] = ""
if cuda:
    try:
        import gsplat
        t = torch.zeros(1, 3, device="cuda")
        q = torch.tensor([[1.0, 0, 0, 0]], device="cuda")
        view, lens = torch.eye(4, device="cuda")[None], torch.eye(3, device="cuda")[None]
        gsplat.rasterization(t + 1, q, t + 1, t[:, 0] + 0.5, t + 0.5, view, lens, 16, 16)
        out["gsplat"] = gsplat.__version__
    except Exception as error:
        out["gsplat_error"] = f"{type(error).__name__}: {error}"[:300]
print(json.dumps(out))
"""


@functools.cache
def _torch_facts(python: str) -> dict[str, str | bool]:
    try:
        done = told(
            [python, "-c", TORCH_PROBE],
            timeout=300,
            check=True,
            environment=interpreters.safe_environment(),
        )
        facts: dict[str, str | bool] = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return {}
    return facts


def torch(settings: Settings) -> Finding:
    """Torch and the device it computes on."""
    try:
        facts = _torch_facts(interpreters.worker_python(settings))
    except MissingError:
        return Finding(
            "Torch", False, "no worker environment", "See the line above.", required=True
        )
    if not facts:
        return Finding(
            "Torch",
            False,
            "does not import",
            f"To repair it, {interpreters.how_to_make_it()}.",
            required=True,
        )
    device = facts["gpu"] if facts["cuda"] else "processor only"
    return Finding("Torch", True, f"{facts['version']} on {device}", required=True)


def gsplat(settings: Settings) -> Finding:
    """gsplat on CUDA, which trains and renders splats much faster than the processor."""
    try:
        facts = _torch_facts(interpreters.worker_python(settings))
    except MissingError:
        facts = {}
    if facts.get("gsplat"):
        return Finding(GSPLAT, True, f"{facts['gsplat']} works")
    if facts.get("gsplat_error"):
        todo = f"'pip install gsplat' in the worker's environment ({facts['gsplat_error']})."
        return Finding(GSPLAT, False, "a CUDA card, but gsplat does not work", todo)
    return Finding(
        GSPLAT,
        False,
        "no CUDA card",
        "Nothing to do: the built-in trainer uses the processor.",
    )


def graphdeco(settings: Settings) -> Finding:
    """A checkout of graphdeco's gaussian-splatting with a Python that can run it."""
    name = GRAPHDECO
    if not checkouts.configured(settings):
        todo = "Nothing to do; to use yours, name its folder with --graphdeco or GSD_GRAPHDECO."
        return Finding(name, False, "no checkout named", todo)
    try:
        checkout = checkouts.inspect(settings)
    except MissingError as error:
        return Finding(name, False, "not usable", str(error))
    f = checkout.facts
    detail = f"{checkout.root} on {f.gpu}, {f.free / 2**30:.1f} GB free, Pillow {f.pillow}"
    return Finding(name, True, detail)


def program(settings: Settings, name: str, title: str) -> Finding:
    """A trainer with a command line of its own."""
    try:
        return Finding(title, True, f"found at {trainer_program(settings, name)}")
    except GsdError as error:
        return Finding(title, False, "not installed", f"Nothing to do; to use it: {error}")


def best_trainer(settings: Settings) -> str:
    """What ``--trainer auto`` stands for: the user's checkout if it works, gsplat, the built-in."""
    if checkouts.configured(settings) and graphdeco(settings).ok:
        return "graphdeco"
    return "gsplat" if gsplat(settings).ok else "builtin"


def server(settings: Settings) -> Finding:
    """The Automatic1111 server."""
    from . import a1111

    name, found, problems = SERVER, [], []
    for address in a1111.addresses(settings.server):
        try:
            found.append(a1111.describe(address, 3.0, settings.server_verify))
        except GsdError as error:
            problems.append(str(error))
    if found:
        return Finding(name, True, "; ".join(found), " ".join(problems))
    return Finding(name, False, f"no answer at {a1111.masked(settings.server)}", problems[0])


def diffusers(settings: Settings) -> Finding:
    """The package of the stylizer ``diffusers_local`` in the worker's environment."""
    name = DIFFUSERS
    try:
        python = interpreters.worker_python(settings)
    except MissingError:
        return Finding(name, False, "no worker's environment")
    found = interpreters.versions_of(python).get("diffusers")
    if found:
        return Finding(name, True, f"{found}; --stylizer diffusers_local uses it")
    requirements = environment.REQUIREMENTS.with_name("diffusers.txt")
    command = f'"{python}" -m pip install -r "{requirements}"'
    todo = f"Nothing to do; to use it, install it with '{command}'."
    return Finding(name, False, "not installed", todo)


def ebsynth(settings: Settings) -> Finding:
    """The EbSynth command line, for the propagator ``ebsynth_cli``."""
    found = shutil.which(settings.ebsynth or "ebsynth")
    if found:
        return Finding(EBSYNTH, True, f"found at {found}; --propagator ebsynth_cli uses it")
    return Finding(
        EBSYNTH,
        False,
        "the command is not installed",
        "Nothing to do: 'reproject' propagates without it. EbSynth's own program works by "
        "'--propagator ebsynth_folder'.",
    )
