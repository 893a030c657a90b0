"""Sentences of core/ that stand for rare things: each is said when its reason is there."""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import sys
import threading
from pathlib import Path

import pytest
import requests

from gs_diffusion_addon.core import (
    a1111,
    a1111_flavours,
    commands,
    environment,
    errors,
    graphdeco,
    interpreters,
    pipeline,
    preflight,
    programs,
    reroll,
    run,
    splat_commands,
    stages,
    sweep,
    sweep_commands,
    sweep_run,
)
from gs_diffusion_addon.core.a1111_errors import LostAnswer
from gs_diffusion_addon.core.a1111_network import diagnosis
from gs_diffusion_addon.core.errors import MissingError
from gs_diffusion_addon.core.settings import Settings
from tests.said import Table, raiser
from tests.trainers.standins import write_program

TABLE = Table()
says = TABLE.says


# --- the server -----------------------------------------------------------------------------------


def client(**answers: object) -> a1111.Client:
    """A client whose GET answers are these, by the last part of the address; POSTs go nowhere."""
    made = a1111.Client("http://127.0.0.1:1", timeout=0.05)
    made._get = lambda path, *_, **__: answers.get(path.partition("?")[0].rpartition("/")[2])
    made._post = lambda *_, **__: {}
    return made


@says("was still busy after 0.05 s")
def _(tmp_path, monkeypatch):
    monkeypatch.setattr(a1111, "PULSE_SECONDS", 0.01)
    busy = {"progress": 0.5, "state": {"job": "x", "job_count": 1}}
    client(progress=busy)._wait_until_idle()


@says("does not tell whether it still works")
def _(tmp_path, monkeypatch):
    it = client()
    it.flavour = lambda: a1111_flavours.SDCPP
    it._ask_again({}, "task", LostAnswer("The server broke off."), False, None, None)


@says("does not use the VAE 'ft-mse.safetensors' after")
def _(tmp_path, monkeypatch):
    vaes = [{"model_name": "ft-mse.safetensors"}]
    client(**{"sd-vae": vaes, "options": {"sd_vae": "None"}}).use_vae("ft-mse.safetensors")


@says("answers, but not as an A1111 server does")
def _(tmp_path, monkeypatch):
    client(options=[1, 2]).options()


@says("sends us on to http://elsewhere/login")
def _(tmp_path, monkeypatch):
    answer = requests.Response()
    answer.status_code, answer.headers["location"] = 302, "http://elsewhere/login"
    monkeypatch.setattr(requests.Session, "request", lambda *_, **__: answer)
    a1111.Client("http://127.0.0.1:1").options()


@says("The proxy that HTTP_PROXY names does not let us through to http://sd.studio:7860")
def _(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    a1111.Client("http://sd.studio:7860").options()


@says("Nothing answers at http://10.0.0.1:7860")
def _(tmp_path, monkeypatch):
    timeout = requests.exceptions.ConnectTimeout()
    raise diagnosis(timeout, "http://10.0.0.1:7860", "GET", 3.0)


# --- environments, programs -----------------------------------------------------------------------


@says("(nothing works here); on Debian and Ubuntu install python3-venv")
def _(tmp_path, monkeypatch):
    maker = write_program(tmp_path / "python", "echo nothing works here >&2; exit 1")
    monkeypatch.setattr(environment, "_maker", lambda: str(maker))
    environment.ensure(tmp_path / "e", [], lambda text: None)


def pip_says(folder: Path, words: str) -> Path:
    """A Python whose pip prints ``words`` as its error and fails."""
    return write_program(folder / "e" / "bin" / "python", f"echo 'ERROR: {words}' >&2; exit 1")


@says("There is no space left for")
def _(tmp_path, monkeypatch):
    words = "Could not install packages due to an OSError: [Errno 28] No space left on device"
    environment._pip(pip_says(tmp_path, words), ["numba"])


def test_an_environment_without_room_for_pip_is_told_of_the_disk(tmp_path, monkeypatch):
    """What venv prints does not say so."""
    maker = write_program(tmp_path / "python", "echo ensurepip returned 1 >&2; exit 1")
    monkeypatch.setattr(environment, "_maker", lambda: str(maker))
    usage = shutil.disk_usage(tmp_path)._replace(free=5_000_000)
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(MissingError, match=r"There is no space left for .*worker"):
        environment.ensure(tmp_path / "new" / "worker", [], lambda text: None)


@says("is neither in pip's own sources nor to be had from https://download.pytorch.org")
def _(tmp_path, monkeypatch):
    monkeypatch.setenv("GSD_TORCH", "cpu")
    monkeypatch.setattr(environment.platform, "system", lambda: "Linux")
    python = pip_says(tmp_path, "No matching distribution found for torch==2.13.0+cpu")
    environment._install_torch(python, lambda text: None)


@says("Nothing can be downloaded: neither pip's sources nor https://download.pytorch.org")
def _(tmp_path, monkeypatch):
    monkeypatch.setenv("GSD_TORCH", "cpu")
    monkeypatch.setattr(environment.platform, "system", lambda: "Linux")
    python = pip_says(tmp_path, "Retrying after connection broken by NewConnectionError")
    environment._install_torch(python, lambda text: None)


@says("has the module ensurepip; on Debian and Ubuntu install python3-venv")
def _(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "_maker", lambda: None)
    environment.ensure(tmp_path / "e", [], lambda text: None)


@says("is not empty and no virtual environment")
def _(tmp_path, monkeypatch):
    (tmp_path / "letters.txt").touch()
    environment.ensure(tmp_path, [], lambda text: None)


@says("is no virtual environment; nothing was deleted")
def _(tmp_path, monkeypatch):
    environment.remove(tmp_path)


@says("cannot be deleted completely: busy")
def _(tmp_path, monkeypatch):
    (tmp_path / "pyvenv.cfg").touch()
    monkeypatch.setattr(shutil, "rmtree", raiser(OSError("busy")))
    environment.remove(tmp_path)


def no_interpreters(monkeypatch) -> None:
    """A machine on which nothing is installed."""
    for name in ("GSD_BLENDER", "GSD_WORKER_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(interpreters, "running_blender", lambda: None)
    monkeypatch.setattr(interpreters, "_venv_python", lambda folder: None)
    monkeypatch.setattr(interpreters, "missing_in_worker", lambda python: ["torch"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)


@says("No Blender was found: install Blender 4.2")
def _(tmp_path, monkeypatch):
    no_interpreters(monkeypatch)
    interpreters.blender_program(Settings())


@says("The worker's environment (torch, numba and others) is not there")
def _(tmp_path, monkeypatch):
    no_interpreters(monkeypatch)
    interpreters.worker_python(Settings())


@says("Give either --main-folder or a Blender scene")
def _(tmp_path, monkeypatch):
    preflight.require_startable(Settings(main_folder="x", blend="y"))


@says("is a script; name the environment's python.exe")
def _(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: "C:/conda/python.BAT")
    graphdeco._python(Settings(graphdeco_python="python.bat"))


@says("cannot be run (")
def _(tmp_path, monkeypatch):
    graphdeco.probe(str(tmp_path), str(tmp_path))


@says("fails when it imports gaussian-splatting's packages (no torch)")
def _(tmp_path, monkeypatch):
    program = write_program(tmp_path / "python", "echo no torch >&2; exit 1")
    graphdeco.probe(str(program), str(tmp_path))


@says("has no option --model_path, so it is not graphdeco's")
def _(tmp_path, monkeypatch):
    for name in ("train.py", "render.py", "metrics.py"):
        (tmp_path / name).touch()
    monkeypatch.setattr(graphdeco, "probe", lambda python, root: None)
    monkeypatch.setattr(graphdeco, "problem_of", lambda facts, root, python: "")
    monkeypatch.setattr(graphdeco, "help_of", lambda command, cwd: "  --source_path PATH")
    graphdeco.inspect(Settings(graphdeco=str(tmp_path), graphdeco_python=sys.executable))


@says("--help fails (it broke)")
def _(tmp_path, monkeypatch):
    programs.help_of((str(write_program(tmp_path / "brush", "echo it broke; exit 3")),))


@says("--help gave no answer in 0.2 s")
def _(tmp_path, monkeypatch):
    programs.help_of((str(write_program(tmp_path / "brush", "exec sleep 300")),), timeout=0.2)


@says("cannot be started: ")
def _(tmp_path, monkeypatch):
    (tmp_path / "brush").write_text("no program")
    programs.help_of((str(tmp_path / "brush"),))


# --- runs -----------------------------------------------------------------------------------------


def run_folder(root: Path, **changes: object) -> Path:
    """A run folder without anything done."""
    settings = Settings(blend="model.blend", propagator="reproject", **changes)
    run.write_json(root / "run.json", run.new_manifest(settings, "0"))
    return root


@says("Stage train has no iteration 0")
def _(tmp_path, monkeypatch):
    pipeline.Supervisor(run_folder(tmp_path), lambda event: None).one_stage("train", 0, {})


@says("Stage render needs the package torch_of_mars, which this Python lacks")
def _(tmp_path, monkeypatch):
    part = stages.parts_of("render", Settings())[0]
    lost = type(part)(**{**vars(part), "target": "torch_of_mars:run_stage"})
    monkeypatch.setattr(stages, "parts_of", lambda name, settings: [lost])
    missing = ModuleNotFoundError("No module named 'torch_of_mars'", name="torch_of_mars")
    monkeypatch.setattr(importlib, "import_module", raiser(missing))
    pipeline.run_part(run_folder(tmp_path), "render", 1, 0)


@says("Stage render of iteration 1 in")
def _(tmp_path, monkeypatch):
    record = {"key": {"settings": "old"}}
    manifest = json.loads((run_folder(tmp_path) / "run.json").read_text())
    work = pipeline.Supervisor(tmp_path, lambda event: None)
    work._supersede(manifest, run.Run(tmp_path, 1), "render", record, {"settings": "new"})


@says("has no restyled keyframe 3 in iteration 1")
def _(tmp_path, monkeypatch):
    reroll.run(run_folder(tmp_path), 3, 1, 0, lambda event: None, threading.Event())


@says("Stage train crashed or was killed (code -9)")
def _(tmp_path, monkeypatch):
    raise errors.crash_error("train", -9, tmp_path / "log", ["step 3"])


@says("Stage train ended unexpectedly (code 1); the reason stands in")
def _(tmp_path, monkeypatch):
    raise errors.crash_error("train", 1, tmp_path / "log", ["step 3"])


@says("of --turntable-from does not exist")
def _(tmp_path, monkeypatch):
    commands._lenders(tmp_path / "nowhere")


@says("nothing.json does not exist")
def _(tmp_path, monkeypatch):
    run.read_json(tmp_path / "nothing.json")


@says("cannot be made: ")
def _(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    splat_commands._in_worker("train", {"out": str(tmp_path / "file" / "x")}, Settings())


# --- sweeps ---------------------------------------------------------------------------------------


@says("is no sweep file: it must hold a table of")
def _(tmp_path, monkeypatch):
    (tmp_path / "s.json").write_text("[1]")
    sweep.read_sweep(tmp_path / "s.json")


@says("--jobs must be 1 or more")
def _(tmp_path, monkeypatch):
    (tmp_path / "s.toml").write_text('[vary]\nprompt = ["x", "y"]\n')
    words = {"file": tmp_path / "s.toml", "out": tmp_path, "list": False, "openjd": None, "jobs": 0}
    sweep_commands.sweep(argparse.Namespace(**words), print)


@says("does not exist; name the folder of the runs")
def _(tmp_path, monkeypatch):
    sweep_commands.sheet(argparse.Namespace(out=tmp_path / "nowhere"), print)


@says("has no renders of a splat yet")
def _(tmp_path, monkeypatch):
    sweep_commands.last_rendered(tmp_path, 3)


@says("is a file; choose a folder for --out")
def _(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    sweep_run.prepare(tmp_path / "file", [])


@says("was not written by GS Diffusion; choose another --out")
def _(tmp_path, monkeypatch):
    run.write_json(tmp_path / sweep_run.PLAN, {"program": "another"})
    sweep_run.prepare(tmp_path, [])


@says("cannot be written: no space; choose another --out")
def _(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_run, "write_json", raiser(OSError(28, "no space")))
    sweep_run.prepare(tmp_path, [])


@pytest.mark.parametrize("words", TABLE)
def test_it_is_said(words, tmp_path, monkeypatch):
    TABLE.check(words, tmp_path, monkeypatch)
