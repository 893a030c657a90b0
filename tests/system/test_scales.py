"""Numbers stay numbers: whole runs over models that are tiny, huge, far away, mirrored, instanced,
transparent, a pixel wide; of few and many views, small and large pictures.

The splat that comes back into the scene lies where the model lay, and every figure is one. Where
that cannot be, the program says so.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gs_diffusion_addon.core.dataset import read_transforms
from gs_diffusion_addon.core.ply import read_splats

from .program import Done, gsd

SCENES = Path(__file__).with_name("scale_scenes.py")
SMALL = [
    *("--views", "8", "--rings", "40:4", "--size", "48", "--samples", "2", "--keys", "4"),
    *("--ring-keys", "1", "--sides", "2", "--page-size", "128", "--style", "3"),
    *("--stylizer", "preview", "--propagator", "reproject", "--trainer", "builtin"),
    *("--train-steps", "40", "--splats", "500", "--max-splats", "700", "--seed", "7"),
]
CLOSE = 0.12  # of the model's diagonal, between its bounds and those of most of the splat


def scene(*arguments: object) -> dict:
    """What scale_scenes.py prints."""
    command = [sys.executable, str(SCENES), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def whole_run(name: str, root: Path, *options: str) -> tuple[dict, Done]:
    """The model's bounds and how a run over it ended; the run's folder is ``root / "run"``."""
    model = root / f"{name}.blend"
    bounds = scene("make", name, model)
    arguments = ("--blend", model, "--out", root / "run", "--prompt", "x")
    return bounds, gsd("run", *arguments, *SMALL, *options, timeout=900)


def numbers(value: object) -> list[float]:
    """All numbers of a JSON value."""
    if isinstance(value, dict):
        return [n for v in value.values() for n in numbers(v)]
    if isinstance(value, list):
        return [n for v in value for n in numbers(v)]
    return [value] if isinstance(value, int | float) else []


def check_figures(run: Path) -> dict:
    """Every figure of the metrics and every number of the splat and cameras is finite."""
    text = (run / "iter1" / "metrics.json").read_text()
    metrics = json.loads(text, parse_constant=lambda word: pytest.fail(f"metrics say {word}"))
    assert all(math.isfinite(n) for n in numbers(metrics))
    splats = read_splats(run / "splat_iter1.ply")
    assert splats.count > 20 and splats.finite.all()
    for frame in read_transforms(run / "transforms_train_main.json"):
        assert np.isfinite(frame.camera.matrix).all()
    return metrics


def check_place(run: Path, bounds: dict, close: float = CLOSE) -> dict:
    """The splat in result.blend lies where the model lies."""
    found = scene("look", run / "result.blend")
    low, high = np.array(bounds["low"]), np.array(bounds["high"])
    size = np.linalg.norm(high - low)
    assert found["finite"]
    for a, b in ((found["low"], low), (found["high"], high)):
        assert np.abs(np.array(a) - b).max() < close * size, (found, bounds)
    return found


def check(name: str, root: Path, *options: str, close: float = CLOSE) -> dict:
    """A whole run succeeds, with finite figures and a splat in the model's place; its metrics."""
    bounds, done = whole_run(name, root, *options)
    assert done.code == 0, done.err
    metrics = check_figures(root / "run")
    check_place(root / "run", bounds, close)
    return metrics


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("parents", (), id="mirrored-sheared-parents"),
        pytest.param("instances", (), id="instances"),
        pytest.param("plane", (), id="flat-plane"),
        pytest.param("glass", (), id="transparent-and-emissive"),
        pytest.param("deep_texture", (), id="16-bit-and-float-textures"),
        pytest.param("pixels", ("--size", "64x40"), id="wide-with-tall-pixels"),
        pytest.param("one_pixel", ("--camera", "scene", "--rings", "none"), id="a-few-pixels"),
        pytest.param("hidden", ("--views", "8", "--rings", "none", "--size", "64"), id="8-views"),
        pytest.param(
            "hidden", ("--views", "500", "--rings", "none", "--size", "64"), id="500-views"
        ),
        pytest.param(
            "hidden",
            ("--size", "2048", "--rings", "none", "--samples", "1", "--no-denoise"),
            id="2048-pixels",
        ),
    ],
)
def test_the_splat_lies_where_the_model_lies(name, options, tmp_path):
    check(name, tmp_path, *options, close=0.3 if name == "one_pixel" else CLOSE)


def test_ten_kilometers_from_the_origin(tmp_path):
    """Two meters of model where Blender's own numbers are a millimeter apart."""
    assert check("far", tmp_path)["psnr_test"] > 17


@pytest.mark.slow
def test_size_and_place_make_no_difference(tmp_path):
    """Suzanne in millimeters, kilometers, far away, at another frame: the same figures each time.

    Every scene is of the same shape under the same light, so that only the numbers' size differs.
    """
    cases = {"hidden": (), "millimeters": (), "kilometers": (), "animated": ("--frame", "20")}
    found = {}
    for name, options in cases.items():
        (tmp_path / name).mkdir()
        found[name] = check(name, tmp_path / name, *options)["psnr_test"]
    assert max(found.values()) - min(found.values()) < 0.1, found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("edge", (), "points but no faces"),
        ("empty_mesh", (), "no point is left"),
        ("too_far", (), "move it to the origin"),
        ("one_pixel", ("--camera", "auto", "--objects", "camera"), "object with geometry"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(name, options, words, tmp_path):
    _, done = whole_run(name, tmp_path, *options)
    assert done.code == 2 and words in done.err, done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "run").exists()
