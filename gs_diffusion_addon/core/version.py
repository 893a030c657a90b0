"""The program's version, read from blender_manifest.toml, the one place that holds it."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


@functools.cache
def version() -> str:
    """The version: the manifest lies inside the installed extension, or beside the package in a
    checkout.
    """
    for folder in (PACKAGE, PACKAGE.parent):
        manifest = folder / "blender_manifest.toml"
        if manifest.is_file():
            return str(tomllib.loads(manifest.read_text(encoding="utf-8"))["version"])
    from importlib import metadata

    try:
        return metadata.version("gs-diffusion")
    except metadata.PackageNotFoundError:
        return "unknown"
