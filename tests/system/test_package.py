"""The built zip validates, installs into Blender, and its worker runs from where it stands."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from .program import ROOT, TINY

INSTALL = """
import bpy, sys, json
zip_path = sys.argv[1]
bpy.ops.extensions.package_install_files(filepath=zip_path, repo="user_default",
                                         enable_on_install=True)
name = "bl_ext.user_default.gs_diffusion_addon"
assert name in bpy.context.preferences.addons, list(bpy.context.preferences.addons.keys())
import importlib
module = importlib.import_module(name)
assert hasattr(bpy.ops.gs_diffusion, "run_iteration")
print("INSTALLED", json.dumps(module.__file__))
import addon_utils
addon_utils.disable(name)
import os; sys.stdout.flush(); os._exit(0)
"""


def test_a_repository_installs_from_a_web_server(tmp_path):
    built = tmp_path / "repository"
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "package.py"), "--repository", "--out", str(built)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    index = json.loads((built / "index.json").read_text())
    assert [entry["id"] for entry in index["data"]] == ["gs_diffusion_addon"]
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(built))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        script = ROOT / "tests" / "installed" / "repository.py"
        url = f"http://127.0.0.1:{server.server_port}/index.json"
        done = subprocess.run(
            [sys.executable, str(script), url],
            capture_output=True,
            text=True,
            timeout=600,
            env={**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path / "home")},
            check=False,
        )
        server.shutdown()
    assert "INSTALLED bl_ext." in done.stdout, done.stdout + done.stderr


def test_the_zip_installs_and_its_worker_makes_a_turntable(scene, tmp_path):
    built = tmp_path / "built"
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "package.py"), "--out", str(built)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (zip_path,) = built.glob("gs_diffusion_addon-*.zip")
    env = {**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", INSTALL, str(zip_path)],
        capture_output=True,
        text=True,
        timeout=600,
        env=env,
        check=False,
    )
    assert "INSTALLED" in done.stdout, done.stdout + done.stderr
    installed = Path(json.loads(done.stdout.split("INSTALLED ", 1)[1].splitlines()[0])).parent
    assert installed.is_relative_to(tmp_path)
    # No environments lie beside the installed files: they are named, as a user does.
    python = ROOT / ".venv-worker" / "bin" / "python"
    out = tmp_path / "run"
    done = subprocess.run(
        [
            *(sys.executable, str(installed / "worker.py"), "run", "--blend", str(scene)),
            *("--out", str(out), "--until", "turntable", *TINY),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        env={**env, "GSD_WORKER_PYTHON": str(python)},
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (out / "transforms_train_main.json").is_file()
    made_by = json.loads((out / "run.json").read_text())["version"]
    assert made_by == zip_path.stem.rpartition("-")[2]
