"""The hand-over to EbSynth's program: project files, folder, watching. The program is a stand-in
process that reads the project files with a reader of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gs_diffusion_addon.core.errors import GsdError, WaitError, error_for_exit_code
from gs_diffusion_addon.core.orbit import plan_keys
from gs_diffusion_addon.engine import propagate
from gs_diffusion_addon.engine.images import read_rgba, write_png
from gs_diffusion_addon.engine.propagate import ebs, ebsynth_folder, handoff, rows, watch
from tests.engine import synthetic
from tests.processes import LIMIT, wait_for
from tests.servers.ebsynth_program import read_project

PROGRAM = Path(__file__).resolve().parents[1] / "servers" / "ebsynth_program.py"

# Two rows as another tool writes them (facts on the format; 176 bytes).
EXAMPLE = bytes.fromhex(
    "454253303500120000006672616d65732f5b23232323235d2e706e6700000000100000006b6579732f5b23232323235d"
    "2e706e67000000803f000080400000803f000020410000803f00c05a4502000000040000000101000000000c00000015"
    "0000006f75742d30303030342f5b23232323235d2e706e670c00000001010400000014000000150000006f75742d3030"
    "3031322f5b23232323235d2e706e675630320001000000010000f041c0020000"
)


def test_project_is_byte_for_byte_what_another_tool_writes():
    synthesis = [
        ebs.Synthesis(4, 0, 12, "out-00004/[#####].png"),
        ebs.Synthesis(12, 4, 20, "out-00012/[#####].png"),
    ]
    data = ebs.encode(ebs.Project("frames/[#####].png", "keys/[#####].png", synthesis))
    assert len(EXAMPLE) == 176
    assert data == EXAMPLE


number = st.integers(0, 99999)
row_strategy = st.builds(
    ebs.Synthesis, number, number, number, st.text(max_size=20), st.booleans(), st.booleans()
)
weight = st.floats(0, 1e6, width=32)
project_strategy = st.builds(
    ebs.Project,
    st.text(max_size=20),
    st.text(max_size=20),
    st.lists(row_strategy, max_size=15),
    st.text(max_size=20),
    st.booleans(),
    *[weight] * 6,
    detail=st.integers(1, 4),
    use_gpu=st.booleans(),
    fps=weight,
)


@given(project_strategy)
def test_an_independent_reader_gets_everything_back(project):
    read = read_project(ebs.encode(project))
    listed = [vars(r) for r in project.rows]
    assert read == {**vars(project), "rows": listed}


@given(st.integers(1, 40), st.integers(1, 40))
def test_rows_reach_every_frame_from_both_sides(count, wanted):
    keys = sorted({(k * count) // wanted for k in range(wanted)})
    made = handoff.open_rows(keys, count)
    for position in range(count):
        mix = rows.mix(keys, count, position)
        assert 0 <= mix.alpha < 1
        line = position if position >= keys[0] else position + count
        right = mix.right if mix.right > mix.left else mix.right + count
        for key in [mix.left] + ([right] if mix.alpha else []):
            row = next(r for r in made if r.key == key)
            assert row.first <= line <= row.last
    assert rows.mix(keys, count, keys[0]).alpha == 0
    closed = rows.rows(keys, count)
    assert sum(r.last - r.first for r in closed) >= count - 1


def test_mix_is_the_experiments():
    found = [rows.mix([4, 12], 20, f) for f in (4, 8, 12, 16, 0)]
    assert [(m.left, m.right) for m in found] == [(4, 12), (4, 12), (12, 4), (12, 4), (12, 4)]
    assert [m.alpha for m in found] == [0, 4 / 9, 0, 4 / 13, 8 / 13]


class Events(list):
    def __call__(self, event, **fields):
        self.append((event, fields))

    def of(self, kind):
        return [fields for event, fields in self if event == kind]


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setattr(ebsynth_folder, "POLL", 0.05)
    settings = synthetic.with_settings(
        views=10, keys=4, rings="30:4", ring_keys=2, propagator="ebsynth_folder"
    )
    run, frames = synthetic.write_run(tmp_path, settings, size=(32, 32))
    for k in plan_keys(settings):
        write_png(run.key(k), np.full((32, 32, 3), 128, np.uint8))
    return run, settings, frames


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe"])
def test_a_damaged_note_lays_everything_out_anew(made, damage):
    run, _, frames = made
    circle = [frame for frame in frames if frame.ring == 0]
    keys = [k for k, frame in enumerate(circle) if run.key(frame.frame).is_file()]
    job = handoff.write(run, circle, keys)
    note = job.folder / "handoff.json"
    good = note.read_bytes()
    painted = job.folder / "out_0"
    painted.mkdir()
    note.write_bytes(damage)
    handoff.write(run, circle, keys)
    assert note.read_bytes() == good
    assert [p.parent.name[:4] for p in job.folder.glob("*/out_0")] == ["old-"]


def projects(run):
    return sorted((run.folder / "ebsynth").glob("*.ebs"))


def program(run, *options):
    # Only the package's tests' own numpy and PIL are needed, so it starts quickly.
    return subprocess.Popen([sys.executable, str(PROGRAM), *map(str, projects(run)), *options])


def started(run, settings, events):
    """The stage in a thread, and what it raised or None, once it has written the projects."""
    outcome = []

    def work():
        try:
            propagate.run_stage(run, settings, events)
            outcome.append((time.time(), None))
        except GsdError as error:
            outcome.append((time.time(), error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    wait_for((run.folder / "ebsynth" / "status.json").exists, thread.is_alive)
    return thread, outcome


def test_waits_for_a_clumsy_user_through_a_restart(made):
    run, settings, frames = made
    events = Events()
    short = synthetic.dataclasses.replace(settings, ebsynth_timeout=0.6)
    thread, outcome = started(run, short, events)
    first = program(run, "--delay", "0.01", "--stop-after", "9")
    assert first.wait(LIMIT) == 0
    thread.join(LIMIT)
    assert isinstance(outcome[0][1], WaitError)
    assert outcome[0][1].exit_code == 5
    assert isinstance(error_for_exit_code(5, "x"), WaitError)
    assert "frames are there" in str(outcome[0][1])
    (run.folder / "ebsynth" / "status.json").unlink()
    before = {p: p.stat().st_mtime_ns for p in (run.folder / "ebsynth" / "keys").iterdir()}
    thread, outcome = started(run, settings, events)
    second = program(run, "--delay", "0.02", "--bad", "--seed", "1")
    assert second.wait(LIMIT) == 0
    thread.join(LIMIT)
    when, error = outcome[0]
    assert error is None
    painted = [p.stat().st_mtime for p in (run.folder / "ebsynth").glob("out_*/*.png")]
    assert max(painted) <= when
    assert before == {p: p.stat().st_mtime_ns for p in (run.folder / "ebsynth" / "keys").iterdir()}
    states = [row for fields in events.of("ebsynth") for row in fields["rows"]]
    assert any(row["wrong_size"] for row in states)
    assert any(row["missing"] for row in states)
    assert all(r["done"] == r["last"] - r["first"] + 1 for r in events.of("ebsynth")[-1]["rows"])
    check_crossfade(run, frames, settings)


def check_crossfade(run, frames, settings):
    """Red is the mix of the key numbers, green the frame's own number, the seam closed."""
    circle = [f for f in frames if f.ring == 0]
    keys = rows.key_positions(plan_keys(settings), circle)
    for position, frame in enumerate(circle):
        out = read_rgba(run.stylized_frame(frame.frame))
        solid = out[..., 3] == 255
        mix = rows.mix(keys, len(circle), position)
        right = mix.right if mix.right > mix.left else mix.right + len(circle)
        wanted = int((1 - mix.alpha) * mix.left + mix.alpha * right)
        assert np.abs(out[solid][:, 0].astype(int) - wanted).max() <= 1
        assert np.abs(out[solid][:, 1].astype(int) - position).max() <= 1
    for frame in frames:
        assert run.stylized_frame(frame.frame).is_file()


def test_skip_falls_back_and_old_outputs_are_moved_aside(made):
    run, settings, frames = made
    folder = run.folder / "ebsynth"
    job = handoff.write(run, [f for f in frames if f.ring == 0], [0, 2, 5, 7])
    write_png(folder / "out_00000" / "00000.png", np.zeros((32, 32, 3), np.uint8))
    assert job.count == 10
    for k in plan_keys(settings):
        write_png(run.key(k), np.full((32, 32, 3), 90, np.uint8))
    handoff.write(run, [f for f in frames if f.ring == 0], [0, 2, 5, 7])
    assert not (folder / "out_00000").exists()
    assert len(list(folder.glob("old-*/out_00000/00000.png"))) == 1
    (folder / "SKIP").touch()
    events = Events()
    propagate.run_stage(run, settings, events)
    assert any("skipped" in w["message"] for w in events.of("warning"))
    out = read_rgba(run.stylized_frame(3))
    assert np.abs(out[out[..., 3] > 0][:, :3].astype(int) - 90).max() <= 2
    text = (folder / "README.txt").read_text()
    assert "part1.ebs" in text and "Run All" in text


@pytest.mark.parametrize("kind", ["sequence", "video"])
def test_another_programs_whole_ring_is_taken(made, tmp_path, kind):
    run, settings, _ = made
    result = run.folder / "ebsynth" / "result"
    colors = [np.full((32, 32, 3), 60 + 10 * k, np.uint8) for k in range(10)]
    paths = []
    for k, picture in enumerate(colors):
        paths.append(tmp_path / "other" / f"shot_{k + 1}.png")
        write_png(paths[-1], picture)
    handoff.write(run, propagate.cameras(run)[:10], [0, 2, 5, 7])
    result.mkdir()
    if kind == "video":
        write_h264(result / "ebsynth 2.mp4", colors)
    else:
        for path in paths:
            os.replace(path, result / path.name)
    propagate.run_stage(run, settings, Events())
    for k in range(10):
        out = read_rgba(run.stylized_frame(k))
        seen = out[out[..., 3] > 0][:, :3].astype(int)
        assert np.abs(seen - (60 + 10 * k)).max() <= (3 if kind == "video" else 0)


def write_h264(path, pictures):
    """A video as other programs write it: their own quality, sizes a multiple of 16."""
    writer = imageio_ffmpeg.write_frames(
        str(path), (32, 32), fps=24, quality=6, macro_block_size=16
    )
    writer.send(None)
    for picture in pictures:
        writer.send(picture)
    writer.close()


GRAY = np.full((32, 32, 3), 90, np.uint8)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({f"{k}.png": GRAY for k in range(9)}, "result/ holds 9 of 10 pictures"),
        ({f"{k}.png": GRAY[:30] for k in range(10)}, "result/0.png is 32x30 instead of 32x32"),
        ({f"{k}.png": b"no picture" for k in range(10)}, "result/0.png is not readable"),
        ({"a.mp4": [GRAY] * 9}, "result/a.mp4 has 9 of 10 frames"),
        ({"a.mp4": b"no video"}, "result/a.mp4 is not readable"),
        ({"a.mp4": [GRAY] * 10, "b.mp4": [GRAY] * 10}, "result/ holds 2 videos instead of one"),
    ],
)
def test_a_result_that_cannot_be_taken_is_told_and_decoded_once(made, monkeypatch, files, words):
    run, settings, frames = made
    job = handoff.write(run, [f for f in frames if f.ring == 0], [0, 2, 5, 7])
    for name, content in files.items():
        path = job.result / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, list):
            write_h264(path, content)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            write_png(path, content)
    monkeypatch.setattr(ebsynth_folder, "REASON_STANDS", 0.0)
    decoded = []
    read = imageio_ffmpeg.read_frames
    monkeypatch.setattr(
        imageio_ffmpeg, "read_frames", lambda path: (decoded.append(path), read(path))[1]
    )
    events = Events()
    short = synthetic.dataclasses.replace(settings, ebsynth_timeout=0.5)
    with pytest.raises(WaitError, match=f"; {words}. Follow"):
        ebsynth_folder.wait(watch.Watcher(job), short, events)
    warnings = [w["message"] for w in events.of("warning")]
    assert warnings == [f"The run still waits for EbSynth: {words}."]
    assert events.of("ebsynth")[-1]["message"].endswith(words)
    assert words in (job.folder / "status.json").read_text()
    assert len(decoded) == ("a.mp4" in files and "b.mp4" not in files)


def test_states_of_a_file(made):
    run, _, frames = made
    job = handoff.write(run, [f for f in frames if f.ring == 0], [0, 2, 5, 7])
    watcher = watch.Watcher(job)
    row = job.rows[1]
    path = job.folder / "out-00002" / "00001.png"
    key = job.key(2).stat().st_mtime_ns

    def state():
        watcher.state(watcher.file(row, 1), key)
        return watcher.state(watcher.file(row, 1), key)

    assert state() == "missing"
    path.parent.mkdir()
    Image.new("RGB", (32, 32)).save(path)
    assert watcher.file(row, 1) == path
    assert watcher.state(path, key) == "writing"
    assert watcher.state(path, key) == "done"
    path.write_bytes(path.read_bytes()[:40])
    assert state() == "broken"
    Image.new("RGB", (30, 32)).save(path)
    assert state() == "wrong_size"
    Image.new("RGB", (32, 32)).save(path)
    os.utime(path, ns=(key - 10**9, key - 10**9))
    assert state() == "old"
    assert "older than their key" in watch.summary(watcher.look())


def test_many_rows_are_spread_over_projects(tmp_path):
    settings = synthetic.with_settings(views=40, keys=40, rings="none")
    run, frames = synthetic.write_run(tmp_path, settings, size=(16, 16))
    for k in plan_keys(settings):
        write_png(run.key(k), np.zeros((16, 16, 3), np.uint8))
    job = handoff.write(run, frames, list(range(40)))
    read = [read_project(p.read_bytes()) for p in projects(run)]
    assert [len(p["rows"]) for p in read] == [15, 15, 11]
    assert len(job.rows) == 41
    assert (job.folder / "frames" / "00040.png").is_file()
    assert [r["key"] for p in read for r in p["rows"]] == list(range(41))
