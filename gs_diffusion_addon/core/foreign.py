"""Foreign programs (trainers): what they print is followed piece by piece, logged, and bounded.

Standard output and standard error are read apart, so that a progress bar never tears a line. Both
are cut at LF and at CR, since bars overwrite themselves with CR.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TextIO

from .process import end_tree, quoted, start

TAIL_LINES = 40
TAIL_WIDTH = 300
_LONGEST = 1 << 16  # bytes without a line end after which a piece is cut
_BAR_SECONDS = 5.0  # how often a bar is written into the log


@dataclass(frozen=True)
class Piece:
    """One printed line, or one state of a bar that the next state overwrites (``passing``)."""

    text: str
    passing: bool = False


@dataclass
class Pieces:
    """Cuts a byte stream, given in chunks of any size, into :class:`Piece`; empty ones are left
    out.
    """

    _rest: bytes = field(default=b"", repr=False)

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        """The pieces completed by ``chunk``."""
        rest = self._rest + chunk
        at = 0
        while True:
            ends = [k for k in (rest.find(b"\n", at), rest.find(b"\r", at)) if k >= 0]
            if not ends:
                break
            end = min(ends)
            step = 1
            if rest[end : end + 1] == b"\r":
                if end + 1 == len(rest):
                    break  # CR LF is one line end: which of the two it is, the next byte tells
                step = 2 if rest[end + 1 : end + 2] == b"\n" else 1
            passing = step == 1 and rest[end : end + 1] == b"\r"
            yield from _piece(rest[at:end], passing)
            at = end + step
        self._rest = rest[at:]
        while len(self._rest) > _LONGEST:
            yield from _piece(self._rest[:_LONGEST], False)
            self._rest = self._rest[_LONGEST:]

    def close(self) -> Iterator[Piece]:
        """What is left when the stream ends."""
        rest, self._rest = self._rest, b""
        yield from _piece(rest.rstrip(b"\r"), False)


def _piece(raw: bytes, passing: bool) -> Iterator[Piece]:
    text = raw.decode("utf-8", "replace").strip()
    if text:
        yield Piece(text, passing)


@dataclass
class Tail:
    """The last lines a program printed, bounded in number and length; a bar counts once."""

    _lines: deque[Piece] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))

    def add(self, piece: Piece) -> None:
        """Take one more piece."""
        if self._lines and self._lines[-1].passing:
            self._lines.pop()
        self._lines.append(Piece(piece.text[:TAIL_WIDTH], piece.passing))

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines, oldest first."""
        return tuple(p.text for p in self._lines)


@dataclass(frozen=True)
class Finished:
    """How a foreign program ended: exit code (128 + n: signal n; None: ended by us because it was
    silent) and its last lines.
    """

    code: int | None
    tail: tuple[str, ...]

    @property
    def silent(self) -> bool:
        """Whether it was ended since it printed nothing for too long."""
        return self.code is None

    @property
    def signal(self) -> int:
        """The signal that ended it, 0 if none did."""
        return self.code - 128 if self.code is not None and 128 < self.code < 160 else 0


def run_foreign(
    command: Sequence[str],
    *,
    log: Path,
    on_piece: Callable[[Piece], None],
    env: Mapping[str, str],
    cwd: Path | None = None,
    silence: float = 0.0,
) -> Finished:
    """Run a program that is not ours to its end; everything it prints goes to ``log`` and to
    ``on_piece``.

    It runs in a process group of its own, under :mod:`.guard`, so it ends when this process does,
    however that died. When it prints nothing for ``silence`` seconds (0: any time), its tree is
    ended. An exception of ``on_piece`` ends it, too, and is passed on.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    guard = [sys.executable, "-I", str(Path(__file__).with_name("guard.py"))]
    with open(log, "a", encoding="utf-8", errors="replace") as text:
        text.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {quoted(command)}\n")
        text.flush()
        child = start([*guard, *command], env=env, cwd=cwd, split=True)
        try:
            return _follow(child, _Log(text), on_piece, silence)
        finally:
            end_tree(child)


def _follow(
    child: subprocess.Popen[bytes], log: _Log, on_piece: Callable[[Piece], None], silence: float
) -> Finished:
    items: queue.Queue[tuple[int, bytes]] = queue.Queue()
    assert child.stdout is not None and child.stderr is not None
    streams = (child.stdout, child.stderr)
    for number, stream in enumerate(streams):
        threading.Thread(target=_pump, args=(number, stream, items), daemon=True).start()
    cutters, tail, running = (Pieces(), Pieces()), Tail(), len(streams)
    heard = time.monotonic()
    while running:
        try:
            number, chunk = items.get(timeout=0.2)
        except queue.Empty:
            if silence and time.monotonic() - heard > silence:
                return Finished(None, tail.lines)
            continue
        heard = time.monotonic()
        running -= not chunk
        for piece in cutters[number].feed(chunk) if chunk else cutters[number].close():
            tail.add(piece)
            log.add(piece)
            on_piece(piece)
    return Finished(child.wait(), tail.lines)


def _pump(number: int, stream: IO[bytes], items: queue.Queue[tuple[int, bytes]]) -> None:
    # read1 returns what is there; read() would hold progress back until a buffer is full.
    while chunk := stream.read1(1 << 16):  # type: ignore[attr-defined]
        items.put((number, chunk))
    items.put((number, b""))


class _Log:
    """Writes pieces into a log, bars only now and then."""

    def __init__(self, text: TextIO) -> None:
        self._text, self._last = text, 0.0

    def add(self, piece: Piece) -> None:
        now = time.monotonic()
        if piece.passing and now - self._last < _BAR_SECONDS:
            return
        if piece.passing:
            self._last = now
        self._text.write(piece.text + "\n")
        self._text.flush()


def foreign_environment(threads: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a foreign program: ours without what concerns our own Python.

    Blender's and our virtual environment's variables would make the user's Python look for its
    packages in the wrong place.
    """
    ours = ("PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith(("GSD_", "NUMBA_"))
    }
    if threads:
        kept["OMP_NUM_THREADS"] = str(threads)
    elif os.environ.get("GSD_THREADS"):
        kept.pop("OMP_NUM_THREADS", None)  # our own 1, which is meant for our kernels
    kept.update(PYTHONUNBUFFERED="1", PYTHONIOENCODING="utf-8", PYTHONUTF8="1")
    kept.update(extra or {})
    return kept
