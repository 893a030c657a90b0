"""Sweep files, the farm's templates made of them, and the Flamenco job type under node."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gs_diffusion_addon.core import openjd, sweep_run
from gs_diffusion_addon.core.arguments import build, given_settings
from gs_diffusion_addon.core.errors import InputError, Interrupted
from gs_diffusion_addon.core.lock import locked
from gs_diffusion_addon.core.process import Ended
from gs_diffusion_addon.core.sweep import flags, read_sweep, slug
from tests.processes import LIMIT

ROOT = Path(__file__).parents[2]
PARSER = build()
SWEEP = """
[settings]
model = "head.obj"
views = 24

[vary]
prompt = ["a bronze bust", "-- a \\"marble\\" bust"]
seed = [1, 2]

[[runs]]
name = "No control!"
prompt = "a bronze bust"
control = ""
"""


def written(folder: Path, text: str, name: str = "two.toml") -> Path:
    """A sweep file."""
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_every_combination_is_a_run_of_its_own(tmp_path):
    jobs = read_sweep(written(tmp_path, SWEEP))
    assert [job.name for job in jobs] == [
        "a-bronze-bust-seed-1",
        "a-bronze-bust-seed-2",
        "a-marble-bust-seed-1",
        "a-marble-bust-seed-2",
        "no-control",
    ]
    assert jobs[2].settings == {
        "model": str(tmp_path / "head.obj"),
        "views": 24,
        "prompt": '-- a "marble" bust',
        "seed": 1,
    }
    # What a run is started with is what the file says.
    for job in jobs:
        parsed = PARSER.parse_args(["run", "--out", "x", *flags(job.settings)])
        assert given_settings(parsed) == job.settings


def test_json_and_linked_settings(tmp_path):
    looks = [{"name": "soft", "strength": 0.4, "cfg-scale": 5.0}, {"strength": 0.9}]
    data = {"settings": {"model": "a.obj"}, "vary": {"look": looks, "denoise": [True, False]}}
    jobs = read_sweep(written(tmp_path, json.dumps(data), "s.json"))
    assert [j.name for j in jobs] == [
        "soft-denoise-true",
        "soft-denoise-false",
        "look-2-denoise-true",
        "look-2-denoise-false",
    ]
    assert jobs[1].settings["cfg_scale"] == 5.0 and "cfg_scale" not in jobs[3].settings
    assert "--no-denoise" in flags(jobs[1].settings)


def test_long_and_foreign_names_stay_apart_and_stay_the_same(tmp_path):
    long = "a very long prompt that goes on and on and ends in "
    prompts = [long + "bronze", long + "marble", "銅像", "石像", "Ä", "a"]

    def names(some):
        text = f"[settings]\nmodel = 'm.obj'\n[vary]\nprompt = {json.dumps(some)}\n"
        return [job.name for job in read_sweep(written(tmp_path, text))]

    all_names = names(prompts)
    assert len({n.lower() for n in all_names}) == 6
    assert names(prompts[:1]) == all_names[:1]  # a sweep that grows keeps its folders
    assert names(prompts[2:3]) == all_names[2:3]


@given(st.text(max_size=80))
def test_a_name_is_a_safe_folder_everywhere(text):
    made = slug(text)
    assert len(made) <= 72 and set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    assert not made.startswith((".", "-")) and not made.endswith((".", "-"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[settings]\nmodel = 'm.obj'\n", "asks for no run"),
        ("prompt = 'x'", "has a part 'prompt'"),
        ("[vary]\nprompts = ['a']", "no setting called 'prompts'"),
        ("[vary]\nviews = ['many']", "views must be a int"),
        ("[vary]\nseed = 3", "must be a list"),
        ("[vary]\nseed = []", "is empty"),
        ("[vary]\nviews = [1000000]", "--views must lie between"),
        ("[vary]\nseed = [1, 1]", "Runs 1 and 2 of"),
        ("[vary", "cannot be read"),
        ("runs = [3]", "must be a table"),
    ],
)
def test_a_bad_sweep_file_is_told_in_a_sentence(tmp_path, text, says):
    with pytest.raises(InputError, match=says):
        read_sweep(written(tmp_path, text))


def test_a_sweep_file_of_a_windows_editor(tmp_path):
    for name, text in (("a.toml", SWEEP), ("b.json", '{"runs": [{"model": "a.obj", "seed": 3}]}')):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8-sig", newline="\r\n")
        assert len(read_sweep(path)) == len(read_sweep(written(tmp_path, text, "plain-" + name)))


def test_a_run_does_not_take_the_name_of_the_sweeps_own_folder(tmp_path):
    runs = [{"name": "Logs", "model": "a.obj"}, {"name": "x", "model": "a.obj", "seed": 5}]
    text = json.dumps({"runs": runs})
    assert [job.name for job in read_sweep(written(tmp_path, text, "s.json"))] == ["run-logs", "x"]


def test_a_missing_file_and_too_many_runs(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_sweep(tmp_path / "none.toml")
    many = f"[vary]\nseed = {list(range(200))}\nviews = {list(range(12, 72))}"
    with pytest.raises(InputError, match="12000 runs"):
        read_sweep(written(tmp_path, many))


def test_a_sweep_s_folder_is_its_own(tmp_path):
    jobs = read_sweep(written(tmp_path, SWEEP))
    out = tmp_path / "out"
    sweep_run.prepare(out, jobs)
    sweep_run.prepare(out, jobs[:2])  # the file was edited
    assert len(json.loads((out / "sweep.json").read_text())["runs"]) == 2
    with locked(out), pytest.raises(InputError, match="in use by"):
        sweep_run.run_all(out, jobs, 1, [], threading.Event(), lambda job, event: None)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").touch()
    with pytest.raises(InputError, match=r"holds no sweep \(there is 'thesis.txt'"):
        sweep_run.prepare(other, jobs)
    with pytest.raises(InputError, match="has no run 'x'; it has a-bronze"):
        sweep_run.chosen(jobs, "x")


def test_a_sweep_hears_that_it_is_to_stop(tmp_path, monkeypatch):
    """On Windows a signal reaches Python between two waits, and no wait of the main thread."""
    jobs, stop, begun = read_sweep(written(tmp_path, SWEEP)), threading.Event(), []
    result = Future.result

    def patient(future, timeout=None):
        assert future.done() or timeout is not None, "a wait without an end"
        return result(future, timeout)

    def run_child(command, **options):
        begun.append(command)
        threading.Timer(0.3, stop.set).start()
        assert stop.wait(LIMIT)
        raise Interrupted("Stopped.")

    monkeypatch.setattr(sweep_run, "run_child", run_child)
    monkeypatch.setattr(Future, "result", patient)
    sweep_run.prepare(tmp_path / "out", jobs)
    with pytest.raises(Interrupted):
        sweep_run.run_all(tmp_path / "out", jobs, 1, [], stop, lambda job, event: None)
    assert len(begun) == 1


def test_runs_go_on_when_one_fails_and_share_the_processors(tmp_path, monkeypatch):
    jobs = read_sweep(written(tmp_path, SWEEP))
    seen, together, most = [], [], []

    def run_child(command, **options):
        together.append(1)
        most.append(len(together))
        seen.append(command)
        options["on_event"]({"event": "stage_skipped", "stage": "turntable", "iteration": 0})
        gate.wait(LIMIT)  # until the second one is there
        together.pop()
        out = command[command.index("--out") + 1]
        bad = out.endswith("seed-2")
        tail = ("--- x", "gsd: The model is gone.") if bad else ()
        return Ended(2 if bad else 0, None, tail)

    gate = threading.Barrier(2)
    monkeypatch.setattr(sweep_run, "run_child", run_child)
    monkeypatch.setattr(sweep_run.os, "cpu_count", lambda: 8)
    told = []
    failures = sweep_run.run_all(
        tmp_path, jobs[:4], 2, ["--until", "train"], threading.Event(), lambda *a: told.append(a)
    )
    assert [f.job.name for f in failures] == [jobs[1].name, jobs[3].name]
    assert str(failures[0].error) == "The model is gone." and failures[0].error.exit_code == 2
    assert len(seen) == 4 and max(most) == 2
    assert all("--threads=4" in command and "--with-parent" in command for command in seen)
    assert len({command[command.index("--out") + 1] for command in seen}) == 4


def test_the_openjd_template_calls_the_same_command(tmp_path):
    jobs = read_sweep(written(tmp_path, SWEEP))
    made = openjd.template(jobs, tmp_path / "two.toml", tmp_path / "out", tmp_path)
    run, sheet = made["steps"]
    assert [p.get("default") for p in made["parameterDefinitions"]] == ["two.toml", "out", "gsd"]
    elsewhere = openjd.template(jobs, tmp_path / "two.toml", Path("/farm"), tmp_path)
    assert "default" not in elsewhere["parameterDefinitions"][1]
    (names,) = run["parameterSpace"]["taskParameterDefinitions"]
    assert names["range"] == [job.name for job in jobs]
    assert sheet["dependencies"] == [{"dependsOn": "Run"}]
    values = {
        "{{Param.SweepFile}}": str(tmp_path / "two.toml"),
        "{{Param.OutDir}}": str(tmp_path / "out"),
        "{{Task.Param.Run}}": jobs[0].name,
    }
    for step in made["steps"]:
        action = step["script"]["actions"]["onRun"]
        parsed = PARSER.parse_args([values.get(a, a) for a in action["args"]])
        assert parsed.out == tmp_path / "out"
    with pytest.raises(InputError, match="at most 1024"):
        openjd.template(jobs * 300, tmp_path / "two.toml", tmp_path / "out", tmp_path)


FLAMENCO = """
const fs = require("fs"), vm = require("vm");
const [file, settings] = process.argv.slice(1);
const tasks = [];
const task = (name, type) => ({
  name, type, commands: [], needs: [],
  addCommand(c) { this.commands.push(c); }, addDependency(t) { this.needs.push(t.name); },
});
const author = { Task: task, Command: (name, parameters) => ({ name, parameters }) };
const world = vm.createContext({ author });
vm.runInContext(fs.readFileSync(file, "utf8") + "\\nthis.kinds = JOB_TYPE;", world);
try {
  world.compileJob({ settings: JSON.parse(settings), addTask: (t) => tasks.push(t) });
  console.log(JSON.stringify({ tasks, kinds: world.kinds }));
} catch (error) { console.log(JSON.stringify({ error: error.message })); }
"""


def flamenco(**settings: str) -> dict:
    """What Flamenco would make of the job type, run in node."""
    base = {"prompts": "a bust", "seeds": "1", "models": "/a/head one.blend", "out": "/farm/out/"}
    command = ["node", "-e", FLAMENCO, str(ROOT / "farm" / "gs_diffusion.js")]
    done = subprocess.run(
        [*command, json.dumps({**base, **settings})], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


needs_node = pytest.mark.skipif(
    shutil.which("node") is None, reason="node is not installed (tools/setup.sh --test)"
)


@needs_node
def test_the_flamenco_job_type_makes_a_task_for_every_run():
    options = "--iterations 2 --style '/farm/my style.png'"
    made = flamenco(
        prompts='a bronze bust | -- "marble"',
        seeds="1-2, 7",
        options=options,
        models="a.obj|b.blend",
    )
    *runs, sheet = made["tasks"]
    assert len(runs) == 2 * 3 * 2
    folders, asked = set(), set()
    for task in runs:
        (command,) = task["commands"]
        assert command["name"] == "exec" and command["parameters"]["exe"] == "gsd"
        parsed = PARSER.parse_args(command["parameters"]["args"])
        settings = given_settings(parsed)
        assert parsed.command == "run" and parsed.out.parent == Path("/farm/out")
        assert parsed.out.name == task["name"]
        assert settings["iterations"] == 2 and settings["style"] == "/farm/my style.png"
        folders.add(parsed.out)
        model = Path(settings.get("blend") or settings["model"]).name
        asked.add((model, settings["prompt"], settings["seed"]))
    assert len(folders) == len(asked) == 12 and ("a.obj", '-- "marble"', 7) in asked
    assert sheet["needs"] == [task["name"] for task in runs]
    parsed = PARSER.parse_args(sheet["commands"][0]["parameters"]["args"])
    assert parsed.command == "sheet"
    assert {s["type"] for s in made["kinds"]["settings"]} == {"string"}


@needs_node
def test_the_flamenco_job_type_can_use_the_workers_blender():
    (run, _) = flamenco(worker_script="/x/worker.py")["tasks"]
    parameters = run["commands"][0]["parameters"]
    assert parameters["exe"] == "{blender}"
    assert parameters["args"][:7] == [
        "-b",
        "-Y",
        "--python-exit-code",
        "4",
        "-P",
        "/x/worker.py",
        "--",
    ]


@needs_node
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"prompts": " | "}, "at least one prompt"),
        ({"models": ""}, "save the .blend first"),
        ({"seeds": "one"}, "seeds must look like"),
        ({"seeds": "1-5000"}, "too many seeds"),
        ({"out": ""}, "choose the folder"),
    ],
)
def test_the_flamenco_job_type_says_what_is_missing(settings, says):
    assert says in flamenco(**settings)["error"]


@pytest.mark.parametrize("name", ["deep.json", "deep.toml"])
def test_a_sweep_file_nested_too_deeply_is_a_sentence(tmp_path, name):
    path = tmp_path / name
    path.write_text(("a = " if name.endswith("toml") else "") + "[" * 100_000)
    with pytest.raises(InputError, match="cannot be read"):
        read_sweep(path)
