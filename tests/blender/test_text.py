"""What the panel says: the program's sentences with the panel's names."""

import re
from pathlib import Path
from types import SimpleNamespace

import bpy
import pytest

from gs_diffusion_addon.ui.text import letters, spoken

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"

OTHERS = ("--no-half-vae", "--disable-nan-check", "--api", "--recursive", "--help")
"""Options of the server, of git and of other programs, which nobody finds in the panel."""

NOT_OF_THE_PANEL = (
    *("--data", "--points", "--images", "--transforms", "--jobs", "--width"),  # gsd splat, sweep
    *("--start", "--end", "--turntable-from", "--iteration"),  # gsd run, stage
)


def sentences() -> list[str]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [re.sub(r"\\(.)", r"\1", line) for line in lines if line.startswith("- **")]


def test_no_sentence_names_an_option_of_the_command_line_where_the_panel_has_a_field():
    said = {sentence: spoken(sentence) for sentence in sentences()}
    assert len(said) > 300
    for sentence, heard in said.items():
        left = set(re.findall(r"--[a-z][a-z-]*", heard)) - {*OTHERS, *NOT_OF_THE_PANEL}
        at_a_shell = "'gsd" in heard and "--help'" not in heard and "gsd stage" not in heard
        assert (not left or "gsd stage" in heard) and not at_a_shell, sentence


@pytest.mark.parametrize(
    ("sentence", "heard"),
    [
        ("x is a file; choose a folder for --out.", "x is a file; choose a folder under Runs."),
        ("It is full; choose another --out.", "It is full; choose another folder under Runs."),
        ("Stale. Add --redo to do it anew.", "Stale. Press that stage's button to do it anew."),
        ("If you trust it, use --no-server-verify.", "If you trust it, switch off Server Verify."),
        ("Raise --samples to lower it.", "Raise Samples to lower it."),
        ("It works by '--stylizer a1111'.", "It works by 'Stylizer AUTOMATIC1111'."),
        ("Use --camera auto.", "Use Camera Auto."),
        ("Start it with --api.", "Start it with --api."),
    ],
)
def test_sentences_are_said_with_the_panels_names(sentence, heard):
    assert spoken(sentence) == heard


@pytest.mark.parametrize(
    ("kind", "width", "scale", "fit"),
    [
        ("UI", 280, 1.0, 34),
        ("UI", 560, 2.0, 34),
        ("UI", 184, 1.0, 20),
        ("UI", 20, 1.0, 12),
        ("WINDOW", 184, 1.0, 34),
    ],
)
def test_lines_are_as_long_as_the_sidebar_is_wide(kind, width, scale, fit):
    region = SimpleNamespace(type=kind, width=width)
    assert letters(34, region, scale) == fit and letters(34, None, scale) == 34


def test_errors_at_the_mouse_have_the_panels_names_too(registered):
    bpy.context.scene.gs_diffusion.rings = "30"
    with pytest.raises(RuntimeError, match="Rings wants ELEVATION:COUNT") as said:
        bpy.ops.gs_diffusion.run_iteration()
    assert "--" not in str(said.value)
