"""core/exr.py: round trips, damage, and a file laid out by hand."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.exr import read_exr, read_guide, write_exr


def attribute(name: str, kind: str, value: bytes) -> bytes:
    return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<I", len(value)) + value


def channel_list(*channels: tuple[str, int]) -> bytes:
    listed = b"".join(n.encode() + b"\0" + struct.pack("<iIii", k, 0, 1, 1) for n, k in channels)
    return listed + b"\0"


def header(channels: bytes, w: int, h: int, compression: int, extra: bytes = b"") -> bytes:
    window = struct.pack("<4i", 0, 0, w - 1, h - 1)
    return (
        attribute("channels", "chlist", channels)
        + attribute("compression", "compression", bytes([compression]))
        + attribute("dataWindow", "box2i", window)
        + attribute("displayWindow", "box2i", window)
        + attribute("lineOrder", "lineOrder", b"\0")
        + extra
        + b"\0"
    )


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 50),
    names=st.sets(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40),
        min_size=1,
        max_size=4,
    ),
    seed=st.integers(0, 2**32 - 1),
    flat=st.booleans(),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_round_trip(tmp_path: Path, width, height, names, seed, flat):
    rng = np.random.default_rng(seed)
    scale = 0.0 if flat else 1e6  # flat planes compress, noise is stored plainly
    planes = {n: (rng.standard_normal((height, width)) * scale).astype(np.float32) for n in names}
    write_exr(tmp_path / "x.exr", planes)
    back = read_exr(tmp_path / "x.exr")
    assert set(back) == set(planes)
    for name, plane in planes.items():
        assert back[name].dtype == np.float32
        np.testing.assert_array_equal(back[name], plane)
    assert [p.name for p in tmp_path.iterdir()] == ["x.exr"]


def test_special_values_survive(tmp_path: Path):
    plane = np.array([[np.inf, -np.inf, -0.0, 1e10, 1e-45]], np.float32)
    write_exr(tmp_path / "x.exr", {"V": plane})
    assert read_exr(tmp_path / "x.exr")["V"].tobytes() == plane.tobytes()


def test_shapes_must_agree(tmp_path: Path):
    with pytest.raises(ValueError, match="one shape"):
        write_exr(tmp_path / "x.exr", {"A": np.zeros((2, 2)), "B": np.zeros((2, 3))})
    with pytest.raises(ValueError, match="one shape"):
        write_exr(tmp_path / "x.exr", {})
    assert not list(tmp_path.iterdir())


def test_reads_two_parts_of_mixed_types(tmp_path: Path):
    """A multi-part file as Blender 5 writes it: one part a pass, half beside float, uncompressed
    and ZIPS.
    """
    half = np.array([[1.5, -2.0, 0.25], [4.0, 5.0, 6.0]], "<f2")
    whole = np.array([[7, 8, 9], [10, 11, 12]], "<u4")
    start = b"\x76\x2f\x31\x01" + struct.pack("<I", 2 | 0x1000)
    kind = attribute("type", "string", b"scanlineimage")
    start += header(channel_list(("Layer.Normal.X", 1)), 3, 2, 0, kind)
    start += header(channel_list(("Layer.Object Index.X", 0)), 3, 2, 2, kind) + b"\0"
    chunks = []
    for y in range(2):
        chunks.append(struct.pack("<iiI", 0, y, 6) + half[y].tobytes())
    for y in range(2):
        raw = np.frombuffer(whole[y].tobytes(), np.uint8)
        halves = np.concatenate([raw[0::2], raw[1::2]]).astype(int)
        delta = np.concatenate([halves[:1], (np.diff(halves) + 128) % 256]).astype(np.uint8)
        packed = zlib.compress(delta.tobytes())
        body = packed if len(packed) < 12 else whole[y].tobytes()
        chunks.append(struct.pack("<iiI", 1, y, len(body)) + body)
    at, offsets = len(start) + 8 * len(chunks), []
    for chunk in chunks:
        offsets.append(at)
        at += len(chunk)
    (tmp_path / "m.exr").write_bytes(start + struct.pack("<4Q", *offsets) + b"".join(chunks))
    back = read_exr(tmp_path / "m.exr")
    np.testing.assert_array_equal(back["Layer.Normal.X"], half)
    np.testing.assert_array_equal(back["Layer.Object Index.X"], whole)
    assert back["Layer.Normal.X"].dtype == np.float16


def passes(index: str = "IndexOB.X", layer: str = "ViewLayer.") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    names = ["Depth.Z", index, *(f"{p}.{a}" for p in ("Normal", "Position") for a in "XYZ")]
    planes = {layer + n: rng.random((4, 5)).astype(np.float32) for n in names}
    planes[layer + "Depth.Z"][0] = 1e10
    planes[layer + index] = np.arange(20, dtype=np.float32).reshape(4, 5)
    return planes


@pytest.mark.parametrize("index", ["IndexOB.X", "Object Index.X"])
@pytest.mark.parametrize("layer", ["ViewLayer.", "Ansicht 1.", "a.b.", ""])
def test_guide_of_any_layer_and_version(tmp_path: Path, index, layer):
    planes = passes(index, layer)
    write_exr(tmp_path / "g.exr", planes)
    guide = read_guide(tmp_path / "g.exr")
    assert guide.mask.tolist() == [[False] * 5] + [[True] * 5] * 3
    np.testing.assert_array_equal(guide.position[..., 1], planes[layer + "Position.Y"])
    np.testing.assert_array_equal(guide.normal[..., 2], planes[layer + "Normal.Z"])
    np.testing.assert_array_equal(guide.index.ravel(), np.arange(20))
    assert guide.index.dtype == np.int32 and guide.depth.dtype == np.float32


def test_missing_pass_and_missing_file(tmp_path: Path):
    planes = passes()
    del planes["ViewLayer.Normal.Y"]
    write_exr(tmp_path / "g.exr", planes)
    with pytest.raises(InputError, match=r"no pass 'Normal\.Y'"):
        read_guide(tmp_path / "g.exr")
    with pytest.raises(InputError, match="does not exist"):
        read_guide(tmp_path / "none.exr")


@given(data=st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damage_is_a_sentence(tmp_path: Path, data):
    """Cut or altered anywhere, a file is either read or refused with InputError, never anything
    else.
    """
    write_exr(tmp_path / "g.exr", passes())
    raw = bytearray((tmp_path / "g.exr").read_bytes())
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    (tmp_path / "d.exr").write_bytes(raw)
    try:
        read_exr(tmp_path / "d.exr")
    except InputError as error:
        assert str(tmp_path / "d.exr") in str(error)


def test_cut_file_is_refused(tmp_path: Path):
    write_exr(tmp_path / "g.exr", passes())
    raw = (tmp_path / "g.exr").read_bytes()
    for keep in (0, 3, 7, 100, len(raw) - 1):
        (tmp_path / "d.exr").write_bytes(raw[:keep])
        with pytest.raises(InputError):
            read_exr(tmp_path / "d.exr")


@pytest.mark.parametrize(("flag", "compression"), [(0x200, 3), (0x800, 3), (0, 4)])
def test_other_kinds_say_what_to_do(tmp_path: Path, flag, compression):
    head = b"\x76\x2f\x31\x01" + struct.pack("<I", 2 | flag)
    (tmp_path / "t.exr").write_bytes(head + header(channel_list(("Z", 2)), 2, 2, compression))
    with pytest.raises(InputError, match="save it"):
        read_exr(tmp_path / "t.exr")
