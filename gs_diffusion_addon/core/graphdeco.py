"""The user's checkout of graphdeco's gaussian-splatting: is it usable, and what does it know?

Its licence allows research only, so it is never bundled: the user names a checkout and the Python
that runs it (conda, venv, …). Everything is found out by asking them; what is missing becomes one
sentence with the next step.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import MissingError
from .foreign import foreign_environment
from .process import told
from .programs import help_of, options_of
from .settings import Settings

MARK = "GSD-FACTS "

PROBE = """
import importlib, json, sys
facts = {"python": sys.version.split()[0], "errors": {}, "gpu": "", "free": 0, "total": 0}
def found(name):
    try:
        return importlib.import_module(name)
    except BaseException as error:
        facts["errors"][name] = f"{type(error).__name__}: {error}"[:300]
torch = found("torch")
if torch:
    facts["torch"] = torch.__version__
    facts["cuda"] = torch.version.cuda or ""
    try:
        torch.cuda.init()
        facts["gpu"] = torch.cuda.get_device_name(0)
        facts["free"], facts["total"] = torch.cuda.mem_get_info()
    except BaseException as error:
        facts["gpu_error"] = str(error).strip().splitlines()[0][:300]
raster = found("diff_gaussian_rasterization")
facts["sparse_adam"] = hasattr(raster, "SparseGaussianAdam")
for name in ("simple_knn._C", "plyfile", "tqdm"):
    found(name)
pil = found("PIL")
facts["pillow"] = getattr(pil, "__version__", "")
print("GSD-FACTS " + json.dumps(facts))
"""

_SUBMODULES = {
    "diff_gaussian_rasterization": "diff-gaussian-rasterization",
    "simple_knn._C": "simple-knn",
}

BYTES_PER_SPLAT = 2000
"""GPU bytes a splat takes in training: 59 float32 at degree 3, their gradients and two moments
(944), the rasterizer's buffers, and copies while splats are added."""

TYPICAL_SPLATS = 500_000
"""Splats to count on for one object; graphdeco has no upper limit."""

FIXED_BYTES = 1 << 30
"""GPU bytes of the CUDA context, torch's workspace and the rasterizer's tile lists."""


@dataclass(frozen=True)
class Facts:
    """What the user's Python told: versions, the card, its free and total bytes, failed imports."""

    python: str
    torch: str
    cuda: str
    gpu: str
    gpu_error: str
    free: int
    total: int
    pillow: str
    sparse_adam: bool
    errors: Mapping[str, str]


@dataclass(frozen=True)
class Checkout:
    """A usable checkout: its folder, its Python, the options of train.py, what was found out."""

    root: Path
    python: str
    options: frozenset[str]
    facts: Facts

    @property
    def breaks_transforms(self) -> bool:
        """Whether its reader of transforms.json crashes: it makes pictures of signed bytes, which
        Pillow 12 and newer refuse.
        """
        major = self.facts.pillow.split(".")[0]
        return major.isdigit() and int(major) >= 12


def configured(settings: Settings) -> str:
    """The checkout's folder as the user named it, empty if none is."""
    return settings.graphdeco or os.environ.get("GSD_GRAPHDECO", "")


def inspect(settings: Settings) -> Checkout:
    """Look at checkout and Python; raises MissingError with the one thing to do."""
    root = _folder(settings)
    python = _python(settings)
    facts = probe(python, str(root))
    problem = problem_of(facts, root, python)
    if problem:
        raise MissingError(problem)
    options = options_of(help_of((python, "train.py"), str(root)))
    for needed in ("--source_path", "--model_path", "--iterations"):
        if needed not in options:
            raise MissingError(
                f"{root / 'train.py'} has no option {needed}, so it is not graphdeco's; correct "
                f"--graphdeco."
            )
    return Checkout(root, python, options, facts)


def _folder(settings: Settings) -> Path:
    named = configured(settings)
    if not named:
        raise MissingError(
            "No checkout of gaussian-splatting is named: clone graphdeco-inria/gaussian-splatting "
            "with --recursive and name its folder with --graphdeco or GSD_GRAPHDECO."
        )
    root = Path(named).expanduser()
    for name in ("train.py", "render.py"):
        if not (root / name).is_file():
            raise MissingError(
                f"{root} is not a checkout of gaussian-splatting (there is no {name} in it); "
                f"correct --graphdeco."
            )
    return root.resolve()


def _python(settings: Settings) -> str:
    named = settings.graphdeco_python or os.environ.get("GSD_GRAPHDECO_PYTHON", "")
    folder = Path(named).expanduser()
    if named and folder.is_dir():  # an environment's folder is what people copy from conda
        for name in ("bin/python", "python.exe", "Scripts/python.exe"):
            if (folder / name).is_file():
                return str(folder / name)
    found = (
        shutil.which(str(folder)) if named else shutil.which("python3") or shutil.which("python")
    )
    if not found:
        raise MissingError(
            f"There is no Python at {named}; correct --graphdeco-python."
            if named
            else "No Python for gaussian-splatting was found; name it with --graphdeco-python."
        )
    if found.lower().endswith((".bat", ".cmd")):
        raise MissingError(
            f"{found} is a script; name the environment's python.exe with --graphdeco-python."
        )
    return found


@functools.cache
def probe(python: str, root: str) -> Facts:
    """Ask ``python``, standing in the checkout; raises MissingError if it does not answer."""
    # From a file: Windows' command line would mangle a program given with -c.
    with tempfile.TemporaryDirectory(prefix="gsd-") as folder:
        script = Path(folder) / "probe.py"
        script.write_text(PROBE, encoding="utf-8")
        try:
            done = told(
                [python, str(script)],
                timeout=180,
                environment=foreign_environment(0),
                cwd=root,
                encoding="utf-8",
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise MissingError(
                f"{python} cannot be run ({error}); correct --graphdeco-python."
            ) from None
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if not lines:
        last = ((done.stderr or done.stdout).strip().splitlines() or ["it printed nothing"])[-1]
        raise MissingError(
            f"{python} fails when it imports gaussian-splatting's packages ({last[:200]}); correct "
            f"--graphdeco-python or repair that environment."
        )
    return _facts(json.loads(lines[-1][len(MARK) :]))


def _facts(raw: Mapping[str, Any]) -> Facts:
    text = {n: str(raw.get(n, "")) for n in ("python", "torch", "cuda", "gpu", "gpu_error")}
    return Facts(
        **text,
        free=int(raw.get("free", 0)),
        total=int(raw.get("total", 0)),
        pillow=str(raw.get("pillow", "")),
        sparse_adam=bool(raw.get("sparse_adam")),
        errors=dict(raw.get("errors", {})),
    )


def problem_of(facts: Facts, root: Path, python: str) -> str | None:
    """The first thing that keeps the checkout from training, as a sentence with the next step."""
    errors = facts.errors
    if "torch" in errors:
        return (
            f"{python} has no working torch ({errors['torch']}); name the Python of your "
            f"gaussian-splatting environment with --graphdeco-python."
        )
    if not facts.gpu:
        reason = facts.gpu_error or "torch finds no card"
        if not facts.cuda:
            reason = f"its torch {facts.torch} was built without CUDA"
        return (
            f"gaussian-splatting needs an NVIDIA card with CUDA, and {python} has none ({reason}); "
            f"install a torch build for your driver, or use --trainer builtin."
        )
    for module, folder in _SUBMODULES.items():
        if module not in errors:
            continue
        place = root / "submodules" / folder
        if not place.is_dir() or not any(place.iterdir()):
            return (
                f"The submodule {place} is empty; run 'git submodule update --init --recursive' in "
                f"{root}, then 'pip install {place}' with {python}."
            )
        return (
            f"{python} cannot import {module} ({errors[module]}); build it for its torch "
            f"{facts.torch} with 'pip install {place}'."
        )
    for module, package in (("PIL", "pillow"), ("plyfile", "plyfile"), ("tqdm", "tqdm")):
        if module in errors:
            return f"{python} lacks {package}; run '{python} -m pip install {package}'."
    return None


def needed_bytes(views: int, width: int, height: int, points: int) -> int:
    """An estimate of the GPU memory a training takes: frames as float32 RGB, splats, the rest."""
    splats = max(TYPICAL_SPLATS, 4 * points)
    return FIXED_BYTES + views * width * height * 12 + splats * BYTES_PER_SPLAT


def memory_warning(facts: Facts, needed: int) -> str | None:
    """A sentence if the card's free memory is less than the estimate."""
    if facts.free >= needed:
        return None
    return (
        f"{facts.gpu} has {facts.free / 2**30:.1f} GB free and the training may need about "
        f"{needed / 2**30:.1f} GB; close other programs that use it, or choose a smaller --size if "
        f"it runs out."
    )
