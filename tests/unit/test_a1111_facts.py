"""The ways in which the real server gives a wrong picture with status 200, and the test of each.

Left what was measured (A1111 1.10.1 with sd-webui-controlnet 1.1.455), right the file and the test
in which the client notices it, or never lets it happen. :func:`test_the_table_names_real_tests`
reads this table.

- null or missing fields take other defaults than the web page  unit/test_a1111 test_every_field_that_shapes_the_picture_is_sent
- masks default to fill and to the masked part only             engine/test_stylize_sequential test_keys_agree_threefold_better_than_in_a_collage
- unknown fields are ignored                                    unit/test_a1111_recorded test_the_real_server_knows_every_field_we_send
- sizes are cut down to multiples of 8                          unit/test_a1111 test_sizes_the_server_would_cut_are_never_sent
- a picture of another size                                     engine/test_stylize_a1111 test_silent_failures_leave_no_picture
- seeds count up within a request                               engine/test_stylize_a1111 test_a_whole_stage
- another seed                                                  unit/test_a1111 test_faults_become_sentences_and_are_not_repeated
- the grid comes first                                          unit/test_a1111 test_the_picture_behind_a_grid
- masks come back between the picture and the maps              unit/test_a1111_facts test_a_mask_that_comes_back_is_no_detected_map
- no picture at all                                             unit/test_a1111_wire test_wrong_answers_are_noticed
- answers are encoded as the server's settings say              engine/test_stylize_a1111 test_other_encodings_give_the_same_picture
- unknown sampler -> DPM++ 2M                                   engine/test_stylize_faults test_wrong_names_never_reach_the_picture
- another sampler than asked for                                unit/test_a1111_recorded test_the_silently_replaced_sampler
- combined names before 1.9 and since                           unit/test_a1111_wire test_samplers_of_older_servers
- unknown scheduler -> Automatic                                engine/test_stylize_faults test_wrong_names_never_reach_the_picture
- unknown checkpoint in an override: the loaded one             unit/test_a1111 test_models_are_loaded_and_looked_at_again
- another client switched the model                             engine/test_stylize_faults test_everything_once_ends_as_if_nothing_had_happened
- overrides leak into the server's settings                     engine/test_stylize_faults test_nothing_leaks_into_the_server
- missing LoRA                                                  engine/test_stylize_faults test_wrong_names_never_reach_the_picture
- interrupted: half a picture                                   engine/test_stylize_a1111 test_silent_failures_leave_no_picture
- black picture                                                 engine/test_stylize_a1111 test_silent_failures_leave_no_picture
- alwayson_scripts.Refiner does nothing                         engine/test_stylize_faults test_nothing_leaks_into_the_server
- the refiner was not used                                      engine/test_stylize_faults test_everything_once_ends_as_if_nothing_had_happened
- progress describes whatever job runs                          engine/test_stylize_faults test_the_unfinished_picture_is_shown_while_the_server_works
- interrupt stops whatever job runs                             unit/test_a1111 test_cancel_leaves_somebody_elses_job_alone
- closing the connection does not cancel                        unit/test_a1111 test_cancel_interrupts_our_own_job
- a lost answer, and the job goes on                            unit/test_a1111 test_a_lost_answer_is_asked_for_again_when_the_server_is_idle
- passwords are never asked for                                 unit/test_a1111 test_auth_is_sent_at_once
- one early request kills a starting server                     unit/test_a1111_facts test_a_server_that_comes_back_is_left_alone_at_first
- ControlNet: unknown model                                     unit/test_a1111_recorded test_controlnet_that_did_not_act
- ControlNet: wrong hash                                        engine/test_stylize_faults test_a_wrong_hash_finds_the_model_and_the_listed_name_is_sent
- ControlNet: enabled is off by default                         unit/test_a1111_control test_the_request_has_the_fields_and_words_servers_take
- ControlNet: the fourth unit is dropped                        engine/test_stylize_faults test_wrong_names_never_reach_the_picture
- ControlNet: SD 1.5 model with SDXL                            engine/test_stylize_faults test_wrong_names_never_reach_the_picture
- ControlNet: infotext claims what did not happen               unit/test_a1111_recorded test_controlnet_that_did_not_act
- ControlNet: detected maps held back                           engine/test_stylize_faults test_a_server_that_hides_detected_maps_is_refused
- ControlNet: Forge calls the module None                       engine/test_stylize_faults test_every_flavour_restyles_and_says_what_it_cannot
- ControlNet: 16-bit pictures wrap                              unit/test_a1111_facts test_control_pictures_have_eight_bits
- ControlNet: depth per frame would change a surface's gray     engine/test_control test_a_further_view_does_not_change_the_gray_of_a_surface
- ControlNet: normals have red on the left                      engine/test_control test_normals_of_a_sphere
"""  # noqa: E501 — a table

from __future__ import annotations

import ast
import base64
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gs_diffusion_addon.core import a1111
from gs_diffusion_addon.core import a1111_wire as wire
from gs_diffusion_addon.core.a1111 import Client
from gs_diffusion_addon.core.a1111_control import Unit, unit_body
from gs_diffusion_addon.core.errors import StageError
from tests.processes import LIMIT
from tests.servers.a1111_data import model_entry
from tests.servers.a1111_server import A1111Server
from tests.servers.pictures import encode

TESTS = Path(__file__).resolve().parents[1]
PNG = encode(np.full((64, 64, 3), 90, np.uint8), "png", "")
TEXT = base64.b64encode(PNG).decode()
JOB = wire.Job(PNG, 64, 64, "a head", "", 7, 3, 7.0, 0.5, "DPM++ 2M", "Karras")


def test_the_table_names_real_tests() -> None:
    rows = [line for line in (__doc__ or "").splitlines() if line.startswith("- ")]
    assert len(rows) > 35
    known: dict[str, set[str]] = {}
    for row in rows:
        file, test = row.split()[-2:]
        if file not in known:
            tree = ast.parse((TESTS / f"{file}.py").read_text(encoding="utf-8"))
            known[file] = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
        assert test in known[file], row


def test_a_mask_that_comes_back_is_no_detected_map() -> None:
    """With return_mask on, a mask would pass for the map of a unit that did not act."""
    info = json.dumps({"seed": 7, "sampler_name": "DPM++ 2M", "index_of_first_image": 0})
    unit = unit_body(Unit("tile"), "m", PNG, False)
    job = replace(JOB, mask=PNG, units=(unit,), masks=1)
    with pytest.raises(StageError, match="0 of 1 ControlNet units acted"):
        wire.read_answer({"images": [TEXT, TEXT], "info": info}, job)
    assert len(wire.read_answer({"images": [TEXT] * 3, "info": info}, job).maps) == 1
    with A1111Server(["control_off", "ok"]) as server:
        server.return_mask = True
        client = Client(server.address)
        lists = client.control_lists()
        assert lists.masks == 1
        unit = unit_body(Unit("tile"), "control_v11f1e_sd15_tile [a371b31b]", PNG, False)
        job = replace(job, units=(unit,), masks=lists.masks)
        with pytest.raises(StageError, match="0 of 1"):
            client.img2img(job)
        assert len(client.img2img(job).maps) == 1


def test_control_pictures_have_eight_bits() -> None:
    body = unit_body(Unit("depth"), "m", PNG, False)
    sent = base64.b64decode(body["image"])
    assert sent[24] == 8  # a PNG's bit depth


def test_a_server_that_comes_back_is_left_alone_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its port is looked at until it has had time to make its API."""
    monkeypatch.setattr(a1111, "PULSE_SECONDS", 0.02)
    monkeypatch.setattr(a1111, "SETTLE_SECONDS", 0.6)
    with A1111Server(["die_back"], away=LIMIT) as server:
        back: list[float] = []
        start = server.start
        monkeypatch.setattr(server, "start", lambda: (back.append(time.monotonic()), start())[1])
        client = Client(server.address, patience=LIMIT)
        first: list[float] = []
        answer = server.answer

        def listen(method: str, path: str, body: object) -> object:
            if back:
                first.append(time.monotonic())
            return answer(method, path, body)

        monkeypatch.setattr(server, "answer", listen)
        assert client.img2img(JOB, warn=lambda _: server.missed.set()).seed == 7
    assert first[0] - back[0] >= 0.55


def test_a_server_that_comes_back_gets_its_model_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A1111 lists a model with its hash once it was loaded, and starts with the last one saved."""
    monkeypatch.setattr(a1111, "PULSE_SECONDS", 0.02)
    monkeypatch.setattr(a1111, "SETTLE_SECONDS", 0.0)
    with A1111Server(["die_back"], away=LIMIT) as server:
        hashed = {"tiny-sd15"}

        def model_list() -> list[dict[str, object]]:
            entries = [model_entry(name) for name in server.models]
            for entry in entries:
                if entry["model_name"] not in hashed:
                    entry.update(title=f"{entry['model_name']}.safetensors", hash=None)
            return entries

        monkeypatch.setattr(server, "model_list", model_list)
        client = Client(server.address, patience=LIMIT)
        client.use_model("tiny-random")
        hashed.add("tiny-random")
        start = server.start

        def start_with_another() -> A1111Server:
            server.loaded = "tiny-sd15"
            return start()

        monkeypatch.setattr(server, "start", start_with_another)
        assert client.img2img(JOB, warn=lambda _: server.missed.set()).seed == 7
        assert server.loaded == "tiny-random" and not server.faults
