"""The graphdeco backend against a stand-in with its arguments, readers, lines, bars and faults."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from gs_diffusion_addon.core import graphdeco as checkouts
from gs_diffusion_addon.core.dataset import read_transforms
from gs_diffusion_addon.core.errors import MissingError, StageError
from gs_diffusion_addon.core.programs import help_of
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.engine.images import read_rgb
from gs_diffusion_addon.engine.train import graphdeco, graphdeco_views, result_path, run_stage

from ..processes import LIMIT, wait_for
from ..trainers import standins
from .trainer_helpers import make_run


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return standins.install(tmp_path_factory.mktemp("mein Rechner ü"))


@pytest.fixture
def standin(monkeypatch, installed, tmp_path):
    """Settings for the stand-in, and a function that asks it for a fault."""
    for name in ("GSD_GRAPHDECO", "GSD_GRAPHDECO_PYTHON"):
        monkeypatch.delenv(name, raising=False)

    def ask(**standin):
        for name, value in standins.environment(**standin).items():
            monkeypatch.setenv(name, value)
        checkouts.probe.cache_clear()
        help_of.cache_clear()

    ask(calls=tmp_path / "calls", seconds=0.001)
    settings = dataclasses.replace(
        Settings(),
        trainer="graphdeco",
        graphdeco=str(installed[0]),
        graphdeco_python=str(installed[1]),
        train_steps=60,
        sh_degree=1,
        silence=LIMIT,
    )
    yield settings, ask
    checkouts.probe.cache_clear()
    help_of.cache_clear()


class Events(list):
    def __call__(self, event, **fields):
        self.append({"event": event, **fields})

    def of(self, kind):
        return [e for e in self if e["event"] == kind]

    def warnings(self):
        return " | ".join(e["message"] for e in self.of("warning"))


def calls(tmp_path):
    return [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]


def value_of(call, option):
    return call[call.index(option) + 1]


@pytest.mark.parametrize("layout", ["transforms", "colmap"])
def test_a_training_ends_with_the_splat_in_blenders_world(standin, tmp_path, layout):
    settings, _ = standin
    settings = dataclasses.replace(settings, graphdeco_layout=layout, graphdeco_metrics=True)
    run, events = make_run(tmp_path / "run"), Events()
    splats = graphdeco.train(run, settings, events)
    assert events.warnings() == ""
    # the stand-in's splats are the data set's points: a sphere of radius 1 around the origin
    np.testing.assert_allclose(np.linalg.norm(splats.means, axis=1), 1, atol=1e-5)
    last = events.of("progress")[-1]
    assert last["done"] == last["total"] == 60
    assert last["splats"] == 400 and 0 < last["loss"] < 1 and last["psnr"] > 15
    (call,) = calls(tmp_path)
    assert "--disable_viewer" in call and value_of(call, "--densify_until_iter") == "30"
    assert value_of(call, "--position_lr_max_steps") == "60"
    # render.py drew all cameras in order, and agrees with our rasterizer
    agreement = json.loads((run.model / "graphdeco_views" / "agreement.json").read_text())
    assert len(agreement["pictures"]) == 12 and min(agreement["psnr"].values()) > 35
    results = json.loads((run.model / "graphdeco" / "results.json").read_text())
    assert results["ours_60"]["PSNR"] > 15
    assert not list((run.model / "graphdeco").glob("*.pth"))
    with pytest.MonkeyPatch.context() as patch:  # again: nothing is done twice
        patch.setattr(graphdeco, "_once", None)
        graphdeco.train(run, settings, Events())


def test_held_out_frames_are_the_datasets_own_in_both_layouts(standin, tmp_path):
    from .trainer_helpers import frame_numbers, read_colmap_text

    settings, _ = standin
    run = make_run(tmp_path / "run", views=24)
    train = frame_numbers(read_transforms(run.gs / "transforms_train.json"))
    settings = dataclasses.replace(settings, graphdeco_layout="colmap", graphdeco_renders=False)
    graphdeco.train(run, settings, Events())
    data = run.model / "graphdeco_colmap"
    test = {f.frame for f in read_transforms(run.gs / "transforms_test.json")}
    pictures = {k: read_rgb(run.gs / "train" / f"r_{k}.png") for k in range(24)}
    for index, image in enumerate(sorted(i.name for i in read_colmap_text(data / "sparse" / "0"))):
        got = read_rgb(data / "images" / image).astype(int)
        who = min(pictures, key=lambda k: np.abs(got - pictures[k]).mean())
        assert who in (test if index % 8 == 0 else train)


def test_options_reach_train_py_and_an_old_checkout_gets_only_what_it_knows(standin, tmp_path):
    settings, ask = standin
    settings = dataclasses.replace(
        settings,
        graphdeco_depths=True,
        graphdeco_antialiasing=True,
        graphdeco_exposure=True,
        graphdeco_optimizer="sparse_adam",
        graphdeco_background="white",
        graphdeco_renders=False,
    )
    graphdeco.train(make_run(tmp_path / "new"), settings, Events())
    (call,) = calls(tmp_path)
    assert {"--antialiasing", "--train_test_exp", "--white_background"} <= set(call)
    assert value_of(call, "--depths") == "depths"
    assert value_of(call, "--optimizer_type") == "sparse_adam"
    ask(fault="old_checkout")
    events = Events()
    graphdeco.train(make_run(tmp_path / "old"), settings, events)
    old = calls(tmp_path)[1]
    assert not {"--antialiasing", "--depths", "--disable_viewer", "--optimizer_type"} & set(old)
    assert int(value_of(old, "--port")) != 6009
    assert "does not know" in events.warnings() and "--antialiasing" in events.warnings()


@pytest.mark.parametrize(
    ("fault", "kind", "sentence"),
    [
        ("oom", StageError, "ran out of GPU memory at step"),
        ("no_extension", MissingError, "cannot import diff_gaussian_rasterization"),
        ("port", StageError, "port is in use"),
        ("nan", StageError, "no longer a number at step 30"),
        ("no_card", MissingError, "driver on your system is too old"),
    ],
)
def test_a_failure_is_one_sentence_with_the_next_step(standin, tmp_path, fault, kind, sentence):
    settings, ask = standin
    ask(fault=fault)
    events = Events()
    with pytest.raises(kind, match=sentence) as caught:
        graphdeco.train(make_run(tmp_path / "run"), settings, events)
    assert str(caught.value).endswith(".") and "Traceback" not in str(caught.value)
    if fault in ("oom", "port"):
        assert any("CUDA" in line or "Address" in line for line in caught.value.tail)
        assert len(caught.value.tail) <= 40


def test_a_silent_hang_is_ended_and_the_same_command_goes_on(standin, tmp_path):
    settings, ask = standin
    ask(fault="hang")
    run = make_run(tmp_path / "run")
    with pytest.raises(StageError, match=r"printed nothing for 10 s.*last checkpoint"):
        graphdeco.train(run, dataclasses.replace(settings, silence=10.0), Events())
    ask(fault="")
    graphdeco.train(run, dataclasses.replace(settings, graphdeco_renders=False), Events())
    second = calls(tmp_path)[1]
    assert value_of(second, "--start_checkpoint").endswith("chkpnt15.pth")


@pytest.mark.parametrize("fault", ["killed", "torn_checkpoint"])
def test_a_killed_training_resumes_from_its_newest_whole_checkpoint(standin, tmp_path, fault):
    settings, ask = standin
    ask(fault=fault)
    events = Events()
    run = make_run(tmp_path / "run")
    graphdeco.train(run, dataclasses.replace(settings, graphdeco_renders=False), events)
    first, second = calls(tmp_path)
    assert "--start_checkpoint" not in first
    assert value_of(second, "--start_checkpoint").endswith("chkpnt30.pth")
    assert "SIGKILL" in events.warnings()
    done = [e["done"] for e in events.of("progress")]
    assert done[-1] == 60 and min(done) >= 0


def test_pillow_12_takes_the_colmap_layout_or_is_a_sentence(standin, tmp_path):
    settings, ask = standin
    ask(pillow="12.0.0")
    run = make_run(tmp_path / "run")
    graphdeco.train(run, settings, Events())
    assert (run.model / "graphdeco_colmap").is_dir()
    forced = dataclasses.replace(settings, graphdeco_layout="transforms")
    with pytest.raises(StageError, match="Pillow 12"):
        graphdeco.train(make_run(tmp_path / "forced"), forced, Events())


def test_low_memory_and_missing_submodules_are_said(standin, tmp_path, installed):
    settings, ask = standin
    ask(free_gb=1)
    events = Events()
    graphdeco.train(
        make_run(tmp_path / "run"), dataclasses.replace(settings, graphdeco_renders=False), events
    )
    assert "1.0 GB free" in events.warnings()
    facts = dataclasses.replace(
        checkouts.probe(settings.graphdeco_python, settings.graphdeco),
        errors={"simple_knn._C": "ModuleNotFoundError: No module named 'simple_knn'"},
    )
    empty = tmp_path / "checkout"
    (empty / "submodules" / "simple-knn").mkdir(parents=True)
    problem = checkouts.problem_of(facts, empty, "python")
    assert "git submodule update --init --recursive" in problem


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"graphdeco": ""}, "clone graphdeco-inria/gaussian-splatting"),
        ({"graphdeco": "/nowhere"}, "no train.py in it"),
        ({"graphdeco_python": "/nowhere/python"}, "There is no Python at"),
    ],
)
def test_what_is_not_there_is_named(standin, change, sentence):
    with pytest.raises(MissingError, match=sentence):
        checkouts.inspect(dataclasses.replace(standin[0], **change))


def test_the_stage_writes_the_result_where_the_render_stage_looks(standin, tmp_path):
    settings, _ = standin
    run = make_run(tmp_path / "run")
    run_stage(run, settings, Events())
    assert result_path(run, settings).is_file()
    assert (run.logs / "1-graphdeco.log").read_text(encoding="utf-8").count("train.py") == 1


def test_a_broken_metrics_script_does_not_end_a_finished_training(standin, tmp_path, monkeypatch):
    def broken(command, cwd):
        raise MissingError("metrics.py --help fails (No module named 'lpips'); try it by hand.")

    monkeypatch.setattr(graphdeco_views, "help_of", broken)
    settings = dataclasses.replace(standin[0], graphdeco_metrics=True)
    run, events = make_run(tmp_path / "run"), Events()
    run_stage(run, settings, events)
    assert result_path(run, settings).is_file()
    assert "lpips" in events.warnings()


def test_cancel_during_training_leaves_no_process(standin, tmp_path):
    """The stage's process is killed without a chance to clean up: the trainer ends, too."""
    import os
    import signal
    import subprocess
    import sys

    settings, _ = standin
    run = make_run(tmp_path / "run")
    code = (
        "import dataclasses, json, sys\nfrom pathlib import Path\n"
        "from gs_diffusion_addon.core.run import Run\n"
        "from gs_diffusion_addon.core.settings import from_json\n"
        "from gs_diffusion_addon.engine.train import graphdeco\n"
        "settings = from_json(json.loads(sys.argv[2]))\n"
        "graphdeco.train(Run(Path(sys.argv[1]), 1), settings, lambda *a, **k: None)\n"
    )
    values = json.dumps(dataclasses.asdict(settings))
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "STANDIN_SECONDS": "20"}
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(run.root), values], env=env, start_new_session=True
    )
    wait_for((tmp_path / "calls").exists, lambda: child.poll() is None)
    assert trainers(run.root)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    wait_for(lambda: not trainers(run.root))


def trainers(root):
    """Command lines of running processes that work on a run folder."""
    out = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if b"train.py" in line and str(root).encode() in line:
            out.append(line)
    return out
