"""The stage against a real HTTP server that behaves as Automatic1111 does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gs_diffusion_addon.core import a1111 as client
from gs_diffusion_addon.core.errors import GsdError, InputError, MissingError, StageError
from gs_diffusion_addon.engine.images import read_rgb
from gs_diffusion_addon.engine.stylize import a1111, run_stage
from tests.engine.stylize_helpers import Recorder, key_paths, make_turntable, small
from tests.processes import LIMIT
from tests.servers.a1111_server import A1111Server

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PULSE_SECONDS", 0.02)
    monkeypatch.delenv(client.AUTH_VARIABLE, raising=False)


def settings_for(server: A1111Server, **changes: object):
    return small(stylizer="a1111", server=server.address, server_timeout=LIMIT, **changes)


def test_a_whole_stage(tmp_path: Path) -> None:
    with A1111Server() as server:
        settings = settings_for(server, checkpoint="tiny-random", negative_prompt="blurry")
        run = make_turntable(tmp_path, settings)
        emit = Recorder()
        a1111.check(settings)
        run_stage(run, settings, emit)
        assert [j["seed"] for j in server.jobs] == [3, 3]
        assert all(j["width"] % 8 == j["height"] % 8 == 0 for j in server.jobs)
        # Longest side of a full page: --page-size, whatever the frames' size.
        assert max(server.jobs[0]["width"], server.jobs[0]["height"]) == 128
        assert server.jobs[0]["sampler_name"] == "DPM++ 2M"
        assert server.jobs[0]["scheduler"] == "Karras"
        assert server.loaded == "tiny-random"
    text = Image.open(run.output / "00000-input0.png").text
    assert text["prompt"] == "a head" and text["seed"] == "3"
    assert "Sampler: DPM++ 2M, Schedule type: Karras" in text["parameters"]
    assert json.loads(text["info"])["sd_model_name"] == "tiny-random"
    assert set(key_paths(run, settings)) <= set(emit.paths())
    key = read_rgb(run.key(3))
    assert key.shape == (40, 48, 3)


def test_pages_that_came_back_are_never_asked_for_twice(tmp_path: Path) -> None:
    with A1111Server(["ok", "oom"]) as server:
        settings = settings_for(server)
        run = make_turntable(tmp_path, settings)
        with pytest.raises(StageError, match="memory"):
            run_stage(run, settings, Recorder())
        assert len(server.jobs) == 2
        run_stage(run, settings, Recorder())
        assert len(server.jobs) == 3
        assert server.jobs[2]["init_images"] == server.jobs[1]["init_images"]
    # All is there: no server is needed any more.
    run_stage(run, settings, Recorder())


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("black", "black picture"),
        ("wrong_size", "were asked for"),
        ("interrupted", "half finished"),
    ],
)
def test_silent_failures_leave_no_picture(tmp_path: Path, fault: str, words: str) -> None:
    with A1111Server([fault, fault]) as server:
        settings = settings_for(server)
        run = make_turntable(tmp_path, settings)
        with pytest.raises(StageError, match=words):
            run_stage(run, settings, Recorder())
    assert not run.output.exists() and not run.keys.exists()


def test_a_black_source_may_come_back_black() -> None:
    page = np.zeros((8, 8, 3), np.uint8)
    answer = client.Answer(a1111.encode_png(page), "png", 0, "", {})
    assert (a1111.picture_of(answer, page) == 0).all()
    with pytest.raises(StageError, match="damaged"):
        a1111.picture_of(client.Answer(b"\x89PNG\r\n\x1a\n", "png", 0, "", {}), page)


@pytest.mark.parametrize("kind", ["jpeg", "webp", "grid"])
def test_other_encodings_give_the_same_picture(tmp_path: Path, kind: str) -> None:
    keys = []
    for number, faults in enumerate([[], [kind, kind]]):
        with A1111Server(faults) as server:
            settings = settings_for(server)
            run = make_turntable(tmp_path / str(number), settings)
            run_stage(run, settings, Recorder())
            keys.append(read_rgb(run.key(1)).astype(int))
    assert np.abs(keys[0] - keys[1]).mean() < (0.01 if kind == "grid" else 6)


def test_nan_is_retried_named_and_written_down(tmp_path: Path) -> None:
    with A1111Server(["nan", "nan"]) as server:
        settings = settings_for(server)
        run = make_turntable(tmp_path, settings)
        emit = Recorder()
        run_stage(run, settings, emit)
        assert [j["seed"] for j in server.jobs] == [3, 3, 4, 3]
    assert "another seed" in emit.of("warning")[1]["message"]
    assert Image.open(run.output / "00000-input0.png").text["seed"] == "4"


def test_bad_settings_are_found_before_anything_is_sent(tmp_path: Path) -> None:
    with A1111Server() as server:
        run = make_turntable(tmp_path, small())
        for changes, words in (
            ({"sampler": "Nope"}, "--sampler"),
            ({"scheduler": "Nope"}, "--scheduler"),
            ({"checkpoint": "nope"}, "--checkpoint"),
        ):
            settings = settings_for(server, **changes)
            with pytest.raises(InputError, match=words):
                run_stage(run, settings, Recorder())
        assert not server.jobs
    with pytest.raises(MissingError, match="No server is running"):
        run_stage(run, settings, Recorder())


def test_progress_moves_while_the_server_works(tmp_path: Path) -> None:
    with A1111Server(seconds_per_step=0.04) as server:
        server.pause = server.until_asked()
        settings = settings_for(server)
        run = make_turntable(tmp_path, settings)
        emit = Recorder()
        run_stage(run, settings, emit)
    done = [f["done"] for f in emit.of("progress")]
    assert any(0 < d < 3 for d in done) and done == sorted(done)
    assert done[-1] == 6
    assert all(f["eta"] is None or f["eta"] >= 0 for f in emit.of("progress"))


def test_an_empty_prompt_is_mentioned(tmp_path: Path) -> None:
    with A1111Server() as server:
        emit = Recorder()
        a1111.start(settings_for(server, prompt=" "), emit)
    assert "prompt is empty" in emit.of("warning")[0]["message"]


STAGE = """
import sys
from pathlib import Path
from gs_diffusion_addon.core import a1111
from gs_diffusion_addon.core.errors import Interrupted
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.engine.stylize import pool, run_stage
from tests.engine.stylize_helpers import small
a1111.INTERRUPT_SECONDS = pool.CANCEL_SECONDS = 30.0  # a loaded machine must not fail the test
try:
    settings = small(stylizer="a1111", server=sys.argv[2])
    run_stage(Run(Path(sys.argv[1])), settings, lambda *a, **f: None)
except Interrupted:
    sys.exit(130)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM")
def test_sigterm_stops_the_servers_job_in_the_middle(tmp_path: Path) -> None:
    """The stage does not wait for the page, which would take minutes."""
    make_turntable(tmp_path, small())
    with A1111Server(seconds_per_step=60) as server:
        child = subprocess.Popen([sys.executable, "-c", STAGE, tmp_path, server.address], cwd=ROOT)
        try:
            while not server.active:
                assert child.poll() is None
                time.sleep(0.02)
            child.send_signal(signal.SIGTERM)
            assert child.wait(timeout=LIMIT) == 130
        finally:
            child.kill()
            child.wait()
        assert "/sdapi/v1/interrupt" in server.paths()
        assert not server.delivered


def test_every_gsd_error_has_a_sentence() -> None:
    for server in ("", "ftp://x", "http://127.0.0.1:9", "a b"):
        with pytest.raises(GsdError, match=r"\.$"):
            a1111.check(small(server=server))
    assert issubclass(MissingError, GsdError)
