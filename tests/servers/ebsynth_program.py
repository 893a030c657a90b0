"""A stand-in for EbSynth's own program: reads .ebs projects and writes what they ask for.

    python ebsynth_program.py PROJECT... [--seed N] [--delay S] [--bad] [--stop-after N]

It reads the format from its description, on its own, and works like a slow, clumsy user: rows and
frames out of order, pictures written in two halves, with --bad some of a wrong size until
status.json says so, with --stop-after it is closed in the middle. A frame is its key's picture, its
red channel the key's number and its green one the frame's.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import struct
import time
from pathlib import Path

import numpy as np
from PIL import Image


class Reader:
    """Takes values off the front of a project's bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str):
        size = struct.calcsize("<" + layout)
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += size
        return values[0] if len(values) == 1 else values

    def text(self) -> str:
        size = self.take("i")
        raw = self.data[self.at : self.at + size]
        assert len(raw) == size
        self.at += size
        return raw.decode("utf-8")

    def mark(self, wanted: bytes) -> None:
        assert self.data[self.at : self.at + len(wanted)] == wanted
        self.at += len(wanted)


def read_project(data: bytes) -> dict:
    """Everything that is in a project file; fails on anything odd, a rest included."""
    r = Reader(data)
    r.mark(b"EBS05\0")
    out = {"video": r.text(), "mask": r.text(), "keys": r.text(), "mask_on": bool(r.take("B"))}
    names = ("key_weight", "video_weight", "mask_weight", "mapping", "deflicker", "diversity")
    out |= dict(zip(names, r.take("6f"), strict=True))
    out["rows"] = []
    for _ in range(r.take("i")):
        key, use_first, use_last, first, last = r.take("iBBii")
        row = {"key": key, "use_first": bool(use_first), "use_last": bool(use_last)}
        out["rows"].append(row | {"first": first, "last": last, "output": r.text()})
    r.mark(b"V02\0")
    out["detail"], use_gpu, out["fps"], closing = r.take("iBfi")
    out["use_gpu"] = bool(use_gpu)
    assert closing == 704 and r.at == len(data)
    return out


def place(folder: Path, pattern: str, number: int) -> Path:
    digits = pattern.count("#")
    return folder / pattern.replace("[" + "#" * digits + "]", f"{number:0{digits}d}")


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("projects", nargs="+", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--bad", action="store_true")
    parser.add_argument("--stop-after", type=int, default=-1)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    work = []
    for path in arguments.projects:
        project = read_project(path.read_bytes())
        for row in project["rows"]:
            key = np.array(Image.open(place(path.parent, project["keys"], row["key"])))
            for number in range(row["first"], row["last"] + 1):
                video = Image.open(place(path.parent, project["video"], number))
                mask = Image.open(place(path.parent, project["mask"], number))
                assert video.size == mask.size == key.shape[1::-1]
                work.append((place(path.parent, row["output"], number), key, row["key"], number))
    chance.shuffle(work)
    late = []
    for count, (path, key, row, number) in enumerate(work):
        if count == arguments.stop_after:
            return
        path.parent.mkdir(exist_ok=True)
        pixels = key.copy()
        pixels[..., 0], pixels[..., 1] = row, number
        if arguments.bad and chance.random() < 0.2:
            write(path, png(pixels[:-2]), arguments.delay)
            late.append((path, pixels))
        else:
            write(path, png(pixels), arguments.delay)
    end = time.monotonic() + 120
    while late and not complained(arguments.projects[0].with_name("status.json")):
        assert time.monotonic() < end, "nobody minds a wrong size"
        time.sleep(0.02)
    for path, pixels in late:
        write(path, png(pixels), arguments.delay)


def complained(status: Path) -> bool:
    """Whether the run noticed a picture of a wrong size."""
    return any(row["wrong_size"] for row in json.loads(status.read_text("utf-8"))["rows"])


def write(path: Path, data: bytes, delay: float) -> None:
    """In two halves, with a pause."""
    with open(path, "wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        time.sleep(delay)
        file.write(data[len(data) // 2 :])


if __name__ == "__main__":
    main()
