"""``make package``: stage the manifest and the add-on, validate and build the zip with Blender's
own tool.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def blender_tool() -> Path:
    """Blender's extension tool inside the bpy wheel."""
    import importlib.util

    spec = importlib.util.find_spec("bpy")
    if spec is None or spec.origin is None:
        raise SystemExit("package: the bpy wheel is missing; run 'make setup'.")
    found = sorted(Path(spec.origin).parent.rglob("bl_pkg/cli/blender_ext.py"))
    if not found:
        raise SystemExit("package: this bpy wheel has no blender_ext.py.")
    return found[0]


def main() -> int:
    """Build gs_diffusion_addon-VERSION.zip; returns the tool's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the zip")
    tool, out = blender_tool(), parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder) / "gs_diffusion_addon"
        shutil.copytree(
            ROOT / "gs_diffusion_addon", staged, ignore=shutil.ignore_patterns("__pycache__")
        )
        for name in ("blender_manifest.toml", "LICENSE"):
            shutil.copy2(ROOT / name, staged / name)
        for action in (
            ["validate", str(staged)],
            ["build", "--source-dir", str(staged), "--output-dir", str(out)],
        ):
            done = subprocess.run([sys.executable, str(tool), *action], check=False)
            if done.returncode:
                return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
