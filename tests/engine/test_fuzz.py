"""The engine's readers and hostile input: a part of bench/fuzz.py, and what it once found."""

from __future__ import annotations

import base64
import struct

import pytest

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.engine import images
from gs_diffusion_addon.engine.report_incidents import incidents

from .. import planted_reader
from ..fuzz_guided import guided, missing
from ..fuzz_readers import all_readers, engine_readers
from ..fuzzing import campaign, png, trial

guides = pytest.mark.skipif(missing() is not None, reason=missing() or "never")


@pytest.mark.parametrize("reader", engine_readers(), ids=lambda r: r.name)
def test_damaged_input_ends_as_data_or_as_a_sentence(reader, tmp_path):
    for data in reader.seeds:
        assert trial(reader, data, tmp_path / "seed")[1] is None
    tally = campaign(reader, tmp_path, 1_000_000, 1500)  # the same ones on any machine
    assert not tally.findings and tally.inputs == 1500


@guides
def test_guided_damage_reaches_what_chance_does_not(tmp_path):
    (reader,) = planted_reader.readers()
    assert not campaign(reader, tmp_path, 0, 20_000).findings
    name = planted_reader.__name__
    done = guided(reader, tmp_path, 600, f"{name}:readers", [name], ["-seed=2", "-runs=15000"])
    ((name, finding),) = done.findings
    assert "ValueError" in finding
    assert (tmp_path / name).read_bytes().startswith(planted_reader.MAGIC)
    assert done.inputs == 15_000 and done.branches >= 4


@guides
def test_guided_damage_of_a_reader_of_ours(tmp_path):
    reader = next(r for r in all_readers() if r.name == "transforms.json")
    done = guided(reader, tmp_path, 600, options=["-runs=1500"])
    assert not done.findings and done.inputs == 1500 and done.accepted > 0
    assert done.kept > 2 and len(list((tmp_path / "corpus" / reader.name).iterdir())) > 2


@pytest.mark.parametrize("size", [(9, 12_779_526), (32_777, 2_054), (60_000, 60_000), (0, 5)])
def test_pictures_that_claim_more_than_they_hold(tmp_path, size):
    """Decompression bombs are refused by their header, before memory is taken for them."""
    data = bytearray(png(4, 4))
    data[16:24] = struct.pack(">II", *size)
    (tmp_path / "bomb.png").write_bytes(data)
    for read in (images.size_of, images.read_rgba, images.read_rgb):
        with pytest.raises(InputError, match=r"bomb\.png cannot be read"):
            read(tmp_path / "bomb.png")
    with pytest.raises(InputError):
        images.decode_rgb(bytes(data))


def test_the_largest_picture_of_one_color_is_read(tmp_path):
    """One bit a pixel and all of them equal is the most that a PNG can be packed."""
    (tmp_path / "mask.png").write_bytes(png(4096, 4096, color=0, bits=1))
    assert images.size_of(tmp_path / "mask.png") == (4096, 4096)
    assert not images.read_rgb(tmp_path / "mask.png").any()


# TIFFs in which Pillow meets a fraction where a count belongs
FRACTIONS = [
    (
        "SUkqAAgAAAAKAAABBAABAAAACQAAAAEBBAABAAAABgAAAAIBAwADAAAAhgAAAAMBAwABAAAAAQAAAAYBAwABAAAA"
        "AgAAABEBDAABAAAAjAAAABUBAwABAAAAAwAAABYBBAABAAAABgAAABcBBAABAAAAogAAABwBAwABAAAAAQAAAAAA"
        "AAAIAAgACADICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7I"
        "Ch7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7I"
        "Ch7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh4="
    ),
    (
        "SUkqAAgAAAAKAAABBAABAAAACQAAAAEBBAABAAAABgAAAAIBAwADAAAAhgAAAAMBAwABAAAAAQAAAAYBAwABAAAA"
        "AgAAABEBBQABAAAAjAAAABUBAwABAAAAAwAAABYBBAABAAAABgAAABcBBAABAAAAogAAABwBAwABAAAAAQAAAAAA"
        "AAAIAAgACADICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7I"
        "Ch7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7I"
        "Ch7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh7ICh4="
    ),
]


@pytest.mark.parametrize("data", FRACTIONS, ids=["float", "rational"])
def test_a_tiff_with_fractions_for_counts(tmp_path, data):
    (tmp_path / "a.tiff").write_bytes(base64.b64decode(data))
    with pytest.raises(InputError, match=r"a\.tiff cannot be read"):
        images.read_rgba(tmp_path / "a.tiff")


def test_an_incident_without_a_message(tmp_path):
    (tmp_path / "events.jsonl").write_text('{"event": "error"}\n' + "[" * 5000 + "\n7\n")
    assert incidents(tmp_path / "events.jsonl") == [""]
