"""core/ply.py: round trips, foreign layouts, hostile files."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.ply import (
    Points,
    Splats,
    read_points,
    read_splats,
    write_points,
    write_splats,
)

QUIET = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PARTS = ("means", "sh", "opacities", "scales", "quats")
ARRAYS = st.tuples(st.integers(0, 40), st.integers(0, 4), st.integers(0, 2**32 - 1))


def random_splats(count: int, degree: int, seed: int) -> Splats:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    splats = Splats(
        normal(count, 3),
        normal(count, (degree + 1) ** 2, 3),
        normal(count),
        normal(count, 3),
        normal(count, 4),
    )
    if count > 2:
        splats.opacities[:2] = np.inf, -np.inf
    return splats


def columns(splats: Splats) -> dict[str, np.ndarray]:
    """The graphdeco properties by name, spelled out per scalar, independent of the writer."""
    values = {n: splats.means[:, k] for k, n in enumerate("xyz")}
    for c in range(3):
        values[f"f_dc_{c}"] = splats.sh[:, 0, c]
        for k in range(splats.sh.shape[1] - 1):
            values[f"f_rest_{c * (splats.sh.shape[1] - 1) + k}"] = splats.sh[:, 1 + k, c]
        values[f"scale_{c}"] = splats.scales[:, c]
    values["opacity"] = splats.opacities
    values.update({f"rot_{k}": splats.quats[:, k] for k in range(4)})
    return values


def write_table(path: Path, order: str, values: dict[str, np.ndarray], kinds: list[str]) -> None:
    """Any layout: the properties of ``values`` in their order, with the PLY types ``kinds``."""
    codes = {"float": "f", "double": "d", "float64": "d", "uchar": "B", "short": "h", "int": "i"}
    names = {"<": "binary_little_endian", ">": "binary_big_endian", "a": "ascii"}
    count = len(next(iter(values.values())))
    lines = ["ply", f"format {names[order]} 1.0", "comment made by a test", "obj_info x"]
    lines.append(f"element vertex {count}")
    lines += [f"property {k} {n}" for k, n in zip(kinds, values, strict=True)]
    head = "\n".join([*lines, "end_header", ""]).encode()
    rows = list(zip(*values.values(), strict=True))
    if order == "a":
        body = "".join(" ".join(f"{v:.9g}" for v in row) + "\n" for row in rows).encode()
    else:
        row_format = order + "".join(codes[k] for k in kinds)
        body = b"".join(struct.pack(row_format, *row) for row in rows)
    path.write_bytes(head + body)


def assert_same(a: Splats, b: Splats) -> None:
    for part in PARTS:
        assert getattr(b, part).dtype == np.float32
        np.testing.assert_array_equal(getattr(a, part), getattr(b, part), err_msg=part)


@QUIET
@given(ARRAYS)
def test_round_trip_keeps_every_bit(tmp_path, given_arrays):
    splats = random_splats(*given_arrays)
    write_splats(tmp_path / "a.ply", splats)
    again = read_splats(tmp_path / "a.ply")
    assert_same(splats, again)
    assert (again.count, again.degree) == given_arrays[:2]


@QUIET
@given(ARRAYS, st.sampled_from("<>a"), st.randoms(use_true_random=False), st.booleans())
def test_any_property_order_type_and_byte_order(tmp_path, given_arrays, order, random, mixed):
    splats = random_splats(*given_arrays)
    values = {**columns(splats), "label": np.arange(splats.count)}
    names = list(values)
    random.shuffle(names)
    kinds = ["int" if n == "label" else "float" for n in names]
    if mixed:
        kinds = [random.choice(["float", "double"]) if k == "float" else k for k in kinds]
    write_table(tmp_path / "a.ply", order, {n: values[n] for n in names}, kinds)
    assert_same(splats, read_splats(tmp_path / "a.ply"))


def test_written_layout_is_graphdecos(tmp_path):
    splats = random_splats(3, 1, 0)
    write_splats(tmp_path / "a.ply", splats)
    head, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n", 1)
    names = [line.split()[2] for line in head.decode().splitlines() if "property" in line]
    assert names == [
        "x",
        "y",
        "z",
        "nx",
        "ny",
        "nz",
        "f_dc_0",
        "f_dc_1",
        "f_dc_2",
        "f_rest_0",
        "f_rest_1",
        "f_rest_2",
        "f_rest_3",
        "f_rest_4",
        "f_rest_5",
        "f_rest_6",
        "f_rest_7",
        "f_rest_8",
        "opacity",
        "scale_0",
        "scale_1",
        "scale_2",
        "rot_0",
        "rot_1",
        "rot_2",
        "rot_3",
    ]
    table = np.frombuffer(body, "<f4").reshape(3, len(names))
    for name, value in columns(splats).items():
        np.testing.assert_array_equal(table[:, names.index(name)], value, err_msg=name)
    assert not table[:, 3:6].any()


def test_double_out_of_float_range_is_infinite_not_an_error(tmp_path):
    values = columns(random_splats(2, 0, 1))
    values["opacity"] = np.array([1e300, -1e300])
    write_table(tmp_path / "a.ply", "<", values, ["double"] * len(values))
    assert read_splats(tmp_path / "a.ply").opacities.tolist() == [np.inf, -np.inf]


def test_finite_keeps_infinite_opacity_and_finds_broken_rows():
    splats = random_splats(6, 1, 2)
    splats.means[2, 1] = np.nan
    splats.sh[3, 2, 0] = np.inf
    splats.opacities[4] = np.nan
    assert splats.finite.tolist() == [True, True, False, False, False, True]
    assert splats.selected(splats.finite).count == 3


@QUIET
@given(st.integers(0, 50), st.integers(0, 2**32 - 1))
def test_points_round_trip(tmp_path, count, seed):
    rng = np.random.default_rng(seed)
    points = Points(
        rng.normal(size=(count, 3)).astype(np.float32),
        rng.normal(size=(count, 3)).astype(np.float32),
        rng.integers(0, 256, (count, 3), dtype=np.uint8),
    )
    write_points(tmp_path / "p.ply", points)
    again = read_points(tmp_path / "p.ply")
    for part in ("positions", "normals", "colors"):
        np.testing.assert_array_equal(getattr(points, part), getattr(again, part))


def test_points_of_an_ascii_mesh_without_normals_and_float_colors(tmp_path):
    (tmp_path / "m.ply").write_text(
        "ply\r\nformat ascii 1.0\r\nelement vertex 2\r\nproperty float x\r\nproperty float y\r\n"
        "property float z\r\nproperty float red\r\nproperty float green\r\nproperty float blue\r\n"
        "element face 1\r\nproperty list uchar int vertex_indices\r\nend_header\r\n"
        "0 1 2 0 0.5 1\r\n3 4 5 2 -1 nan\r\n3 0 1 0\r\n",
        newline="",
    )
    points = read_points(tmp_path / "m.ply")
    np.testing.assert_array_equal(points.positions, [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(points.colors, [[0, 128, 255], [255, 0, 0]])
    assert not points.normals.any()


def compressed(count: int = 300, harmonics: bool = True) -> bytes:
    """A PlayCanvas compressed file whose splats differ only where a test looks."""
    bounds = [f"{e}_{a}" for g in ("xyz", "scale") for e in ("min", "max") for a in "xyz"]
    names = [n if k < 6 else n.replace("_", "_scale_") for k, n in enumerate(bounds)]
    words = [f"packed_{n}" for n in ("position", "rotation", "scale", "color")]
    head = ["ply", "format binary_little_endian 1.0", f"element chunk {-(-count // 256)}"]
    head += [f"property float {n}" for n in names] + [f"element vertex {count}"]
    head += [f"property uint {n}" for n in words]
    if harmonics:
        head += [f"element sh {count}", *(f"property uchar f_rest_{k}" for k in range(9))]
    chunks = b"".join(
        struct.pack("<12f", 0, 0, 0, c + 1, 2, 3, -8, -8, -8, 0, 0, 0)
        for c in range(-(-count // 256))
    )
    position = 2047 << 21 | 0 << 11 | 2047
    rotation = 2 << 30 | 511 << 20 | 511 << 10 | 511  # nearly the identity of y largest
    vertex = struct.pack("<4I", position, rotation, 0xFFFFFFFF, 0xFF800000 | 0x40) * count
    sh = bytes([0, 255, 128, 1, 1, 1, 1, 1, 1]) * count if harmonics else b""
    return "\n".join([*head, "end_header", ""]).encode() + chunks + vertex + sh


def test_playcanvas_compressed(tmp_path):
    (tmp_path / "c.ply").write_bytes(compressed())
    splats = read_splats(tmp_path / "c.ply")
    assert (splats.count, splats.degree) == (300, 1)
    np.testing.assert_allclose(splats.means[0], [1, 0, 3])
    np.testing.assert_allclose(splats.means[299], [2, 0, 3])  # the second chunk's bounds
    np.testing.assert_allclose(splats.scales, 0, atol=1e-6)
    np.testing.assert_allclose(splats.quats[0], [0, 0, 1, 0], atol=2e-3)
    np.testing.assert_allclose(1 / (1 + np.exp(-splats.opacities)), 64 / 255, rtol=1e-5)
    np.testing.assert_allclose(
        0.5 + 0.28209479177387814 * splats.sh[0, 0], [1, 128 / 255, 0], atol=1e-6
    )
    np.testing.assert_allclose(splats.sh[0, 1:, 0], [-4, 4, 4 / 256 * 1], atol=1e-6)


def test_compressed_without_harmonics_and_with_too_few_chunks(tmp_path):
    (tmp_path / "c.ply").write_bytes(compressed(10, harmonics=False))
    assert read_splats(tmp_path / "c.ply").degree == 0
    raw = compressed(300).replace(b"element chunk 2", b"element chunk 1")
    (tmp_path / "c.ply").write_bytes(raw)
    with pytest.raises(InputError, match="chunks do not match"):
        read_splats(tmp_path / "c.ply")


BAD = {
    "is not a PLY file": b"hello",
    "header has no end": b"ply\nformat ascii 1.0\n",
    "names no format": b"ply\nend_header\n",
    "no element 'vertex'": b"ply\nformat ascii 1.0\nelement face 0\nend_header\n",
    "the line 'format binary_middle": b"ply\nformat binary_middle_endian 1.0\nend_header\n",
    "the line 'element vertex -3'": b"ply\nformat ascii 1.0\nelement vertex -3\nend_header\n",
    "the line 'property float3 x'": (
        b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float3 x\nend_header\n"
    ),
    "lack f_dc_0": (
        b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\n"
        b"property float z\nend_header\n1 2 3\n"
    ),
    "has 1 f_rest": (
        b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float f_rest_0\nend_header\n1\n"
    ),
}


@pytest.mark.parametrize("sentence", BAD)
def test_damaged_files_are_refused_in_one_sentence(tmp_path, sentence):
    (tmp_path / "bad.ply").write_bytes(BAD[sentence])
    with pytest.raises(InputError) as caught:
        read_splats(tmp_path / "bad.ply")
    assert sentence in str(caught.value) and "bad.ply" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", ["11", "999999999999999", "9" * 5000])
def test_header_that_promises_too_much_allocates_nothing(tmp_path, count):
    write_splats(tmp_path / "a.ply", random_splats(10, 0, 0))
    raw = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "a.ply").write_bytes(raw.replace(b"vertex 10", b"vertex " + count.encode()))
    with pytest.raises(InputError, match=r"cut off|the line"):
        read_splats(tmp_path / "a.ply")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_splats(tmp_path / "none.ply")
    with pytest.raises(InputError, match="cannot be read"):
        read_points(tmp_path)


@QUIET
@given(st.binary(max_size=400), st.integers(0, 400), st.booleans())
def test_random_damage_ends_as_input_error_or_as_splats(tmp_path, noise, place, as_compressed):
    if as_compressed:
        raw = bytearray(compressed(3))
    else:
        write_splats(tmp_path / "a.ply", random_splats(3, 0, 0))
        raw = bytearray((tmp_path / "a.ply").read_bytes())
    raw[place : place + len(noise)] = noise
    (tmp_path / "a.ply").write_bytes(raw)
    for read in (read_splats, read_points):
        try:
            read(tmp_path / "a.ply")
        except InputError as error:
            assert str(error)


def test_failed_write_leaves_the_old_file(tmp_path):
    splats = random_splats(3, 0, 0)
    write_splats(tmp_path / "a.ply", splats)
    broken = Splats(splats.means[:2], splats.sh, splats.opacities, splats.scales, splats.quats[:1])
    with pytest.raises(ValueError):
        write_splats(tmp_path / "a.ply", broken)
    assert_same(splats, read_splats(tmp_path / "a.ply"))
    assert [p.name for p in tmp_path.iterdir()] == ["a.ply"]
