"""Everything that can go wrong once, in one stage: named, overcome, and without a trace after."""

from __future__ import annotations

import _thread
import shutil
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gs_diffusion_addon.core import a1111 as client
from gs_diffusion_addon.core.errors import InputError, Interrupted, MissingError, StageError
from gs_diffusion_addon.core.orbit import plan_keys
from gs_diffusion_addon.core.stages import stage_settings
from gs_diffusion_addon.engine.images import read_rgb
from gs_diffusion_addon.engine.stylize import run_stage
from gs_diffusion_addon.engine.stylize.pool import Pool, Task
from tests.engine.stylize_helpers import Recorder, make_turntable, small
from tests.processes import LIMIT, wait_for
from tests.servers.a1111_data import FAULTS
from tests.servers.a1111_server import A1111Server
from tests.servers.pictures import restyle


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PULSE_SECONDS", 0.02)
    monkeypatch.setattr(client, "SETTLE_SECONDS", 0.1)
    monkeypatch.delenv(client.AUTH_VARIABLE, raising=False)


def settings_for(*servers: A1111Server, **changes: object):
    address = ",".join(s.address for s in servers)
    return small(stylizer="a1111", server=address, server_timeout=LIMIT, **changes)


# What a person reads of each fault; those that change nothing need no words.
WORDS = {
    "oom": "ran out of graphics memory",
    "nan": "produced NaNs",
    "lowvram": "could not load a diffusion model",
    "plain500": "Internal Server Error",
    "html502": "status 502",
    "html504": "status 504",
    "reset": "closed the connection",
    "die_back": "went away in the middle of",
    "refuse": "went away before",
    "torn": "broke off in the middle of its answer",
    "rst": "broke off in the middle of its answer",
    "not_json": "not an A1111 server",
    "black": "black picture",
    "wrong_size": "were asked for",
    "other_sampler": "the sampler 'Euler a'",
    "other_schedule": "the schedule 'Exponential'",
    "other_seed": "the seed 4 instead",
    "no_image": "no picture",
    "bad_base64": "not base64",
    "interrupted": "half finished",
    "queue_full": "Queue is full",
    "control_off": "0 of 1 ControlNet units acted",
    "other_model": "somebody-elses",
    "refiner_off": "did not use the refiner",
}
SILENT = {"ok", "slow", "jpeg", "webp", "grid"}


def test_everything_once_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """Jpeg is left out of the comparison, being lossy. 'die' for good is another test; everything
    else goes wrong once, with good pages in between.
    """
    assert set(WORDS) | SILENT | {"die"} == set(FAULTS)
    knobs = {
        "sides": 1, "page_size": 64, "views": 40, "keys": 40, "rings": "none", "control": "tile",
        "refiner": "tiny-random", "diffusion_steps": 2, "sampler": "DPM++ 2M",
    }  # fmt: skip
    with A1111Server() as server:
        settings = settings_for(server, **knobs)
        calm = make_turntable(tmp_path / "calm", settings)
        run_stage(calm, settings, Recorder())
        pages = sorted(server.delivered)
    plan = [f for fault in [*WORDS, "slow", "grid", "webp"] for f in (fault, "ok")]
    with A1111Server(plan, away=LIMIT) as server:
        settings = settings_for(server, **knobs)
        run = make_turntable(tmp_path / "stormy", settings)
        emit = Recorder()

        def listen(event: str, **fields: object) -> None:
            emit(event, **fields)
            if "come back" in str(fields.get("message")):
                server.missed.set()

        run_stage(run, settings, listen)
        assert not server.faults
        assert sorted(server.delivered) == pages and len(pages) == 40  # each once
    said = [w["message"] for w in emit.of("warning")]
    for fault, words in WORDS.items():
        assert any(words in message for message in said), (fault, said)
    assert len(emit.paths()) == len(set(emit.paths())) == 80
    for k in plan_keys(settings):
        assert run.key(k).read_bytes() == calm.key(k).read_bytes(), k


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_lossy_answers_end_alike(tmp_path: Path, kind: str) -> None:
    keys = []
    for faults in ([], [kind] * 2):
        with A1111Server(faults) as server:
            run = make_turntable(tmp_path / f"{len(faults)}", small())
            run_stage(run, settings_for(server), Recorder())
            keys.append(read_rgb(run.key(0)).astype(int))
    assert np.abs(keys[0] - keys[1]).mean() < 6


# --- silent failures: status 200 and another picture than asked for -------------------------------


@pytest.mark.parametrize(
    ("knobs", "changes", "kind", "words"),
    [
        ({}, {"sampler": "Nope"}, InputError, "no sampler called 'Nope'"),
        ({}, {"scheduler": "Nope"}, InputError, "no scheduler called 'Nope'"),
        ({}, {"checkpoint": "nope"}, InputError, "no diffusion model called 'nope'"),
        ({}, {"vae": "nope"}, InputError, "no VAE called 'nope'"),
        ({}, {"prompt": "a <lora:nope:1> head"}, InputError, "no LoRA called 'nope'"),
        ({}, {"refiner": "nope"}, InputError, "no diffusion model called 'nope'"),
        ({}, {"refiner": "tiny-sd15"}, InputError, "the diffusion model itself"),
        ({}, {"control": "tile@nope"}, InputError, "no ControlNet model called 'nope'"),
        ({}, {"control": "tile,tile,tile,tile"}, InputError, "heeds 3 ControlNet units"),
        ({"controlnet": None}, {"control": "tile"}, MissingError, "has no ControlNet"),
        ({"controlnet": []}, {"control": "tile"}, InputError, "no ControlNet model for tile"),
        ({"models": ["sd_xl"]}, {"control": "canny@v11p_sd15_canny"}, StageError, "0 of 1"),
        ({"models": ["sd_xl"], "controlnet": ["a_tile"]}, {"control": "tile"}, InputError, "SDXL"),
    ],
)  # fmt: skip
def test_wrong_names_never_reach_the_picture(
    tmp_path: Path, knobs: dict, changes: dict, kind: type, words: str
) -> None:
    with A1111Server(**knobs) as server:
        run = make_turntable(tmp_path, small())
        settings = settings_for(server, **changes)
        with pytest.raises(kind, match=words):
            run_stage(run, settings, Recorder())
    assert not run.output.exists()


def test_a_wrong_hash_finds_the_model_and_the_listed_name_is_sent(tmp_path: Path) -> None:
    """The server takes another hash for another model, silently; we go by the name."""
    with A1111Server(controlnet=["control_v11p_sd15_canny [0ef00dd9]"]) as server:
        run = make_turntable(tmp_path, small())
        run_stage(
            run, settings_for(server, control="canny@control_v11p_sd15_canny [d14c016b]"),
            Recorder(),
        )  # fmt: skip
        (unit,) = server.jobs[0]["alwayson_scripts"]["ControlNet"]["args"]
    assert unit["model"] == "control_v11p_sd15_canny [0ef00dd9]"


def test_a_server_that_hides_detected_maps_is_refused(tmp_path: Path) -> None:
    with A1111Server() as server:
        server.no_detectmap = True
        with pytest.raises(MissingError, match="Do not append detectmap"):
            run_stage(
                make_turntable(tmp_path, small()), settings_for(server, control="tile"), Recorder()
            )


def test_nothing_leaks_into_the_server(tmp_path: Path) -> None:
    """Overrides stay behind on some servers, so none is sent; only the VAE asked for is set."""
    with A1111Server() as server:
        before = server.get_options(None)
        run_stage(
            make_turntable(tmp_path, small()), settings_for(server, control="tile"), Recorder()
        )
        assert server.get_options(None) == before
        assert all(j["override_settings"] == {} for j in server.jobs)
        assert all("Refiner" not in j["alwayson_scripts"] for j in server.jobs)
        run = make_turntable(tmp_path / "vae", small())
        run_stage(run, settings_for(server, vae="ft-mse", refiner="tiny-random"), Recorder())
        assert server.vae == "ft-mse.safetensors"
        assert server.jobs[-1]["refiner_switch_at"] == 0.8


def test_two_failures_in_a_row_end_the_stage(tmp_path: Path) -> None:
    with A1111Server(["oom", "oom", "ok"]) as server:
        run = make_turntable(tmp_path, small(sides=1, page_size=64))
        with pytest.raises(StageError, match="memory"):
            run_stage(run, settings_for(server, sides=1, page_size=64), Recorder())
        assert len(server.jobs) == 2


# --- several servers ------------------------------------------------------------------------------

MANY = {"sides": 1, "page_size": 64, "views": 8, "keys": 8, "rings": "none"}


def test_two_servers_share_the_pages(tmp_path: Path) -> None:
    """Each of two servers draws its page only while the other draws one, too."""
    for count in (1, 2):
        together = threading.Barrier(count, timeout=LIMIT)

        def draw(*given: Any, meeting: threading.Barrier = together) -> np.ndarray:
            meeting.wait()
            return restyle(*given)

        servers = [A1111Server(artist=draw).start() for _ in range(count)]
        settings = settings_for(*servers, **MANY)
        run_stage(make_turntable(tmp_path / str(count), settings), settings, Recorder())
        assert [len(s.jobs) for s in servers] == [8 // count] * count
        for server in servers:
            server.stop()
    for k in range(8):
        both = [(tmp_path / n / "iter1/keys" / f"keys{k:05d}.png").read_bytes() for n in "12"]
        assert both[0] == both[1]


def test_a_dying_server_gives_its_page_back(tmp_path: Path) -> None:
    bad = A1111Server(["ok", "die"])

    def patient(*given: Any) -> np.ndarray:
        """Leave two pages to the bad server, however slow its thread is to start."""
        wait_for(lambda: len(bad.jobs) == 2)
        return restyle(*given)

    with A1111Server(artist=patient) as good, bad:
        settings = settings_for(good, bad, **MANY)
        run = make_turntable(tmp_path, settings)
        emit = Recorder()
        run_stage(run, settings, emit)
        delivered = good.delivered + bad.delivered
    assert len(delivered) == len(set(delivered)) == 8 and len(bad.delivered) == 1
    assert any("other servers do its page" in w["message"] for w in emit.of("warning"))
    assert len(list(run.keys.iterdir())) == 8


def test_servers_with_different_models_are_refused(tmp_path: Path) -> None:
    with A1111Server() as a, A1111Server(models=["tiny-random", "tiny-sd15"]) as b:
        run = make_turntable(tmp_path, small())
        with pytest.raises(InputError, match="different models"):
            run_stage(run, settings_for(a, b), Recorder())
        run_stage(run, settings_for(a, b, checkpoint="tiny-random"), Recorder())
    gone = settings_for(a, b)
    with pytest.raises(MissingError, match="No server is running"):
        run_stage(make_turntable(tmp_path / "x", small()), gone, Recorder())


def test_stopping_interrupts_every_server(tmp_path: Path) -> None:
    """As SIGTERM does: raised in the main thread while both servers work."""
    stopped, both = threading.Event(), threading.Barrier(2, timeout=LIMIT)

    class Slow:
        def __call__(self, *_: object) -> None: ...

        def cancel(self) -> None:
            stopped.set()

    pool = Pool([Slow(), Slow()], print)

    def work(_: object) -> None:
        if both.wait() == 0:
            _thread.interrupt_main()
        assert stopped.wait(LIMIT)

    tasks = [Task(f"page {k}", work) for k in range(4)]
    with pytest.raises((KeyboardInterrupt, Interrupted)):
        pool.run(tasks)
    assert stopped.is_set()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS")
@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_self_signed_tls_and_auth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    files = ["-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command.split(), *files], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    monkeypatch.setenv(client.AUTH_VARIABLE, "me:secret")
    with A1111Server(tls=context, auth="me:secret") as server:
        run = make_turntable(tmp_path / "run", small())
        with pytest.raises(MissingError, match="--no-server-verify"):
            run_stage(run, settings_for(server), Recorder())
        run_stage(run, settings_for(server, server_verify=False), Recorder())


# --- flavours -------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", ["a1111", "forge", "reforge", "sdnext", "sdcpp", "kobold"])
def test_every_flavour_restyles_and_says_what_it_cannot(tmp_path: Path, flavour: str) -> None:
    names = {
        "a1111": "Automatic1111", "forge": "Forge", "reforge": "Automatic1111",
        "sdnext": "SD.Next", "sdcpp": "stable-diffusion.cpp", "kobold": "KoboldCpp",
    }  # fmt: skip
    with A1111Server(flavour=flavour) as server:
        assert client.Client(server.address).flavour().name == names[flavour]
        sampler = {"scheduler": "Automatic"} if flavour == "kobold" else {}
        run = make_turntable(tmp_path, small())
        run_stage(run, settings_for(server, **sampler), Recorder())
        sides = {j[s] % server.grain for j in server.jobs for s in ("width", "height")}
        assert sides == {0}
        assert read_rgb(run.output / "00000-input0.png").shape == (112, 128, 3)
        run = make_turntable(tmp_path / "control", small())
        settings = settings_for(server, control="tile", **sampler)
        if flavour in ("a1111", "forge", "reforge"):
            run_stage(run, settings, Recorder())
            (unit,) = server.jobs[-1]["alwayson_scripts"]["ControlNet"]["args"]
            assert unit["module"] == ("none" if flavour == "a1111" else "None")
        else:
            with pytest.raises(
                InputError,
                match="API of its own" if flavour == "sdnext" else "does not do --control",
            ):
                run_stage(run, settings, Recorder())
        if flavour in ("sdcpp", "kobold", "forge"):
            with pytest.raises(InputError, match="does not do --vae"):
                fresh = make_turntable(tmp_path / "vae", small())
                run_stage(fresh, settings_for(server, vae="ft-mse", **sampler), Recorder())
        if flavour == "kobold":
            for changes in ({"page_size": 2048, "sides": 1}, {"diffusion_steps": 90}):
                with pytest.raises(InputError, match="at most"):
                    run_stage(
                        make_turntable(tmp_path / str(changes), small()),
                        settings_for(server, **sampler, **changes),
                        Recorder(),
                    )


def test_single_views_may_name_where_the_camera_stands(tmp_path: Path) -> None:
    changes = MANY | {"view_prompts": True, "rings": "60:4", "ring_keys": 1}
    with A1111Server() as server:
        run_stage(
            make_turntable(tmp_path, small(**changes)), settings_for(server, **changes), Recorder()
        )
        said = [j["prompt"] for j in server.jobs]
    assert said[0] == "a head, front view" and said[2] == said[6] == "a head, side view"
    assert said[4] == "a head, back view" and said[8] == "a head, front view from above"


def test_later_iterations_have_their_own_settings(tmp_path: Path) -> None:
    with A1111Server() as server:
        settings = settings_for(server, later="sampler=DDIM; scheduler=Automatic; strength=0.4")
        run = make_turntable(tmp_path, settings)
        run_stage(run, stage_settings("stylize", 1, settings), Recorder())
        later = run.at(2)
        for k in range(11):
            later.source(k).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(run.frame(k), later.source(k))
        run_stage(later, stage_settings("stylize", 2, settings), Recorder())
        first, second = server.jobs[0], server.jobs[-1]
    assert (first["sampler_name"], second["sampler_name"]) == ("DPM++ 2M", "DDIM")
    assert second["denoising_strength"] == 0.4


def test_the_unfinished_picture_is_shown_while_the_server_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only that of our own job: with --nowebui a server does not tell whose job runs."""
    monkeypatch.setattr(client, "PICTURE_PULSES", 2)
    for webui in (True, False):
        with A1111Server(seconds_per_step=0.1, webui=webui) as server:
            server.pause = server.until_asked(4)
            emit = Recorder()
            shown: list[tuple[str, tuple[int, ...]]] = []
            run = make_turntable(tmp_path / f"{webui}", small())

            def listen(event: str, **fields: object) -> None:
                emit(event, **fields)  # noqa: B023 — called within this turn of the loop
                name = str(fields.get("image", ""))
                if "/live/" in name:
                    shown.append((name, read_rgb(run.root / name).shape))  # noqa: B023

            run_stage(run, settings_for(server), listen)
        pages = [j for j in server.jobs]
        assert bool(shown) == webui
        for name, shape in shown:
            page = pages[int(name[len("iter1/live/page") : -len(".png")])]
            assert shape == (page["height"], page["width"], 3)
        assert not (run.folder / "live").exists()
