"""Rebuild the report's 3-D viewer: gsplat.js from npm as one minified script with its license.

Needs npm; run it after changing the versions below and commit what it writes. ``--check`` only says
whether the committed file is what these versions give.
"""

from __future__ import annotations

import argparse
import base64
import re
import subprocess
import sys
import tempfile
from pathlib import Path

GSPLAT = "gsplat@1.2.9"
ESBUILD = "esbuild@0.25.12"

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "gs_diffusion_addon" / "engine" / "vendor" / "gsplat.min.js"

# Only what the page uses: the bundler drops the rest. A script, not a module, since browsers load
# no modules from disk, and nothing in the page may come from elsewhere.
ENTRY = """export {
  Camera, CameraData, OrbitControls, Scene, Splat, SplatData, Vector3, WebGLRenderer,
} from "gsplat";
"""
OPTIONS = [
    "--bundle",
    "--minify",
    "--format=iife",
    "--global-name=GSPLAT",
    "--target=es2022",
    "--charset=ascii",
    "--legal-comments=none",
    # Its WebAssembly is inside as text; nothing is looked up by address.
    '--define:import.meta.url="about:blank"',
]


def classic_workers(source: str) -> str:
    """The library with classic workers in place of module workers.

    Both are started from text inside the library, but for a page opened from disk browsers refuse
    module workers, silently.
    """
    meta = re.compile(r"import\.meta\.url")
    seen = 0

    def rewritten(match: re.Match[str]) -> str:
        nonlocal seen
        try:
            text = base64.b64decode(match.group(2), validate=True).decode("utf-8")
        except ValueError:
            return match.group(0)  # WebAssembly
        if not meta.search(text):
            return match.group(0)
        seen += 1
        text = meta.sub("self.location.href", text.partition("//# sourceMappingURL=")[0])
        return f'{match.group(1)}"{base64.b64encode(text.encode("utf-8")).decode("ascii")}"'

    source = re.sub(r'(const \w+ = )"([A-Za-z0-9+/]{1000,}={0,2})"', rewritten, source)
    source, kinds = re.subn(r'type: "module"', 'type: "classic"', source)
    source, starts = re.subn(
        r"revokeObjectURL\(import\.meta\.url\)", "revokeObjectURL(self.location.href)", source
    )
    if (seen, kinds, starts) != (2, 4, 2):
        raise SystemExit(f"vendor_viewer: {GSPLAT} starts its workers in another way; look again.")
    return source


def build() -> str:
    """The bundle with a comment on top that holds name, version, address and license."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "package.json").write_text('{"private": true, "type": "module"}\n')
        (folder / "entry.js").write_text(ENTRY)
        install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run([*install, GSPLAT, ESBUILD], cwd=folder, check=True, capture_output=True)
        library = folder / "node_modules" / "gsplat" / "dist" / "index.es.js"
        source = library.read_text(encoding="utf-8")
        library.write_text(classic_workers(source), encoding="utf-8")
        bundler = folder / "node_modules" / ".bin" / "esbuild"
        done = subprocess.run(
            [str(bundler), "entry.js", *OPTIONS],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
        license_text = (folder / "node_modules" / "gsplat" / "LICENSE").read_text(encoding="utf-8")
    head = f"{GSPLAT}, https://github.com/dylanebert/splat.js, changed by tools/vendor_viewer.py"
    return f"/* {head}\n\n{license_text.strip()}\n*/\n{done.stdout.strip()}\n"


def main() -> int:
    """Write the file, or compare it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    text = build()
    if "</script" in text.lower():
        raise SystemExit("vendor_viewer: the bundle would end the page's script element.")
    if check:
        same = TARGET.read_text(encoding="utf-8") == text
        print("the same" if same else f"{TARGET.name} is not what {GSPLAT} and {ESBUILD} give")
        return 0 if same else 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text, encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {len(text):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
