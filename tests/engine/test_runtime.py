"""Where compiled kernels are kept: numba runs what it finds there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gs_diffusion_addon.engine.splat import runtime


@pytest.mark.skipif(os.name == "nt", reason="its temporary folder is the user's own")
@pytest.mark.parametrize("planted", [False, True])
def test_without_a_home_kernels_lie_where_nobody_else_can_put_them(tmp_path, monkeypatch, planted):
    no_home = tmp_path / "file"
    no_home.touch()
    monkeypatch.setattr(runtime, "user_cache", lambda: no_home / "cache")
    monkeypatch.setattr(runtime.tempfile, "tempdir", str(tmp_path))
    shared = tmp_path / f"gs_diffusion-{os.getuid()}"
    if planted:
        shared.mkdir()
        shared.chmod(0o777)
    runtime.kernel_cache.cache_clear()
    try:
        found = runtime.kernel_cache()
    finally:
        runtime.kernel_cache.cache_clear()
    assert found.is_relative_to(shared) is not planted
    top = Path(tmp_path, found.relative_to(tmp_path).parts[0])
    assert top.stat().st_mode & 0o777 == 0o700
