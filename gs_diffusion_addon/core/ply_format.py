"""The PLY file format itself: headers in, rows in and out, no idea of what they mean.

Handles ascii and binary files of either byte order with any scalar properties in any order; data
is read with numpy in one piece. Headers are not trusted: what they promise has to fit into the
file. Only :mod:`.ply` and :mod:`.ply_compressed` use this.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from .errors import InputError
from .run import atomic

Floats = npt.NDArray[np.float32]
Table = npt.NDArray[Any]

HEADER_LIMIT = 1 << 18
_BLOCK = 2048
"""Rows that fit into a processor's cache: half a megabyte of splats of degree 3."""
_TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float32": "f4",
    "float64": "f8",
}
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}


@dataclass(frozen=True)
class Element:
    """An element of a header: name, rows, row type; ``lists`` if a row's length varies."""

    name: str
    count: int
    dtype: np.dtype[Any]
    lists: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the scalar properties in file order."""
        return self.dtype.names or ()


@dataclass(frozen=True)
class Header:
    """A parsed header: byte order (``<``, ``>``; ``=`` is ascii), elements, the data's offset."""

    order: str
    elements: tuple[Element, ...]
    offset: int

    def element(self, name: str) -> Element | None:
        """The element called ``name``, if there is one."""
        return next((e for e in self.elements if e.name == name), None)


def opened(path: Path) -> BinaryIO:
    """``path`` open for reading; raises InputError with the reason."""
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None


# --- the header ---------------------------------------------------------------------------------


def read_header(file: BinaryIO, path: Path) -> Header:
    """Parse the header of ``file``; ``path`` is for messages. Raises InputError."""
    head = file.read(HEADER_LIMIT)
    if head[:4] not in (b"ply\n", b"ply\r"):
        raise InputError(f"{path} is not a PLY file: it does not begin with 'ply'.")
    order = ""
    # name -> (rows, property name -> type); a list property has the type "".
    elements: dict[str, tuple[int, dict[str, str]]] = {}
    start = 0
    while True:
        end = head.find(b"\n", start)
        if end < 0:
            raise InputError(f"{path} is damaged: its PLY header has no end.")
        words = head[start:end].decode("ascii", "replace").split()
        start = end + 1
        match words:
            case ["end_header"]:
                break
            case ["format", name, *_] if name in _ORDERS and not order:
                order = _ORDERS[name]
            case ["element", name, count] if order and _is_count(count) and name not in elements:
                elements[name] = (int(count), {})
            case ["property", *rest] if elements:
                _add_property(path, list(elements.values())[-1][1], order, rest)
            case ["ply"] | ["comment", *_] | ["obj_info", *_] | []:
                pass
            case _:
                raise _bad_line(path, words)
    if not order:
        raise InputError(f"{path} is damaged: its PLY header names no format.")
    return Header(order, tuple(_element(n, *e) for n, e in elements.items()), start)


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 16


def _bad_line(path: Path, words: Sequence[str]) -> InputError:
    return InputError(f"{path} is damaged: its PLY header has the line {' '.join(words)[:60]!r}.")


def _add_property(path: Path, to: dict[str, str], order: str, words: Sequence[str]) -> None:
    match words:
        case ["list", _, _, name] if name not in to:
            to[name] = ""
        case [kind, name] if kind in _TYPES and name not in to:
            to[name] = order + _TYPES[kind]
        case _:
            raise _bad_line(path, ["property", *words])


def _element(name: str, count: int, properties: dict[str, str]) -> Element:
    fields = [(n, kind) for n, kind in properties.items() if kind]
    return Element(name, count, np.dtype(fields), len(fields) < len(properties))


# --- rows ---------------------------------------------------------------------------------------


def read_elements(
    file: BinaryIO, path: Path, header: Header, wanted: Sequence[str]
) -> dict[str, Table]:
    """Rows of the ``wanted`` elements as structured arrays; memory is bounded by the file's size.

    Raises InputError when the file is shorter than its header says or its words are no numbers.
    """
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(header.offset)
    last = max((k for k, e in enumerate(header.elements) if e.name in wanted), default=-1)
    found: dict[str, Table] = {}
    for element in header.elements[: last + 1]:
        if element.lists or (element.count and not element.names):
            raise InputError(
                f"{path}: the element {element.name!r} has rows of varying length where splats or "
                "points would stand; write the file again without it."
            )
        ascii_file = header.order == "="
        # An ascii number takes two characters at least, the file's last one only one.
        width = len(element.names) * 2 if ascii_file else element.dtype.itemsize
        left = size - file.tell() + ascii_file
        if element.count * width > left:
            raise InputError(
                f"{path} is cut off or damaged: its header promises {element.count:,} rows of "
                f"{element.name!r}, the file has room for {left // width:,}."
            )
        rows = _ascii_rows if ascii_file else _binary_rows
        table = rows(file, path, element)
        if element.name in wanted:
            found[element.name] = table
    return found


def _binary_rows(file: BinaryIO, path: Path, element: Element) -> Table:
    table = np.fromfile(file, element.dtype, element.count)
    if len(table) != element.count:
        raise InputError(f"{path} could not be read to its end.")
    return table


def _ascii_rows(file: BinaryIO, path: Path, element: Element) -> Table:
    table = np.empty(element.count, element.dtype)
    columns = len(element.names)
    if not element.count:
        return table
    words: list[bytes] = []
    while len(words) < element.count * columns:
        line = file.readline()
        if not line:
            raise InputError(f"{path} is cut off: its rows of {element.name!r} end early.")
        words += line.split()
    try:
        values = np.array(words, dtype=bytes).astype(np.float64).reshape(element.count, columns)
    except ValueError:
        raise InputError(
            f"{path} is damaged: {element.name!r} has rows of wrong length or words that are no "
            "numbers."
        ) from None
    with np.errstate(over="ignore", invalid="ignore"):
        for k, name in enumerate(element.names):
            table[name] = values[:, k]
    return table


def columns(table: Table, names: Sequence[str]) -> Floats:
    """The properties ``names`` as a contiguous (N, len(names)) float32 array, native order."""
    fields = table.dtype.names or ()
    kinds = {table.dtype[n] for n in fields}
    with np.errstate(over="ignore"):
        if len(kinds) == 1:  # one type: the rows are a matrix, and numpy copies its columns at once
            flat = table.view(table.dtype[0]).reshape(len(table), len(fields))
            index = [fields.index(n) for n in names]
            run = slice(index[0], index[0] + len(index))
            adjacent = index == list(range(run.start, run.stop))
            return np.array(flat[:, run] if adjacent else flat[:, index], np.float32, order="C")
        out = np.empty((len(table), len(names)), np.float32)
        for k, name in enumerate(names):
            out[:, k] = table[name]
    return out


def spread(table: Table, targets: Iterable[tuple[str, Floats]]) -> None:
    """Copy each property to its target, a (N,) float32 array or view.

    Block by block, so that a block's rows are read from memory once and not for every property.
    """
    pairs = [(table[name], target) for name, target in targets]
    with np.errstate(over="ignore"):
        for start in range(0, len(table), _BLOCK):
            rows = slice(start, start + _BLOCK)
            for source, target in pairs:
                target[rows] = source[rows]


def write_vertices(path: Path, properties: Sequence[str], table: Table) -> None:
    """Write the rows of ``table`` (little endian) as the one element 'vertex', atomically.

    ``properties``: a "TYPE NAME" for each column, in order.
    """
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
    lines += [*(f"property {p}" for p in properties), "end_header", ""]
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.write("\n".join(lines).encode("ascii"))
        file.flush()
        np.ascontiguousarray(table).tofile(file)
