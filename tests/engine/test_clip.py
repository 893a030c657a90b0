"""CLIP figures with a tiny hand-made model: its pictures' embedding is their mean color, its
texts' are three token numbers.
"""

from __future__ import annotations

import numpy as np
import pytest

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.engine import clip
from gs_diffusion_addon.engine.images import read_rgba, write_png
from tests.engine import synthetic

tokenizers = pytest.importorskip("tokenizers")


def number(value):
    """A varint."""
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(place, value):
    """A protobuf field: an int, or bytes with their length."""
    if isinstance(value, int):
        return number(place << 3) + number(value)
    raw = value.encode() if isinstance(value, str) else value
    return number(place << 3 | 2) + number(len(raw)) + raw


def node(kind, inputs, output, *attributes):
    """An ONNX NodeProto."""
    body = b"".join(field(1, i) for i in inputs) + field(2, output) + field(4, kind)
    return field(1, body + b"".join(field(5, a) for a in attributes))


def integers(name, values):
    """An attribute of several integers."""
    return field(1, name) + b"".join(field(8, v) for v in values) + field(20, 7)


def value(place, name, kind, shape):
    """A graph input or output; names are free sizes."""
    sizes = b"".join(field(1, field(2, s) if isinstance(s, str) else field(1, s)) for s in shape)
    return field(place, field(1, name) + field(2, field(1, field(1, kind) + field(2, sizes))))


def tensor(name, numbers):
    """An int64 initializer."""
    return field(5, field(1, len(numbers)) + field(2, 7) + field(8, name)
                 + field(9, np.array(numbers, "<i8").tobytes()))  # fmt: skip


@pytest.fixture
def model(tmp_path):
    """model.onnx and tokenizer.json of that model."""
    cast = field(1, "to") + field(3, 1) + field(20, 2)
    graph = b"".join(
        [
            node("ReduceMean", ["pixel_values"], "image_embeds", integers("axes", [2, 3]),
                 field(1, "keepdims") + field(3, 0) + field(20, 2)),
            node("Cast", ["input_ids"], "numbers", cast),
            node("Slice", ["numbers", "first", "last", "axis"], "text_embeds"),
            field(2, "tiny"), tensor("first", [0]), tensor("last", [3]), tensor("axis", [1]),
            value(11, "input_ids", 7, ["n", "t"]), value(11, "pixel_values", 1, ["m", 3, 8, 8]),
            value(12, "image_embeds", 1, ["m", 3]), value(12, "text_embeds", 1, ["n", 3]),
        ]
    )  # fmt: skip
    data = field(1, 8) + field(7, graph) + field(8, field(2, 13))
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").write_bytes(data)
    words = {"red": 9, "green": 0, "blue": 1, "gray": 5}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="gray"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_embeddings_are_the_models_with_length_one(model):
    found = clip.Clip(model, 1)
    texts = found.texts(["red green green", "blue blue blue blue"])
    np.testing.assert_allclose(texts, [[1, 0, 0], [3**-0.5] * 3], atol=1e-6)
    color = np.float32([200, 40, 90])
    picture = np.tile(color.astype(np.uint8), (16, 16, 1))
    expected = (color / 255 - clip.MEAN) / clip.DEVIATION
    np.testing.assert_allclose(
        found.pictures([picture])[0], expected / np.linalg.norm(expected), atol=1e-4
    )


def test_a_long_prompt_keeps_its_end_token(model, monkeypatch):
    seen = []
    found = clip.Clip(model, 1)
    monkeypatch.setattr(found, "_run", lambda output, ids, *rest: seen.append(ids))
    found.texts(["red " * 100 + "blue", "red blue"])
    assert seen[0].shape == (2, clip.LONGEST) and seen[0][0, -1] == 1 == seen[0][1, 1]


def test_the_prompt_of_a_schedule_is_the_iterations(model, tmp_path):
    settings = synthetic.with_settings(
        views=8, rings="none", keys=4, clip_model=str(model), prompt="green green green",
        schedule="prompt=green green green->red green green",
    )  # fmt: skip
    run, frames = synthetic.write_run(tmp_path / "run", settings, size=(32, 32))
    for k in (1, 2):
        for f in frames:
            rgba = read_rgba(run.frame(f.frame))
            rgba[..., :3] = (255, 0, 0)
            write_png(run.at(k).render(f.frame), rgba)
    green, red = (clip.similarity(run.at(k), settings, frames, 1)["prompt"] for k in (1, 2))
    assert red > green


def test_a_splat_that_turned_red_moved_toward_red(model, tmp_path):
    settings = synthetic.with_settings(
        views=8, rings="none", keys=4, prompt="red green green", clip_model=str(model),
        clip_source="green green green",
    )  # fmt: skip
    run, frames = synthetic.write_run(tmp_path / "run", settings, size=(32, 32))
    assert "rendered" in clip.similarity(run, settings, frames, 1)["reason"]
    for f in frames:
        rgba = read_rgba(run.frame(f.frame))
        rgba[..., 0] = np.maximum(rgba[..., 0], 240)
        write_png(run.render(f.frame), rgba)
    figures = clip.similarity(run, settings, frames, 1)
    assert figures["model"] == model.name and -1 <= figures["prompt"] <= 1
    assert figures["direction"] > 0.5


def test_without_a_model_the_reason_stands_there(tmp_path):
    settings = synthetic.with_settings(views=8, rings="none", keys=4, prompt="x")
    run, frames = synthetic.write_run(tmp_path, settings, size=(32, 32))
    figures = clip.similarity(run, settings, frames, 1)
    assert figures["prompt"] is None and "--clip-model" in figures["reason"]
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        clip.Clip(tmp_path, 1)
