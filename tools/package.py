"""``make package`` and ``make repository``: stage the manifest and the add-on, validate and build
the zip with Blender's own tool; with ``--repository`` list it for Blender's "Get Extensions", too.

A repository is a folder of static files (zip and index.json): put it on any web server and give
Blender the address of its index.json, or a file:// one.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def blender_tool() -> Path:
    """Blender's extension tool inside the bpy wheel."""
    spec = importlib.util.find_spec("bpy")
    if spec is None or spec.origin is None:
        raise SystemExit("package: the bpy wheel is missing; run 'make setup'.")
    found = sorted(Path(spec.origin).parent.rglob("bl_pkg/cli/blender_ext.py"))
    if not found:
        raise SystemExit("package: this bpy wheel has no blender_ext.py.")
    return found[0]


def build(out: Path) -> None:
    """Write gs_diffusion_addon-VERSION.zip into ``out``; raises CalledProcessError."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder) / "gs_diffusion_addon"
        shutil.copytree(
            ROOT / "gs_diffusion_addon", staged, ignore=shutil.ignore_patterns("__pycache__")
        )
        for name in ("blender_manifest.toml", "LICENSE"):
            shutil.copy2(ROOT / name, staged / name)
        _tool("validate", str(staged))
        _tool("build", "--source-dir", str(staged), "--output-dir", str(out))


def list_repository(out: Path) -> None:
    """Write index.json and index.html for the zips in ``out``; raises CalledProcessError."""
    _tool("server-generate", "--repo-dir", str(out), "--html")


def _tool(*words: str) -> None:
    subprocess.run([sys.executable, str(blender_tool()), *words], check=True)


def main() -> int:
    """Returns the failed tool's exit code, or 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder of the zip (default: dist)")
    parser.add_argument("--repository", action="store_true", help="make a repository of it")
    given = parser.parse_args()
    out = given.out or ROOT / "dist" / ("repository" if given.repository else "")
    try:
        build(out)
        if given.repository:
            list_repository(out)
            print(f"Blender reads it from the address of {out / 'index.json'}")
    except subprocess.CalledProcessError as error:
        return int(error.returncode)
    return 0


if __name__ == "__main__":
    sys.exit(main())
