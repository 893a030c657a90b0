"""Where compiled kernels are kept: numba runs what it finds there; and memory kept for steps."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from gs_diffusion_addon.engine.splat import runtime

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are left alone")
def test_freed_arrays_are_used_again_without_new_pages():
    script = """
import resource
import numpy as np
from gs_diffusion_addon.engine.splat.runtime import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        arrays = [np.ones(1 << 20) for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
assert keep_freed_memory()
faults()
print(first, faults())
"""
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    before, after = map(int, told.stdout.split())
    assert after < before / 10, told.stdout
