"""Choosing torch and finding interpreters."""

from __future__ import annotations

import os
import sys

import pytest

from gs_diffusion_addon.core import environment, interpreters
from gs_diffusion_addon.core.errors import InputError, MissingError
from gs_diffusion_addon.core.settings import Settings


def test_linux_without_a_card_never_asks_for_anything_but_the_cpu_build():
    attempts = environment.torch_attempts("Linux", nvidia=False)
    assert attempts and all(a[0].endswith("+cpu") for a in attempts)


def test_other_systems():
    assert environment.torch_attempts("Darwin", False) == [[f"torch=={environment.TORCH}"]]
    assert environment.CUDA_INDEX in environment.torch_attempts("Windows", True)[0]
    assert environment.torch_attempts("Linux", True) == [[f"torch=={environment.TORCH}"]]


def test_the_override(monkeypatch):
    monkeypatch.setenv("GSD_TORCH", "cuda")
    assert environment.has_nvidia()
    monkeypatch.setenv("GSD_TORCH", "cpu")
    assert not environment.has_nvidia()


def test_a_failing_install_is_a_sentence_and_leaves_no_stamp(tmp_path):
    with pytest.raises(MissingError, match="no-such-package"):
        environment.ensure(
            tmp_path / "e",
            [["--no-index", "no-such-package"]],
            lambda text: None,
        )
    assert not (tmp_path / "e" / environment.STAMP).exists()


def test_without_a_network_the_sentence_names_it_and_the_package(tmp_path, monkeypatch):
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody listens there
    monkeypatch.setenv("PIP_RETRIES", "1")
    step = ["no-such-package==3"]
    with pytest.raises(MissingError, match=r"index cannot be reached.*no-such-package.*HTTPS_PRO"):
        environment.ensure(tmp_path / "e", [step], lambda text: None)


def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not empty"):
        environment.ensure(tmp_path, [], lambda text: None)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_python_without_ensurepip_takes_another_from_the_path_or_says_so(tmp_path, monkeypatch):
    """As Debian's own Blender, whose Python cannot make environments."""
    bare = tmp_path / "bare"
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(0o755)
    able = sys.executable
    monkeypatch.setattr(environment.sys, "executable", str(bare))
    monkeypatch.setattr(
        environment.shutil, "which", lambda name: able if name == "python3" else None
    )
    assert environment._maker() == able
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    with pytest.raises(MissingError, match="install python3-venv"):
        environment.ensure(tmp_path / "e", [], lambda text: None)


def test_a_second_run_does_nothing(tmp_path):
    said = []
    for _ in range(2):
        environment.ensure(tmp_path / "a folder with späce", [], said.append)
    assert len(said) == 1


def test_a_named_worker_python_that_lacks_packages_is_named(monkeypatch):
    monkeypatch.setenv("GSD_WORKER_PYTHON", sys.executable)
    with pytest.raises(MissingError, match="torch"):
        interpreters.worker_python(Settings())


def test_whoever_has_no_checkout_is_told_of_the_button(tmp_path, monkeypatch):
    assert interpreters.how_to_make_it() == "run 'make setup'"
    monkeypatch.setattr(interpreters, "PACKAGE", tmp_path / "gs_diffusion_addon")
    assert "press Create" in interpreters.how_to_make_it()


def test_a_named_blender_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingError, match="no-blender"):
        interpreters.blender_program(Settings(blender=str(tmp_path / "no-blender")))


def test_asking_a_python_runs_nothing_of_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "platform.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    interpreters.versions_of.cache_clear()
    assert "numpy" in interpreters.versions_of(sys.executable)
    assert not (tmp_path / "ran").exists()
