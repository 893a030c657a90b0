"""The catalog of sentences is what the source says, and knows which of them a test provoked."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("sentences", ROOT / "tools" / "sentences.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["sentences"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["sentences"]


def test_every_sentence_is_one(tool):
    """It begins like a sentence, ends like one, and is not a traceback."""
    sentences = tool.catalog()
    assert len(sentences) > 200
    for s in sentences:
        assert s.words, f"{s.file}:{s.first} says nothing"
        assert s.words.rstrip()[-1] in ".?'}…/", f"{s.file}:{s.first}: {s.words}"


def test_a_provoked_sentence_is_known(tool, tmp_path):
    code = (
        "from gs_diffusion_addon.core.values import parse_size\n"
        "try:\n    parse_size('x')\nexcept Exception as error:\n    print(error)"
    )
    env = {**os.environ, "GSD_SENTENCES": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=env
    )
    assert "--size wants" in done.stdout
    sentences = tool.catalog()
    missing = tool.provoked(tmp_path, sentences)
    said = [s for s in sentences if s not in missing]
    assert [s.file for s in said] == ["core/values.py"]
    assert said[0].words.startswith("--size wants")
