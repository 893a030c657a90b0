"""Readers and hostile input: a part of bench/fuzz.py, what it once found, and JSON of any shape."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gs_diffusion_addon.core import a1111_names, a1111_wire, json_text
from gs_diffusion_addon.core.dataset import read_transforms
from gs_diffusion_addon.core.errors import GsdError, InputError
from gs_diffusion_addon.core.events import encode, parse_line
from gs_diffusion_addon.core.ply import Splats, read_splats, write_splats
from gs_diffusion_addon.core.run import read_json
from gs_diffusion_addon.core.settings import from_json, kind, names
from gs_diffusion_addon.core.sweep import read_sweep

from ..fuzz_readers import core_readers
from ..fuzzing import Reader, campaign, damaged, most_memory, trial

READERS = core_readers()

SHAPES = [(3,), (4, 3), (), (3,), (4,)]
POSE = [[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 5], [0, 0, 0, 1.0]]


@pytest.mark.parametrize("reader", READERS, ids=lambda r: r.name)
def test_damaged_input_ends_as_data_or_as_a_sentence(reader, tmp_path):
    for data in reader.seeds:
        assert trial(reader, data, tmp_path / "seed")[1] is None
    tally = campaign(reader, tmp_path, 1_000_000, 1000)  # the same ones on any machine
    assert not tally.findings and tally.inputs == 1000


def test_the_fuzzer_finds_what_is_wrong(tmp_path):
    """A reader that breaks, hangs on to memory or says nothing does not pass."""

    def read(data: bytes, path: Path) -> object:
        if data[:1] == b"{":
            json.loads(data)["a"]
        raise InputError("no")

    reader = Reader("broken", [b'{"a": 1}'], read, text=True)
    kinds = {
        finding.partition(":")[0] for _, finding in campaign(reader, tmp_path, 0, 400).findings
    }
    assert {"KeyError", "its error is no sentence"} <= kinds
    take = lambda data, path: b"x" * (most_memory() + (16 << 20))  # noqa: E731
    greedy = Reader("greedy", [b"x"], take, memory=1 << 20)
    assert "MB" in str(trial(greedy, b"x", tmp_path / "x")[1])


def test_inputs_depend_on_the_seed_alone():
    import random

    seeds = READERS[0].seeds
    first = [damaged(random.Random(k), seeds, False) for k in range(20)]
    assert first == [damaged(random.Random(k), seeds, False) for k in range(20)]


def transforms(path: Path, pose=POSE, **more) -> Path:
    document = {"w": 8, "h": 8, "camera_angle_x": 0.7}
    document["frames"] = [{"file_path": "a", "transform_matrix": pose}]
    text = json.dumps({**document, **more})
    path.write_text(text.replace('"@huge"', "9" * 400).replace('"@deep"', "[" * 5000))
    return path


@pytest.mark.parametrize(
    "fault",
    [
        {"w": "@huge"},
        {"fl_x": "@huge"},
        {"camera_angle_x": "@huge"},
        {"frames": "@deep"},
        {"more": "@deep"},
        {"w": 1e12},
        {"fl_x": -5.0},
        {"fl_y": 1e300},
        {"camera_angle_x": 1e-300},
        {"pose": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]},
        {"pose": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]]},
        {"pose": [[1, 5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]},
        {"pose": [[1e200, 0, 0, 0], [0, 1e200, 0, 0], [0, 0, 1e200, 0], [0, 0, 0, 1]]},
    ],
    ids=str,
)
def test_cameras_that_no_camera_can_have_are_refused(tmp_path, fault):
    with pytest.raises(InputError, match=r"transforms\.json"):
        read_transforms(transforms(tmp_path / "transforms.json", **fault))


def test_scaled_and_rounded_poses_are_read(tmp_path):
    scaled = [[round(3.0001 * v, 3) for v in row] for row in POSE[:3]] + [POSE[3]]
    (frame,) = read_transforms(transforms(tmp_path / "transforms.json", pose=scaled))
    assert frame.camera.matrix[:3, :3].ravel() == pytest.approx([1, 0, 0, 0, 1, 0, 0, 0, 1])


def test_deep_json_and_long_integers_have_an_answer(tmp_path):
    for text in ("[" * 5000, '{"a":' * 5000, "nonsense", '"\\ud800', b"\xff\xfe\x00"):
        with pytest.raises(ValueError):
            json_text.loads(text)
    assert json_text.loads("9" * 5000) == float("inf")
    assert json_text.loads(b"\xef\xbb\xbf[1]") == [1]  # Notepad's byte order mark
    (tmp_path / "run.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path / "run.json")
    assert list(parse_line("\x1e" + "[" * 5000)) == ["[" * 5000]


def test_settings_hold_text_and_finite_numbers():
    for wrong in ("a\0b", "\ud800", "caf\udce9"):
        with pytest.raises(InputError, match="no text"):
            from_json({"prompt": wrong})
    for name in names():
        if kind(name) in (int, float):
            with pytest.raises(InputError):
                from_json({name: json_text.loads("9" * 400)})


def test_an_event_with_half_a_character_can_be_written():
    encode({"event": "warning", "message": "caf\udce9"}).encode("utf-8")


def test_a_sweep_with_half_a_character_is_refused_in_a_sentence(tmp_path):
    path = tmp_path / "sweep.json"
    path.write_text('{"settings": {"blend": "a.blend"}, "vary": {"prompt": ["\\ud800"]}}')
    with pytest.raises(InputError, match="no text"):
        read_sweep(path)


def test_servers_that_send_nonsense_in_their_lists():
    found = a1111_names.resolve_sampler("Euler a", "", [{"name": "Euler a", "aliases": 3}], None)
    assert found == ("Euler a", None)
    pulse = a1111_wire.read_pulse({"progress": float("nan"), "state": {"sampling_step": 1e999}})
    assert (pulse.fraction, pulse.step) == (0.0, 0)


def test_a_file_of_no_splats(tmp_path):
    write_splats(tmp_path / "none.ply", Splats(*(np.zeros((0, *s), np.float32) for s in SHAPES)))
    splats = read_splats(tmp_path / "none.ply")
    assert splats.count == 0 and splats.finite.shape == (0,)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = st.dictionaries(
    st.sampled_from(["w", "h", "fl_x", "fl_y", "cx", "camera_angle_x", "frame", "ring"]), JSON
)
QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@QUICK
@given(JSON, FIELDS, JSON)
def test_transforms_of_any_shape(tmp_path, shared, fields, pose):
    base = {"w": 8, "h": 8, "camera_angle_x": 0.7, **fields}
    frame = {"file_path": "a", "transform_matrix": POSE, **({} if pose is None else {"x": pose})}
    path = tmp_path / "t.json"
    for document in (shared, {**base, "frames": [frame]}, {**base, "frames": shared}):
        path.write_text(json.dumps(document))
        try:
            frames = read_transforms(path)
        except InputError:
            continue
        assert all(f.camera.fl_x > 0 and f.camera.width >= 1 for f in frames)


@QUICK
@given(JSON, st.dictionaries(st.sampled_from(["images", "info", "parameters"]), JSON))
def test_answers_of_any_shape(shared, fields):
    reader = next(r for r in READERS if r.name == "a1111 answers")
    for document in (shared, fields):
        try:
            reader.read(json.dumps(document).encode(), Path())
        except GsdError as error:
            assert str(error).endswith(".")
