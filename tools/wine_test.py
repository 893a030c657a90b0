"""Run unit tests with a Windows Python under Wine: the plain-Python part of the house (core/) on
Windows' paths, locks, renames, processes and job objects.

``python tools/wine_test.py DIR [TEST...]``, with a Python 3.11 that has pip; DIR keeps what is made
(200 MB). Needs Debian's packages ``wine``, ``wine64`` and ``gcc-mingw-w64-x86-64-win32``. The
interpreter is the python.org one that panda3d's Windows wheel carries for frozen games (signed by
the PSF); the standard library is this Python's, python.exe is compiled here. Blender and the
worker's environment are not there, so tests that want them fail.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ("process", "job_object", "sharing", "strangers", "events", "made", "foreign", "run")
LAUNCHER = """
#include <windows.h>
typedef int (*Main)(int, wchar_t **);
int wmain(int count, wchar_t **words) {
    Main run = (Main)(void *)GetProcAddress(LoadLibraryW(L"python311.dll"), "Py_Main");
    return run ? run(count, words) : 99;
}
"""
COMPILER = "x86_64-w64-mingw32-gcc"
WINDOWS = ["--platform", "win_amd64", "--python-version", "3.11", "--only-binary=:all:"]
PACKAGES = ["numpy==1.26.4", "requests", "pytest<10", "hypothesis<7", "colorama"]
BESIDE = (".pyd", "libffi-8.dll", "libcrypto-3.dll", "libssl-3.dll", "sqlite3.dll")


def main(arguments: list[str]) -> int:
    """Make the environment if need be and run the tests; returns pytest's exit code."""
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    lacking = [program for program in ("wine", COMPILER) if shutil.which(program) is None]
    if lacking or sys.version_info[:2] != (3, 11):
        print(f"This needs {' and '.join(lacking) or 'Python 3.11'}.", file=sys.stderr)
        return 3
    folder = Path(arguments[0]).resolve()
    if not (folder / "made").is_file():
        make(folder)
    tests = arguments[1:] or [f"tests/unit/test_{name}.py" for name in TESTS]
    # -X utf8 is not given: Windows' code page is a part of what is tested.
    return wine(folder, ["-m", "pytest", "-p", "no:cacheprovider", *tests])


def make(folder: Path) -> None:
    """Windows' Python with the packages of the unit tests; begun anew if it was not finished."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "DLLs").mkdir(parents=True)
    pip = [sys.executable, "-m", "pip"]
    download = [*pip, "download", "--no-deps", *WINDOWS, "-d", folder, "panda3d"]
    subprocess.run(download, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            file = Path(name)
            if file.parent.name == "deploy_libs" and not file.name.startswith("api-ms"):
                place = folder / "DLLs" if file.name.endswith(BESIDE) else folder
                (place / file.name).write_bytes(archive.read(name))
    wheel.unlink()
    leave = shutil.ignore_patterns("site-packages", "test", "lib2to3", "__pycache__", "lib-dynload")
    shutil.copytree(sysconfig.get_path("stdlib"), folder / "Lib", ignore=leave)
    packages = folder / "Lib" / "site-packages"
    subprocess.run([*pip, "install", "-q", "--target", packages, *WINDOWS, *PACKAGES], check=True)
    # Wine reads slowly, and writes no caches of its own here.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(folder / "Lib", quiet=2, invalidation_mode=mode)
    source = folder / "python.c"
    source.write_text(LAUNCHER, encoding="utf-8")
    subprocess.run([COMPILER, "-municode", "-O1", "-o", folder / "python.exe", source], check=True)
    (folder / "made").touch()


def wine(folder: Path, arguments: list[str]) -> int:
    """Run the Windows Python in the checkout; returns its exit code."""
    scratch = folder / "tmp"
    scratch.mkdir(exist_ok=True)
    env = {
        **os.environ,
        "WINEPREFIX": str(folder / "prefix"),
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree,mshtml=",  # no offers to install Mono and Gecko
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TMP": "Z:" + str(scratch).replace("/", "\\"),
        "TEMP": "Z:" + str(scratch).replace("/", "\\"),
    }
    command = ["wine", folder / "python.exe", *arguments]
    # Of /dev/null Wine makes no standard input that Python takes; of a pipe it does.
    return subprocess.run(command, cwd=ROOT, env=env, input=b"", check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
