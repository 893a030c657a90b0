"""The A1111 client against a real HTTP server on the loopback that behaves as the recorded one."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import requests

from gs_diffusion_addon.core import a1111
from gs_diffusion_addon.core.a1111 import Client
from gs_diffusion_addon.core.a1111_wire import Job
from gs_diffusion_addon.core.errors import InputError, MissingError, StageError
from tests.processes import LIMIT, wait_for
from tests.servers.a1111_server import A1111Server
from tests.servers.pictures import decode_any, decode_png, encode

SOURCE = np.random.default_rng(0).integers(60, 200, (40, 64, 3), dtype=np.uint8)
JOB = Job(
    encode(SOURCE, "png", ""), 64, 40, "a head", "blurry", 7, 9, 7.5, 0.5, "DPM++ 2M", "Karras"
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(a1111, "PULSE_SECONDS", 0.02)
    monkeypatch.setattr(a1111, "INTERRUPT_SECONDS", LIMIT)
    monkeypatch.delenv(a1111.AUTH_VARIABLE, raising=False)


@pytest.fixture
def server() -> Iterator[A1111Server]:
    with A1111Server() as running:
        yield running


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_picture_comes_back_with_what_was_asked(server: A1111Server) -> None:
    answer = Client(server.address).img2img(JOB)
    assert answer.kind == "png" and answer.seed == 7 and answer.notes == ()
    pixels = decode_png(answer.picture)
    assert pixels.shape == SOURCE.shape
    assert 5 < np.abs(pixels.astype(int) - SOURCE).mean() < 120
    again = Client(server.address).img2img(JOB)
    assert again.picture == answer.picture
    other = Client(server.address).img2img(replace(JOB, prompt="another head"))
    assert other.picture != answer.picture


def test_every_field_that_shapes_the_picture_is_sent(server: A1111Server) -> None:
    Client(server.address).img2img(JOB)
    (sent,) = server.jobs
    expected = {
        "prompt": "a head", "negative_prompt": "blurry", "seed": 7, "steps": 9, "cfg_scale": 7.5,
        "denoising_strength": 0.5, "width": 64, "height": 40, "sampler_name": "DPM++ 2M",
        "scheduler": "Karras", "batch_size": 1, "n_iter": 1, "resize_mode": 0, "inpainting_fill": 1,
        "inpaint_full_res": False, "subseed_strength": 0, "override_settings": {},
        "alwayson_scripts": {}, "save_images": False, "send_images": True, "styles": [],
        "restore_faces": False, "tiling": False, "refiner_checkpoint": None, "mask": None,
    }  # fmt: skip
    assert {key: sent[key] for key in expected} == expected
    assert sent["force_task_id"].startswith("task(")


def test_sizes_the_server_would_cut_are_never_sent(server: A1111Server) -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        Client(server.address).img2img(replace(JOB, width=60))
    assert not server.jobs


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("oom", "--page-size"),
        ("lowvram", "could not load a diffusion model"),
        ("plain500", "Internal Server Error"),
        ("not_json", "not an A1111 server"),
        ("other_sampler", "'Euler a' instead of 'DPM\\+\\+ 2M'"),
        ("other_schedule", "'Exponential' instead of 'Karras'"),
        ("other_seed", "seed 8 instead of 7"),
        ("no_image", "no picture"),
        ("bad_base64", "base64"),
        ("interrupted", "half finished"),
    ],
)
def test_faults_become_sentences_and_are_not_repeated(fault: str, words: str) -> None:
    with A1111Server([fault]) as server:
        with pytest.raises((StageError, MissingError), match=words):
            Client(server.address).img2img(JOB)
        assert len(server.jobs) == 1


def test_nan_is_tried_with_the_same_seed_and_then_another() -> None:
    warnings: list[str] = []
    with A1111Server(["nan", "nan"]) as server:
        answer = Client(server.address).img2img(JOB, warn=warnings.append)
        assert [job["seed"] for job in server.jobs] == [7, 7, 8]
    assert answer.seed == 8
    assert len(warnings) == 2 and "the same seed" in warnings[0] and "another" in warnings[1]


def test_nan_three_times_is_an_error_with_advice() -> None:
    with A1111Server(["nan"] * 3) as server:
        with pytest.raises(StageError, match="--no-half-vae"):
            Client(server.address).img2img(JOB)
        assert len(server.jobs) == 3


@pytest.mark.parametrize("fault", ["html502", "html504", "reset"])
def test_a_lost_answer_is_asked_for_again_when_the_server_is_idle(fault: str) -> None:
    warnings: list[str] = []
    with A1111Server([fault]) as server:
        client = Client(server.address)
        answer = client.img2img(JOB, warn=warnings.append)
        assert len(server.jobs) == 2
        assert server.jobs[0] == server.jobs[1]
        assert answer.picture == client.img2img(JOB).picture
    assert len(warnings) == 1


def test_a_server_that_dies_in_the_middle() -> None:
    with A1111Server(["die"]) as server, pytest.raises(MissingError, match="went away"):
        Client(server.address).img2img(JOB)


def test_the_picture_behind_a_grid() -> None:
    with A1111Server(["grid"]) as server:
        assert decode_png(Client(server.address).img2img(JOB).picture).shape == SOURCE.shape


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_other_encodings_are_recognized(kind: str) -> None:
    pytest.importorskip("PIL")
    with A1111Server([kind]) as server:
        answer = Client(server.address).img2img(JOB)
    assert answer.kind == kind
    assert decode_any(answer.picture).shape == SOURCE.shape


def test_progress_is_reported_while_waiting() -> None:
    pulses = []
    with A1111Server(seconds_per_step=0.05) as server:
        server.pause = server.until_asked()
        Client(server.address).img2img(JOB, report=pulses.append)
    running = [p for p in pulses if not p.idle]
    assert len(running) >= 2
    assert running[-1].fraction > running[0].fraction
    assert running[0].steps == 5 and running[0].eta > 0


@pytest.mark.parametrize("webui", [True, False])
def test_cancel_interrupts_our_own_job(webui: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout stands for every exception; without the web page nobody knows whose job runs."""
    over = threading.Event()
    with A1111Server(webui=webui) as server:
        server.pause = lambda: wait_for(lambda: over.is_set() or server.state["interrupted"])
        with pytest.raises(StageError, match="--server-timeout"):
            Client(server.address, timeout=2.0).img2img(JOB)
        assert ("/sdapi/v1/interrupt" in server.paths()) == webui
        over.set()


def test_cancel_leaves_somebody_elses_job_alone() -> None:
    over = threading.Event()
    with A1111Server() as server:
        server.pause = lambda: over.wait(LIMIT)
        other = threading.Thread(target=Client(server.address).img2img, args=(JOB,), daemon=True)
        other.start()
        wait_for(lambda: server.active)
        with pytest.raises(StageError, match="--server-timeout"):
            Client(server.address, timeout=0.5).img2img(JOB)
        assert "/internal/progress" in server.paths()
        assert "/sdapi/v1/interrupt" not in server.paths()
        over.set()
        other.join(LIMIT)
        assert not other.is_alive() and len(server.delivered) >= 1


# --- reaching the server ------------------------------------------------------------------------


def test_nothing_listens() -> None:
    with pytest.raises(MissingError, match="7860, or 7861 with --nowebui"):
        Client(f"127.0.0.1:{free_port()}").options()


def test_the_other_default_port_is_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = free_port()
    with A1111Server() as server:
        monkeypatch.setattr(a1111.wire, "DEFAULT_PORT", closed)
        monkeypatch.setattr(a1111.wire, "NOWEBUI_PORT", int(server.address.rsplit(":", 1)[1]))
        with pytest.raises(MissingError, match="Something listens on port"):
            Client(f"127.0.0.1:{closed}").options()
        assert server.requests == []


def test_unknown_computers_are_named() -> None:
    with pytest.raises(MissingError, match=r"no computer called 'nowhere\.invalid'"):
        Client("http://nowhere.invalid:7860").options()


def test_a_server_without_api() -> None:
    with A1111Server(api=False) as server, pytest.raises(MissingError, match="--api"):
        Client(server.address).options()


def test_auth_is_sent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with A1111Server(auth="zoé:pass:word") as server:
        with pytest.raises(MissingError, match="wants a user and password"):
            Client(server.address).options()
        monkeypatch.setenv(a1111.AUTH_VARIABLE, "zoé:wrong")
        with pytest.raises(MissingError, match="did not accept") as caught:
            Client(server.address).options()
        assert "wrong" not in str(caught.value)
        monkeypatch.setenv(a1111.AUTH_VARIABLE, "zoé:pass:word")
        asked = len(server.requests)
        assert Client(server.address).options()["sd_model_checkpoint"]
        assert len(server.requests) == asked + 1


def test_https_to_a_plain_server(server: A1111Server) -> None:
    with pytest.raises(MissingError, match="http:// instead of https://"):
        Client(server.address.replace("http", "https")).options()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS")
@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_tls_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    files = ["-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command.split(), *files], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with A1111Server(tls=context) as server:
        with pytest.raises(MissingError, match="https:// instead of http://"):
            Client(server.address.replace("https", "http")).options()
        with pytest.raises(MissingError, match="certificate"):
            Client(server.address).options()
        assert Client(server.address, verify=False).options()
        # Elsewhere than on the loopback an authority's file in the environment must neither be
        # forgotten nor overrule the "no".
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", requests.certs.where())
        look_up = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda _name, *rest, **more: look_up("127.0.0.1", *rest, **more)
        )
        elsewhere = server.address.replace("127.0.0.1", "pod.example")
        with pytest.raises(MissingError, match="certificate"):
            Client(elsewhere).options()
        assert Client(elsewhere, verify=False).img2img(JOB).kind == "png"
        assert not Client(elsewhere, verify=False).interrupt("task(nobody)")
        assert ("POST", "/internal/progress") in [sent[:2] for sent in server.requests]


def test_something_else_answers() -> None:
    """A port that is open but says nothing sensible."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                connection.recv(1000)
                connection.close()

        threading.Thread(target=talk, daemon=True).start()
        with pytest.raises(MissingError, match="closes the connection"):
            Client(f"127.0.0.1:{listener.getsockname()[1]}").options()


def test_describe_and_masked(server: A1111Server) -> None:
    assert "tiny-sd15" in a1111.describe(server.address, timeout=LIMIT)
    assert a1111.masked("http://me:secret@host:7860") == "http://host:7860"
    assert a1111.masked("me:secret@host") == "host"
    assert a1111.masked("http://host:7860/a@b") == "http://host:7860/a@b"
    with A1111Server(models=[]) as empty, pytest.raises(MissingError, match="no diffusion model"):
        a1111.describe(empty.address)


# --- lists --------------------------------------------------------------------------------------


def test_samplers_come_from_the_server(server: A1111Server) -> None:
    client = Client(server.address)
    assert client.resolve_sampler("k_dpmpp_2m", "karras") == ("DPM++ 2M", "Karras")
    with pytest.raises(InputError, match="Euler a"):
        client.resolve_sampler("Nope", "Karras")
    with A1111Server(schedulers=False) as old:
        assert Client(old.address).resolve_sampler("DPM++ 2M", "Karras") == (
            "DPM++ 2M Karras",
            None,
        )


def test_models_are_loaded_and_looked_at_again(server: A1111Server) -> None:
    client = Client(server.address)
    assert client.use_model("").startswith("tiny-sd15")
    assert "POST" not in {method for method, _, _ in server.requests}
    assert client.use_model("tiny-random").startswith("tiny-random")
    assert server.loaded == "tiny-random"
    with pytest.raises(InputError, match="tiny-sd15, tiny-random"):
        client.use_model("nope")
    server.stuck_model = True
    with pytest.raises(StageError, match="still uses"):
        client.use_model("tiny-sd15")
