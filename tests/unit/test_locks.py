"""The lock files: exact versions of all that the requirements name, each with its files' hashes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

from gs_diffusion_addon.core import environment

ROOT = Path(__file__).resolve().parents[2]
FILES = [environment.REQUIREMENTS, ROOT / "requirements" / "blender.txt"]


def lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def locked(path: Path) -> list[Requirement]:
    return [Requirement(line.partition("--hash")[0]) for line in lines(path.with_suffix(".lock"))]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_package_is_exact_and_has_hashes(path):
    for line in lines(path.with_suffix(".lock")):
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})(?= |$)", line)
        rest = re.sub(r"--hash=\S+", "", line)
        assert hashes and len(set(hashes)) == len(hashes), line[:80]
        assert re.fullmatch(r"[a-z0-9.-]+==[^\s;]+ *(;[^@/]*)?", rest.strip()), rest


@pytest.mark.parametrize("python", ["3.11", "3.13"])
@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_each_system_gets_one_allowed_version_of_everything(path, system, python):
    here = {**default_environment(), "sys_platform": system, "python_version": python}
    here["python_full_version"] = f"{python}.4"
    here["platform_system"] = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[system]
    pins: dict[str, list[str]] = {}
    for pin in locked(path):
        if pin.marker is None or pin.marker.evaluate(here):
            pins.setdefault(pin.name, []).append(str(pin.specifier).removeprefix("=="))
    assert all(len(versions) == 1 for versions in pins.values()), pins
    for line in lines(path):
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate(here):
            assert wanted.specifier.contains(pins[wanted.name.lower()][0], prereleases=True), line


def test_hashes_can_be_left_out_by_who_has_packages_of_their_own(monkeypatch):
    monkeypatch.delenv("GSD_UNLOCKED", raising=False)
    assert environment.exactly(FILES[0])[:2] == ["--require-hashes", "-r"]
    assert Path(environment.exactly(FILES[0])[2]).is_file()
    monkeypatch.setenv("GSD_UNLOCKED", "1")
    assert environment.exactly(FILES[0]) == ["-r", str(FILES[0])]
