"""``make blender-test``: the built zip, installed into Blenders, does what a person does with it.

Behavior in the bpy wheels of several versions (tests/installed/behavior.py), each in an environment
of its own in .cache/; and the real application with its window (tests/window/), where there is one:
``BLENDER=/path/to/blender``, or ``blender`` on the PATH, on the display that is there or one of
Xvfb. What cannot be done is skipped, and said.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "blender-test"
WHEELS = {
    "4.2": ("bpy==4.2.23", "3.11"),
    "4.5": ("bpy==4.5.15", "3.11"),
    "5.0": ("bpy==5.0.1", "3.11"),
    "5.2": ("bpy==5.2.3", "3.13"),
}
INSTALL_SECONDS = 150
SCENARIOS = (
    *("idle", "run", "cancel", "repeat_last", "fail"),
    *("quit_and_stop", "resume", "quit_and_leave", "adopt"),
    *("try_view", "stages", "reroll", "live_preview", "skip_ebsynth", "splat_tools", "run_again"),
    *("drop", "main_folder", "first_use", "preferences", "cancel_wait", "large_import"),
    *("search", "ask_before_quitting"),
)
"""Of tests/window/scenarios_*.py; what one leaves behind is there for the next."""


class Skipped(Exception):
    """Why something could not be tried here."""


def main() -> int:
    """Returns 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheels", default=",".join(WHEELS), help="versions, or none")
    parser.add_argument("--no-window", action="store_true", help="leave the application out")
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    given = parser.parse_args()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    subprocess.run(
        [sys.executable, str(ROOT / "tools" / "package.py"), "--out", str(WORK / "zip")],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (zip_path,) = (WORK / "zip").glob("*.zip")
    tally: dict[str, int] = {"passed": 0, "failed": 0, "skipped": 0}
    for version in [v for v in given.wheels.split(",") if v in WHEELS]:
        name = f"behavior in the wheel {version}"
        count(tally, name, lambda v=version: wheel_behavior(v, zip_path))
    if given.no_window:
        print("The window was left out, as asked.")
    else:
        window(tally, zip_path, given.scenarios.split(","))
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**tally))
    return 1 if tally["failed"] else 0


def count(tally: dict[str, int], name: str, test: Callable[[], str]) -> None:
    """Do a test, print its verdict and what it said, and count it."""
    start = time.monotonic()
    try:
        said, verdict = test(), "passed"
    except Skipped as reason:
        said, verdict = str(reason), "skipped"
    except AssertionError as reason:
        said, verdict = str(reason), "failed"
    tally[verdict] += 1
    print(f"{verdict.upper():8}{name} ({time.monotonic() - start:.0f} s)", flush=True)
    for line in said.splitlines():
        print(f"        {line}", flush=True)


# --- wheels ---------------------------------------------------------------------------------------


def wheel_behavior(version: str, zip_path: Path) -> str:
    """tests/installed/behavior.py in a wheel; raises Skipped, AssertionError."""
    python = wheel(version)
    work = WORK / version
    work.mkdir()
    script = ROOT / "tests" / "installed" / "behavior.py"
    return verdict([str(python), str(script), str(zip_path), str(work)], work, "BEHAVIOR")


def verdict(command: Sequence[str], home: Path, word: str, display: str = "") -> str:
    """Run a script that prints WORD OK; returns its lines of figures, raises AssertionError."""
    env = {**os.environ, "BLENDER_USER_RESOURCES": str(home / "home")}
    env.setdefault("GSD_WORKER_PYTHON", str(ROOT / ".venv-worker" / "bin" / "python"))
    if display:
        env.update(DISPLAY=display, LIBGL_ALWAYS_SOFTWARE="1")
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=900, check=False
        )
    except subprocess.TimeoutExpired:
        raise AssertionError("did not end within 900 s") from None
    text = done.stdout + done.stderr
    good = f"{word} OK" in text and f"{word} FAILED" not in text  # OK stands before a quit
    assert good, "\n".join(text.splitlines()[-25:])
    kept = ("TIMER", "CANCELLED", f"{word} OK in")
    return "\n".join(line for line in done.stdout.splitlines() if line.startswith(kept))


def wheel(version: str) -> Path:
    """The Python of an environment with the bpy wheel of a version; raises Skipped."""
    package, needed = WHEELS[version]
    folder = ROOT / ".cache" / f"bpy-{version}"
    python = folder / "bin" / "python"
    if has_blender(python, version):
        return python
    source = interpreter(needed)
    for command in (
        [source, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", package, "requests"],
    ):
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
            reason = said.splitlines()[-1] if said else type(error).__name__
            raise Skipped(f"{package} cannot be installed here: {reason}") from None
    if not has_blender(python, version):
        raise Skipped(f"{package} was installed but does not import")
    return python


def has_blender(python: Path, version: str) -> bool:
    """Whether a Python imports the bpy of a version."""
    if not python.exists():
        return False
    code = "import bpy, os; print(bpy.app.version_string, flush=True); os._exit(0)"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.startswith(version)


def interpreter(needed: str) -> str:
    """A Python of the needed version; raises Skipped."""
    found = [sys.executable, shutil.which(f"python{needed}")]
    for folder in (".pyenv/versions", ".local/share/uv/python"):
        found += [str(p) for p in Path.home().glob(f"{folder}/*{needed}*/bin/python{needed}")]
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for python in filter(None, found):
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == needed:
            return python
    raise Skipped(f"there is no Python {needed} here")


# --- the application ------------------------------------------------------------------------------


def window(tally: dict[str, int], zip_path: Path, scenarios: Sequence[str]) -> None:
    """Play the scenarios in the real Blender."""
    blender = shutil.which(os.environ.get("BLENDER", "blender"))
    if blender is None:
        tally["skipped"] += 1
        print("SKIPPED window: no Blender on the PATH; name one with BLENDER=/path/to/blender.")
        return
    try:
        with display() as name:
            count(tally, "installing the zip", lambda: install(blender, zip_path, name))
            for scenario in scenarios:
                count(tally, f"window: {scenario}", lambda s=scenario: play(blender, s, name))
    except Skipped as reason:
        tally["skipped"] += 1
        print(f"SKIPPED window: {reason}")


@contextmanager
def display() -> Iterator[str]:
    """The display's name: the one that is there, or Xvfb's; raises Skipped."""
    if os.environ.get("DISPLAY"):
        yield os.environ["DISPLAY"]
        return
    xvfb = shutil.which("Xvfb")
    if xvfb is None:
        raise Skipped("no display and no Xvfb")
    read, write = os.pipe()
    command = [xvfb, "-displayfd", str(write), "-screen", "0", "1600x900x24"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    try:
        os.close(write)
        number = os.read(read, 20).decode().strip()
        if not number:
            raise Skipped("Xvfb does not start")
        yield f":{number}"
    finally:
        server.terminate()
        server.wait()


def install(blender: str, zip_path: Path, display_name: str) -> str:
    """The way a studio installs it: by Blender's own command line."""
    words = ["--command", "extension", "install-file", "-r", "user_default", "-e", str(zip_path)]
    env = {**os.environ, "BLENDER_USER_RESOURCES": str(WORK / "window" / "home")}
    (WORK / "window").mkdir(exist_ok=True)
    done = subprocess.run(
        [blender, *words], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert "nstalled" in done.stdout and done.returncode == 0, done.stdout + done.stderr
    return version_of(blender)


def version_of(blender: str) -> str:
    """Such as ``Blender 4.3.2``."""
    done = subprocess.run([blender, "--version"], capture_output=True, text=True, check=False)
    return next((line for line in done.stdout.splitlines() if line.startswith("Blender")), "")


def play(blender: str, scenario: str, display_name: str) -> str:
    """One scenario in a Blender of its own; raises AssertionError."""
    driver = ROOT / "tests" / "window" / "driver.py"
    out = WORK / "window"
    size = ["--window-geometry", "0", "0", "1600", "900"]
    command = [blender, *size, "--enable-event-simulate", "-P", str(driver)]
    return verdict([*command, "--", str(out), scenario], out, "DRIVER", display_name)


if __name__ == "__main__":
    sys.exit(main())
