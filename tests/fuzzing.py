"""Damaged, hostile and random input for every reader, and what a reader may do with it.

A reader answers with usable data or raises the package's own error with one sentence. Anything else
is a finding: another exception, an answer that its check refuses, too much time, or memory out of
proportion to the input. Inputs are drawn from seeds, so each can be made again.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gs_diffusion_addon.core.errors import GsdError

SECONDS = 10.0
"""Longest processor time for one input."""

MEMORY = 64 << 20
"""Bytes that any reader may take beyond :data:`TIMES` times its input."""

TIMES = 40


@dataclass(frozen=True)
class Reader:
    """A reader under test: valid inputs, the reading, and what must hold of the answer.

    ``read`` takes the input's bytes and a path that a file reader may write them to. ``text``:
    inputs are JSON, so they are damaged token by token as well. ``memory``: bytes it may take
    besides.
    """

    name: str
    seeds: Sequence[bytes]
    read: Callable[[bytes, Path], Any]
    check: Callable[[Any], str | None] = lambda answer: None
    text: bool = False
    memory: int = MEMORY


@dataclass
class Tally:
    """Inputs given to one reader, how many were answered with data, and the findings."""

    inputs: int = 0
    accepted: int = 0
    findings: list[tuple[bytes, str]] = field(default_factory=list)


# --- damage -------------------------------------------------------------------------------------

_NUMBERS = (
    *("0", "-1", "1", "-0.0", "1e-320", "1e308", "1e999", "-1e999", "NaN", "Infinity", "-Infinity"),
    *("1000000000000", "-9223372036854775809", "18446744073709551616", "9" * 400, "9" * 5000),
)
_VALUES = (
    *("null", "true", '""', '"x"', "[]", "{}", "[[]]", '"\\ud800"', '"../../x"', '"/etc/passwd"'),
    *('"C:\\\\x"', '"NUL"', "[" * 3000, '{"a":' * 3000, '[["a"]]', "[[1e999,NaN]]", '"\\u0000"'),
)
_WORDS = (b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\x1e")
_COUNTS = (b"0", b"1", b"1000000000000", b"-1", b"999999999999999", b"4294967296", b"nan", b"1e9")


def damaged(rng: random.Random, seeds: Sequence[bytes], text: bool) -> bytes:
    """One seed, damaged one to five times; now and then something with no seed at all."""
    if rng.random() < 0.01:
        return rng.randbytes(rng.randrange(200))
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
        data = bytearray(
            _json_damage(rng, bytes(data)) if text and rng.random() < 0.75 else _cut(rng, data)
        )
    return bytes(data)


def _cut(rng: random.Random, data: bytearray) -> bytearray:
    """Damage that knows nothing of the format but that numbers and words stand in it."""
    size = len(data)
    if not size:
        return bytearray(rng.randbytes(8))
    # Headers are where readers decide; half of all damage goes there.
    at = rng.randrange(min(size, 400)) if rng.random() < 0.5 else rng.randrange(size)
    kind = rng.randrange(9)
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[at] = rng.randrange(256)
    elif kind == 2:
        del data[at:]
    elif kind == 3:
        del data[at : at + rng.choice((1, 2, 4, 8, 64))]
    elif kind == 4:
        data[at:at] = data[at : at + rng.choice((1, 4, 16, 200))]
    elif kind == 5:
        data[at : at + 4] = rng.choice(_WORDS)
    elif kind == 6:
        data[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.getrandbits(rng.randrange(33)))
    elif kind == 7:
        data[at:at] = rng.randbytes(rng.randrange(1, 20))
    else:
        digits = [k for k in range(min(size, 4000)) if 48 <= data[k] <= 57]
        if digits:
            at = rng.choice(digits)
            end = at
            while end < size and 48 <= data[end] <= 57:
                end += 1
            data[at:end] = rng.choice(_COUNTS)
    return data


def _json_damage(rng: random.Random, data: bytes) -> bytes:
    """Another value at a random place of a JSON document, or a key more, less or renamed."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return bytes(_cut(rng, bytearray(data)))
    places = list(_places(document))
    if not places:
        return rng.choice(_VALUES).encode()
    holder, key = rng.choice(places)
    mark = "@@gsd@@"
    kind = rng.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[rng.choice(["x", "__proto__", "w", ""])] = holder.pop(key)
    elif kind == 2 and isinstance(holder, list):
        holder.insert(key, holder[key])
    else:
        holder[key] = mark
    new = rng.choice(_NUMBERS if rng.random() < 0.5 else _VALUES)
    return json.dumps(document).replace(f'"{mark}"', new).encode("utf-8", "replace")


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key or index) of a document."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield document, key
            yield from _places(value)
    elif isinstance(document, list):
        for key, value in enumerate(document):
            yield document, key
            yield from _places(value)


# --- the trial ----------------------------------------------------------------------------------


class _Late(BaseException):
    """An input took longer than it may; not an Exception, so that no reader catches it."""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def late(_number: int, _frame: object) -> None:
        raise _Late

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def trial(reader: Reader, data: bytes, path: Path) -> tuple[bool, str | None]:
    """Give ``data`` to ``reader``; (whether it was accepted, the finding or None)."""
    before = most_memory()
    accepted, finding = False, None
    try:
        with _time_limit(SECONDS):
            answer = reader.read(data, path)
            accepted, finding = True, reader.check(answer)
    except GsdError as error:
        finding = _sentence_fault(str(error))
    except _Late:
        finding = f"took longer than {SECONDS:g} s"
    except BaseException as error:  # noqa: BLE001 — whatever it is, it is what is looked for
        finding = f"{type(error).__name__}: {error}"[:300]
    grown = most_memory() - before
    if finding is None and grown > reader.memory + TIMES * len(data):
        finding = f"took {grown >> 20} MB for {len(data)} bytes"
    return accepted, finding


def _sentence_fault(sentence: str) -> str | None:
    if not sentence.strip() or not sentence.rstrip().endswith((".", "'", ")", "?")):
        return f"its error is no sentence: {sentence[:200]!r}"
    if "Traceback" in sentence or len(sentence) > 1500:
        return f"its error is {len(sentence)} characters long: {sentence[:200]!r}"
    return None


def campaign(
    reader: Reader, folder: Path, seed: int, count: int, seconds: float = 1e9, most: int = 20
) -> Tally:
    """Up to ``count`` damaged inputs, no longer than ``seconds``; ends after ``most`` findings.

    Input number k depends on ``seed`` and k alone.
    """
    tally, path = Tally(), folder / f"{reader.name}-{seed}"
    end = time.monotonic() + seconds
    for k in range(count):
        if time.monotonic() > end or len(tally.findings) >= most:
            break
        rng = random.Random(f"{reader.name}:{seed}:{k}")
        data = damaged(rng, reader.seeds, reader.text)
        accepted, finding = trial(reader, data, path)
        tally.inputs += 1
        tally.accepted += accepted
        if finding:
            tally.findings.append((data, finding))
    for left in folder.glob(f"{path.name}*"):
        left.unlink()
    return tally


def png(width: int, height: int, rows: bytes | None = None, color: int = 2, bits: int = 8) -> bytes:
    """A PNG with any header; ``rows`` is the inflated data (None: as the header says, zeros)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    if rows is None:
        channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
        rows = (b"\0" + b"\0" * (width * channels * bits // 8)) * height
    head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
