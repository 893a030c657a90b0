"""Where compiled kernels are kept: numba runs what it finds there; and memory kept for steps."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from gs_diffusion_addon.engine.splat import backends, runtime

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


def test_kernels_that_were_stored_by_half_are_compiled_anew(tmp_path, monkeypatch):
    """As a full disk or a power cut leaves them: numba reads them and raises EOFError."""
    monkeypatch.setattr(runtime, "kernel_cache", lambda: tmp_path)
    half, other = tmp_path / "splat_1" / "adam.nbi", tmp_path / "else.txt"
    calls = []

    def warm_up(backend: object) -> None:
        calls.append(half.exists())
        if half.exists():
            raise EOFError("Ran out of input")

    monkeypatch.setattr(backends, "warm_up", warm_up)
    for named, expected in ((tmp_path, [True, False]), (tmp_path.parent, [True])):
        half.parent.mkdir(exist_ok=True)
        half.touch()
        other.touch()
        calls.clear()
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(named))
        if named == tmp_path:
            assert backends.processor()[0].kernels
        else:  # the user's own folder is left alone
            with pytest.raises(EOFError):
                backends.processor()
            assert half.exists()
        assert calls == expected and other.exists()


def test_a_training_compiles_nothing_that_was_not_warmed_up(tmp_path):
    """Else cpu_seconds would hold seconds of the compiler. In a process of its own: others' tests
    compile, too.
    """
    script = """
import gc, sys
from pathlib import Path
from numba.core.registry import CPUDispatcher
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.engine.splat import api, backends
from tests.engine.splat_helpers import write_dataset

def compiled():
    found = (d for d in gc.get_objects() if isinstance(d, CPUDispatcher))
    return {(d.py_func.__module__, d.py_func.__name__, str(s)) for d in found for s in d.signatures}

backends.processor()
before = compiled()
assert {"project", "raster", "raster_backward", "adam"} <= {name for _, name, _ in before}
write_dataset(Path(sys.argv[1]), views=3, size=(144, 136))
api.train(api.load_any(Path(sys.argv[1])), Settings(train_steps=4, splats=100, max_splats=200))
print(sorted(compiled() - before))
"""
    told = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert told.stdout.strip() == "[]"


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
