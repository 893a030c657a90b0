"""docs/troubleshooting.md is made from the source, and is what the source says now."""

from __future__ import annotations

import subprocess
import sys

from .program import ROOT


def test_the_page_is_what_the_source_says():
    command = [sys.executable, str(ROOT / "tools" / "sentences.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
