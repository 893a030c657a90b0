"""tools/setup.sh on machines that lack something: it says in one sentence what to install.

The machine is a folder of stand-ins on the PATH: apt-get, apt-cache, id, Pythons.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import LIMIT

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "setup.sh"
TOOLS = ("sh", "dirname", "uname", "grep", "tail", "env", "cat", "ln")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the script looks so on Linux only")


class Machine:
    """A checkout with the script alone, and the programs that a test puts on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        (folder / "home").mkdir()
        self.tools = folder / "checkout with a space" / "tools"
        self.tools.mkdir(parents=True)
        shutil.copy(SCRIPT, self.tools / "setup.sh")
        (self.tools / "setup.py").write_text("import sys; print('set up with', sys.argv[1:])")
        for name in TOOLS:
            (self.bin / name).symlink_to(shutil.which(name))
        self.env = {"PATH": str(self.bin), "HOME": str(folder / "home"), "BIN": str(self.bin)}
        self.has("id", "echo 1000")

    def has(self, name: str, lines: str) -> None:
        """Put a shell program on the PATH."""
        (self.bin / name).write_text(f"#!/bin/sh\n{lines}\n")
        (self.bin / name).chmod(0o755)

    def python(self, loads: bool = True) -> str:
        """Lines of a Python that will do; ``loads``: whether it finds Blender's libraries."""
        words = "" if loads else "libXi.so.6:libxi6 libSM.so.6:libsm6"
        return (
            'case "$1" in -c) exit 0 ;; --version) echo "Python 3.11.2" ;; '
            f'-) cat >/dev/null; echo "{words}" ;; *) exec "{sys.executable}" "$@" ;; esac'
        )

    def setup(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the script; what it says must be lines without a shell's complaint."""
        command = [shutil.which("sh"), str(self.tools / "setup.sh"), *arguments]
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, check=False, timeout=LIMIT
        )
        assert "setup.sh:" not in done.stderr and "not found" not in done.stderr, done.stderr
        return done

    def stops(self) -> str:
        """The one sentence that the script ends with, exit code 3."""
        done = self.setup()
        assert done.returncode == 3, done
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("setup: ") and last.endswith("."), last
        return last


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def offers(*packages: str) -> str:
    """An apt-cache that knows these packages."""
    return f'case " {" ".join(packages)} " in *" $2 "*) echo "Package: $2" ;; *) exit 100 ;; esac'


def test_it_hands_over_with_its_arguments(machine):
    machine.has("python3.11", machine.python())
    done = machine.setup("--demo")
    assert done.returncode == 0 and "set up with ['--demo']" in done.stdout, done


@pytest.mark.parametrize(("version", "other"), [("3.11", "3.13"), ("3.13", "3.11")])
def test_without_python_all_that_is_missing_is_named_at_once(machine, version, other):
    """As on Debian 12 and 13, for somebody who may not install anything."""
    machine.has("apt-get", "exit 1")
    machine.has("apt-cache", offers("python3", f"python{version}-venv"))
    said = machine.stops()
    assert f"apt-get install python{version} python{version}-venv libxi6 " in said
    assert f"python{other}-venv" not in said and "found: no Python" in said
    assert "libgomp1')" in said


def test_where_no_package_will_do_other_ways_are_named(machine):
    """As on Ubuntu 24.04, whose Python is 3.12."""
    machine.has("python3", 'case "$1" in --version) echo "Python 3.12.3" ;; *) exit 1 ;; esac')
    machine.has("apt-get", "exit 1")
    machine.has("apt-cache", offers("python3", "python3-venv"))
    said = machine.stops()
    assert "found: Python 3.12.3" in said and "apt-get" not in said
    assert "uv python install 3.11" in said and "GSD_PYTHON=" in said


def test_without_lists_of_packages_the_systems_python_is_named(machine):
    machine.has("apt-get", "exit 1")
    machine.has("apt-cache", "exit 100")
    assert "apt-get install python3 python3-venv libxi6" in machine.stops()


def test_root_gets_the_python_that_the_system_has(machine):
    machine.has("id", "echo 0")
    machine.has("apt-cache", offers("python3", "python3.13-venv"))
    machine.has("made", machine.python())
    apt = 'case "$*" in *python3.13-venv*) ln -s made "$BIN/python3.13" ;; esac'
    machine.has("apt-get", apt)
    done = machine.setup()
    assert done.returncode == 0 and "set up with" in done.stdout, done
    assert "Installing the system packages python3.13 python3.13-venv" in done.stderr


def test_root_without_a_network_gets_apts_word(machine):
    machine.has("id", "echo 0")
    machine.has("apt-cache", offers("python3", "python3.11-venv"))
    machine.has("apt-get", "echo 'W: old' >&2; echo 'E: Temporary failure resolving' >&2; exit 100")
    said = machine.stops()
    assert "Python (python3.11 python3.11-venv) could not be installed" in said
    assert "(E: Temporary failure resolving)" in said and "check the network" in said
    machine.has("python3.11", machine.python(loads=False))
    said = machine.stops()
    assert "could not be installed: libxi6 libsm6 (E: Temporary failure resolving)" in said


def test_missing_libraries_are_named_as_packages_or_as_files(machine):
    machine.has("python3.11", machine.python(loads=False))
    said = machine.stops()
    assert "libraries, which are missing: libXi.so.6 libSM.so.6; install" in said
    machine.has("apt-get", "exit 1")
    said = machine.stops()
    assert "are missing: libxi6 libsm6; install them ('sudo apt-get install libxi6 libsm6')" in said


def test_a_named_python_is_taken_or_named(machine):
    machine.has("python3.11", "exit 1")
    machine.has("mine", machine.python())
    machine.env["GSD_PYTHON"] = str(machine.bin / "mine")
    assert machine.setup().returncode == 0
    machine.has("python3.11", machine.python())
    machine.env["GSD_PYTHON"] = "/no/such/python"
    assert "GSD_PYTHON=/no/such/python is no Python 3.11 or 3.13" in machine.stops()


def test_the_tests_own_helpers_are_not_needed(machine):
    """Neither node nor a browser, and apt cannot help: said, and gone on."""
    machine.has("id", "echo 0")
    machine.has("python3.11", machine.python())
    machine.has("apt-get", "echo 'E: no' >&2; exit 100")
    machine.env["GSD_CHROMIUM"] = ""
    done = machine.setup("--test")
    assert done.returncode == 0 and "set up with ['--test']" in done.stdout, done
    assert "node cannot be installed (E: no)" in done.stderr
    assert "Chromium cannot be installed (E: no)" in done.stderr


def test_nothing_of_this_machine_leaks_in(machine):
    assert set(os.listdir(machine.bin)) == {*TOOLS, "id"}
    assert "found: no Python" in machine.stops()


@pytest.mark.parametrize(
    ("program", "is_said"), [("exec sleep 300", True), ("exit 1", True), ("exit 0", False)]
)
def test_an_npm_that_waits_for_good_or_fails_only_costs_its_test(
    tmp_path, monkeypatch, program, is_said
):
    (tmp_path / "npm").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    spec = importlib.util.spec_from_file_location("setup_script", SCRIPT.with_name("setup.py"))
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(script, "NPM_SECONDS", 1 if "sleep" in program else 60)
    said: list[str] = []
    script.splat_transform(said.append)
    assert any("the test that needs it is skipped" in line for line in said) == is_said
    assert said[0].startswith("Installing")
