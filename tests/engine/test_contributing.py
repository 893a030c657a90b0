"""The backend that CONTRIBUTING.md works out runs as it stands there."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from gs_diffusion_addon.core.orbit import plan_keys
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.engine import propagate
from gs_diffusion_addon.engine.images import read_rgba, write_png
from tests.engine import synthetic

from .stylize_helpers import Recorder

TEXT = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
NAME = "gs_diffusion_addon.engine.propagate.nearest"


@pytest.fixture
def nearest(tmp_path, monkeypatch):
    """The example's file, entered into the registry as its second step says."""
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
    path = tmp_path / "nearest.py"
    path.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(NAME, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, NAME, module)
    spec.loader.exec_module(module)
    assert '"nearest": ".nearest"' in TEXT
    monkeypatch.setitem(propagate.BACKENDS, "nearest", ".nearest")


def test_the_worked_example_paints_every_frame(nearest, tmp_path):
    settings = synthetic.with_settings(views=8, rings="none", keys=4)
    run, frames = synthetic.write_run(tmp_path, settings, size=(32, 32))
    keys = plan_keys(settings)
    for k in keys:
        write_png(run.key(k), np.full((32, 32, 3), 10 * k, np.uint8))
    object.__setattr__(settings, "propagator", "nearest")  # its choices are not known to it
    propagate.run_stage(run, settings, Recorder())
    for frame in frames:
        out = read_rgba(run.stylized_frame(frame.frame))
        nearest_key = min(keys, key=lambda k: abs(k - frame.frame))
        assert (out[out[..., 3] > 0][:, :3] == 10 * nearest_key).all()


def test_every_file_and_name_the_text_speaks_of_is_there():
    root = Path(__file__).resolve().parents[2]
    named = re.findall(r"`((?:tests|tools|core|engine|docs)/[\w/]+\.\w+)`", TEXT)
    assert named
    for name in named:
        assert (root / name).is_file() or (root / "gs_diffusion_addon" / name).is_file(), name
    assert "propagator" in Settings.__dataclass_fields__
