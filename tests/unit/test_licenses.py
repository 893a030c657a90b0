"""Every dependency has a reason and a license that goes with ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOL = str(ROOT / "tools" / "licenses.py")


def test_this_environment_may_be_used_in_a_gpl_program():
    done = subprocess.run([sys.executable, TOOL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| requests |" in done.stdout


def test_every_dependency_says_why_it_is_there():
    code = (
        f"import runpy; m = runpy.run_path({TOOL!r});"
        "print([n for n in m['requirements']() if n not in m['REASONS']])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert "| torch |" in page and "| bpy |" in page
