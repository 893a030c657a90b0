"""The A1111 client's pure parts: addresses, names, requests, answers, error sentences."""

from __future__ import annotations

import base64
import json
import string
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gs_diffusion_addon.core import a1111_names as names
from gs_diffusion_addon.core import a1111_wire as wire
from gs_diffusion_addon.core.a1111_errors import LostAnswer, NanFault, fault
from gs_diffusion_addon.core.errors import GsdError, InputError, MissingError, StageError
from tests.servers import a1111_data as server
from tests.servers.pictures import encode

SAMPLERS = [{"name": n, "aliases": a.split()} for n, a in server.SAMPLERS.items()]
SCHEDULERS = server.scheduler_list()
OLD_SAMPLERS = [*SAMPLERS, {"name": "DPM++ 2M Karras", "aliases": ["k_dpmpp_2m_ka"]}]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:7860", "http://127.0.0.1:7860"),
        ("127.0.0.1", "http://127.0.0.1:7860"),
        (" localhost:7861/ ", "http://localhost:7861"),
        ("http://0.0.0.0:7860", "http://127.0.0.1:7860"),
        ("https://sd.example.com", "https://sd.example.com"),
        ("https://sd.example.com/gpu1/", "https://sd.example.com/gpu1"),
        ("sd.example.com/gpu1", "http://sd.example.com:7860/gpu1"),
        ("http://h:7860/?__theme=dark", "http://h:7860"),
        ("http://h:7860/docs#/default", "http://h:7860"),
        ("http://h:7860/sd/sdapi/v1/img2img", "http://h:7860/sd"),
        ("HTTP://Host:80", "http://host:80"),
        ("[::1]:7860", "http://[::1]:7860"),
        ("::1", "http://[::1]:7860"),
        ("http://h/docserver", "http://h/docserver"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert wire.normalize_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "  ", "ftp://x", "http://", "http://x:port", "a b", "http://x:99999", "x:0", "\\\\x"],
)
def test_bad_addresses_are_named(text: str) -> None:
    with pytest.raises(InputError, match="--server"):
        wire.normalize_address(text)


def test_passwords_do_not_belong_into_the_address() -> None:
    with pytest.raises(InputError, match="GSD_A1111_AUTH") as caught:
        wire.normalize_address("http://me:secret@host:7860")
    assert "secret" not in str(caught.value)


@given(st.text(alphabet=string.printable + "ä中", max_size=40))
def test_any_address_is_normal_or_refused(text: str) -> None:
    try:
        address = wire.normalize_address(text)
    except InputError:
        return
    assert wire.normalize_address(address) == address
    assert urlsplit(address).scheme in ("http", "https") and urlsplit(address).hostname
    assert not address.endswith("/")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("DPM++ 2M", "Karras"), ("DPM++ 2M", "Karras")),
        (("dpm++ 2m", "karras"), ("DPM++ 2M", "Karras")),
        (("k_euler_a", "Automatic"), ("Euler a", "Automatic")),
        (("DDIM", ""), ("DDIM", "Automatic")),
        (("DPM++ 2M Karras", "Automatic"), ("DPM++ 2M", "Karras")),
        (("Euler SGM Uniform", "Karras"), ("Euler", "SGM Uniform")),
        (("UniPC", "sgm_uniform"), ("UniPC", "SGM Uniform")),
    ],
)
def test_samplers_of_servers_with_a_scheduler_list(asked: tuple, found: tuple) -> None:
    assert names.resolve_sampler(*asked, SAMPLERS, SCHEDULERS) == found


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("DPM++ 2M", "Karras"), ("DPM++ 2M Karras", None)),
        (("DPM++ 2M Karras", "Automatic"), ("DPM++ 2M Karras", None)),
        (("Euler", "Automatic"), ("Euler", None)),
        (("Euler", "Karras"), ("Euler", "Karras")),
    ],
)
def test_samplers_of_older_servers(asked: tuple, found: tuple) -> None:
    assert names.resolve_sampler(*asked, OLD_SAMPLERS, None) == found


@pytest.mark.parametrize("asked", [("Nope", "Karras"), ("DPM++ 2M", "Nope"), ("Nope Karras", "")])
def test_unknown_samplers_are_refused_with_the_choices(asked: tuple) -> None:
    with pytest.raises(InputError, match=r"Euler a|SGM Uniform"):
        names.resolve_sampler(*asked, SAMPLERS, SCHEDULERS)


def test_checkpoints_by_title_name_file_and_hash() -> None:
    models = [server.model_entry("v1-5"), server.model_entry("sd_xl")]
    title = models[1]["title"]
    for name in (title, "sd_xl", "SD_XL.safetensors", models[1]["hash"], title.split(" [")[0]):
        assert names.resolve_checkpoint(name, models) == (title, "sd_xl")
    with pytest.raises(InputError, match="can be sd_xl, v1-5"):  # the one that is meant comes first
        names.resolve_checkpoint("sd_x", models)
    assert names.same_checkpoint("a.safetensors", "a.safetensors [0123]")
    assert not names.same_checkpoint("a.safetensors", "b.safetensors")


# --- answers ------------------------------------------------------------------------------------

JOB = wire.Job(b"png", 64, 64, "a head", "", 7, 30, 7.0, 0.5, "DPM++ 2M", "Karras")
PICTURE = base64.b64encode(encode(np.full((64, 64, 3), 90, "uint8"), "png", "x")).decode()


def answer(images: Any = None, **info: Any) -> dict[str, Any]:
    text = "a head\nSteps: 30, Sampler: DPM++ 2M, Schedule type: Karras, Seed: 7"
    known = {"seed": 7, "sampler_name": "DPM++ 2M", "index_of_first_image": 0, "infotexts": [text]}
    return {"images": [PICTURE] if images is None else images, "info": json.dumps(known | info)}


def test_a_right_answer() -> None:
    found = wire.read_answer(answer(), JOB)
    assert (found.kind, found.seed, found.notes) == ("png", 7, ())
    assert found.picture == base64.b64decode(PICTURE)
    assert "Schedule type: Karras" in found.infotext


def test_the_grid_is_not_the_picture() -> None:
    other = base64.b64encode(b"\xff\xd8\xff grid").decode()
    assert wire.read_answer(answer([other, PICTURE], index_of_first_image=1), JOB).kind == "png"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (answer(sampler_name="Euler a"), "Euler a"),
        (answer(infotexts=["Schedule type: Exponential, Seed: 7"]), "Exponential"),
        (answer(seed=8), "seed 8"),
        (answer([]), "no picture"),
        (answer(index_of_first_image=1), "no picture"),
        (answer(["%%"]), "base64"),
        (answer([base64.b64encode(b"GIF89a").decode()]), "PNG"),
        ({"images": [PICTURE], "info": "{"}, "JSON"),
        ({"image": PICTURE}, "list of pictures"),
        (None, "list of pictures"),
    ],
)
def test_wrong_answers_are_noticed(data: Any, words: str) -> None:
    with pytest.raises(StageError, match=words):
        wire.read_answer(data, JOB)


def test_a_server_that_says_nothing_is_reported() -> None:
    notes = wire.read_answer({"images": [PICTURE], "info": None}, JOB).notes
    assert any("sampler" in n for n in notes) and any("schedule" in n for n in notes)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
keys = st.sampled_from(["images", "info", "progress", "state", "eta_relative", "error", "detail"])


@given(st.dictionaries(keys, json_values) | json_values)
def test_no_answer_breaks_the_readers(data: Any) -> None:
    with pytest.raises(StageError):
        wire.read_answer(data, JOB)
    assert 0 <= wire.read_pulse(data).fraction <= 1


@given(st.integers(400, 599), st.binary(max_size=30) | json_values.map(lambda v: json.dumps(v)))
def test_every_error_becomes_one_sentence(status: int, body: Any) -> None:
    raw = body.encode() if isinstance(body, str) else body
    error = fault(status, raw, "http://h:7860", False)
    assert isinstance(error, GsdError) and str(error).endswith(".")
    assert "\n" not in str(error) and len(str(error)) < 600


# --- error sentences ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (404, {"detail": "Not Found"}, MissingError, "--api"),
        (401, {"error": "HTTPException", "detail": "Not authenticated"}, MissingError, "AUTH=user"),
        (
            422,
            {"detail": [{"loc": ["body", "width"], "msg": "value is not a valid integer"}]},
            StageError,
            "body.width: value is not a valid integer",
        ),
        (422, {"error": "HTTPException", "detail": "Script 'nope' not found"}, StageError, "nope"),
        (500, {"error": "NansException", "errors": "tensor with NaNs"}, NanFault, "NaN"),
        (500, {"error": "OutOfMemoryError", "errors": "CUDA"}, StageError, "--page-size"),
        (500, {"error": "RuntimeError", "errors": "CUDA out of memory"}, StageError, "--page-size"),
        (500, {"error": "RuntimeError", "errors": "model 'x' not found"}, StageError, "'x' not"),
        (500, {"error": "FileNotFoundError", "errors": "No checkpoints"}, MissingError, "Stable-d"),
        (500, {"error": "AttributeError", "errors": "no 'lowvram'"}, MissingError, "Stable-d"),
        (404, {"error": "HTTPException", "detail": "Sampler not found"}, StageError, "Sampler not"),
        (500, {"detail": {"msg": "kobold says", "type": "x"}}, StageError, "kobold says"),
        (500, {"error": "server_error", "message": "sd.cpp says"}, StageError, "sd.cpp says"),
    ],
)  # fmt: skip
def test_recorded_errors(status: int, body: Any, kind: type, words: str) -> None:
    error = fault(status, json.dumps(body).encode(), "http://h:7860", False)
    assert type(error) is kind
    assert words in str(error)


def test_errors_that_are_not_json() -> None:
    page = b"<html><h1>504 Gateway Time-out</h1></html>"
    assert isinstance(fault(504, page, "http://h", False), LostAnswer)
    assert "web page" in str(fault(404, page, "http://h", False))
    forge = fault(500, b"Internal Server Error", "http://h", False)
    assert type(forge) is StageError and "Internal Server Error" in str(forge)
    refused = fault(401, b"", "http://h", True)
    assert "did not accept" in str(refused)


def test_auth_variable() -> None:
    assert wire.parse_auth("") is None
    assert wire.parse_auth("mé:p:w") == ("mé".encode(), b"p:w")
    with pytest.raises(InputError, match="GSD_A1111_AUTH") as caught:
        wire.parse_auth("hunter2")
    assert "hunter2" not in str(caught.value)
