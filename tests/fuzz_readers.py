"""The readers that :mod:`.fuzzing` damages the input of: those of core/, and those of engine/ where
its packages are there.
"""

from __future__ import annotations

import importlib.util
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from gs_diffusion_addon.core import a1111_control, a1111_names, a1111_wire, json_text, values
from gs_diffusion_addon.core.a1111_errors import fault
from gs_diffusion_addon.core.cameras import Camera, look_at
from gs_diffusion_addon.core.dataset import Frame, read_transforms, write_transforms
from gs_diffusion_addon.core.errors import GsdError, InputError
from gs_diffusion_addon.core.events import Splitter, encode, make_event
from gs_diffusion_addon.core.exr import read_exr, read_guide, write_exr
from gs_diffusion_addon.core.foreign import Piece, Pieces
from gs_diffusion_addon.core.ply import (
    Points,
    Splats,
    read_points,
    read_splats,
    write_points,
    write_splats,
)
from gs_diffusion_addon.core.run import new_manifest, read_manifest, run_settings, write_json
from gs_diffusion_addon.core.settings import Settings

from .fuzz_colmap import colmap_readers
from .fuzz_sweeps import sweep_readers
from .fuzzing import Reader, png

RECORDED = Path(__file__).parent / "recorded" / "a1111"


def _written(write: Callable[[Path], Any]) -> bytes:
    """The bytes that a writer makes."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "seed"
        write(path)
        return path.read_bytes()


def _of_file(read: Callable[[Path], Any]) -> Callable[[bytes, Path], Any]:
    def from_bytes(data: bytes, path: Path) -> Any:
        path.write_bytes(data)
        return read(path)

    return from_bytes


# --- splats and points --------------------------------------------------------------------------


def _splats(count: int, terms: int) -> Splats:
    rng = np.random.default_rng(count)

    def some(*shape: int) -> np.ndarray:
        return rng.normal(size=(count, *shape)).astype(np.float32)

    return Splats(some(3), some(terms, 3), some(), some(3), some(4))


def _ascii_points() -> bytes:
    head = (
        "ply\nformat ascii 1.0\ncomment x\nelement vertex 3\nproperty float x\nproperty float y\n"
    )
    return (head + "property double z\nend_header\n0 1 2\n3 4 5\n6 7 8\n").encode()


def _compressed(count: int = 5) -> bytes:
    axes = [*("xyz"), *(f"scale_{a}" for a in "xyz")]
    names = [
        f"{end}_{a}" for group in (axes[:3], axes[3:]) for end in ("min", "max") for a in group
    ]
    head = ["ply", "format binary_little_endian 1.0", "element chunk 1"]
    head += [f"property float {n}" for n in names] + [f"element vertex {count}"]
    head += [f"property uint packed_{n}" for n in ("position", "rotation", "scale", "color")]
    head += [f"element sh {count}", *(f"property uchar f_rest_{k}" for k in range(9))]
    rows = struct.pack("<12f", *range(12)) + struct.pack("<4I", 1, 2 << 30, 3, 4) * count
    return "\n".join([*head, "end_header", ""]).encode() + rows + bytes(range(9)) * count


def _check_splats(splats: Splats) -> str | None:
    parts = (splats.means, splats.sh, splats.opacities, splats.scales, splats.quats)
    if any(len(p) != splats.count or p.dtype != np.float32 for p in parts):
        return "its parts differ in length or are not float32"
    splats.finite  # noqa: B018 — must be computable
    return None


def _check_points(points: Points) -> str | None:
    lengths = {len(points.positions), len(points.normals), len(points.colors)}
    return None if len(lengths) == 1 else "its parts differ in length"


def _points(path: Path) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    write_points(path, Points(rows, rows, np.zeros((4, 3), np.uint8)))


# --- pictures and geometry passes ----------------------------------------------------------------


def _exr_seeds() -> list[bytes]:
    rng = np.random.default_rng(0)
    plain = {"R": rng.random((5, 4)), "G": np.zeros((5, 4))}
    axes = [f"L.{kind}.{axis}" for kind in ("Normal", "Position") for axis in "XYZ"]
    guide = {n: rng.random((20, 6)) for n in (*axes, "L.Depth.Z", "L.IndexOB.X")}
    return [_written(lambda p: write_exr(p, plain)), _written(lambda p: write_exr(p, guide))]


def _check_planes(planes: dict[str, np.ndarray]) -> str | None:
    return None if all(p.ndim == 2 for p in planes.values()) else "a channel is not a plane"


# --- JSON ----------------------------------------------------------------------------------------


def _transforms_seeds() -> list[bytes]:
    pose = look_at((1, 2, 3), (0, 0, 0))
    cameras = [Camera(40, 30, 50.0, 50.0, 20.0, 15.0, pose) for _ in range(2)]
    ours = [Frame(f"./train/r_{k}", c, k, 0) for k, c in enumerate(cameras)]
    nerf = {"camera_angle_x": 0.7, "w": 8, "h": 8}
    nerf["frames"] = [{"file_path": "a", "transform_matrix": pose.tolist()}]
    return [_written(lambda p: write_transforms(p, ours)), json.dumps(nerf).encode()]


def _check_frames(frames: list[Frame]) -> str | None:
    for frame in frames:
        c = frame.camera
        numbers = [c.fl_x, c.fl_y, c.cx, c.cy, *c.matrix.ravel(), c.angle_x]
        if not np.isfinite(numbers).all() or c.fl_x <= 0 or c.fl_y <= 0:
            return f"frame {frame.frame} has a camera that cannot be used: {c}"
        if not (1 <= c.width <= 65536 and 1 <= c.height <= 65536):
            return f"frame {frame.frame} is {c.width}x{c.height}"
        if not np.isfinite(c.world_to_opencv()).all():
            return f"frame {frame.frame} has a pose that cannot be inverted"
    return None


def _read_manifest(data: bytes, path: Path) -> Settings:
    root = path.with_name(path.name + "-run")
    root.mkdir(exist_ok=True)
    (root / "run.json").write_bytes(data)
    try:
        return run_settings(read_manifest(root))
    finally:
        (root / "run.json").unlink()
        root.rmdir()


def _manifest_seeds() -> list[bytes]:
    manifest = new_manifest(Settings(blend="a.blend", prompt="x"), "1.0.0")
    manifest["stages"] = {"0/turntable": {"key": {"settings": "a", "inputs": "b"}, "state": "done"}}
    return [_written(lambda p: write_json(p, manifest))]


def _event_seeds() -> list[bytes]:
    events = [make_event("progress", done=1, total=3, stage="train", iteration=1, eta=None)]
    events.append(make_event("frame_done", frame=1, path="iter1/keys/keys00001.png"))
    lines = [b"\n\x1e" + encode(e).encode() + b"\n" for e in events]
    return [b"".join(lines), b"noise\r\n" + lines[0] + b"more"]


def _read_stream(data: bytes, path: Path) -> list[Any]:
    splitter, cutter = Splitter(), Pieces()
    middle = len(data) // 2
    items = [*splitter.feed(data[:middle]), *splitter.feed(data[middle:]), *splitter.close()]
    return [*items, *cutter.feed(data[:middle]), *cutter.feed(data[middle:]), *cutter.close()]


def _check_items(items: list[Any]) -> str | None:
    ok = all(isinstance(i, (str, Piece)) or isinstance(i.get("event"), str) for i in items)
    return None if ok else "an item is neither an event nor text"


# --- Automatic1111 -------------------------------------------------------------------------------

_JOB = a1111_wire.Job(b"", 64, 64, "a", "", 1, 20, 7.0, 0.5, "Euler a", "Karras", model="m")


def _recorded() -> list[bytes]:
    """The recorded answers, with their large pictures replaced."""

    def small(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: small(v) for k, v in value.items()}
        if isinstance(value, list):
            return [small(v) for v in value[:12]]
        return "iVBORw0KGgo=" if isinstance(value, str) and len(value) > 4000 else value

    found = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(RECORDED.glob("*.json"))]
    return [json.dumps(small(f.get("response", f))).encode() for f in found]


def _json(data: bytes) -> Any:
    """What the client makes of an answer's body."""
    try:
        return json_text.loads(data)
    except ValueError:
        raise InputError("It is not JSON.") from None


def _read_server(data: bytes, path: Path) -> str:
    """Every meaning that an answer may have; each part may refuse it with its own error."""
    fault(500, data, "http://a", False)
    document = _json(data)
    a1111_wire.read_pulse(document)
    entries = [e for e in document if isinstance(e, dict)] if isinstance(document, list) else []
    for resolve in (
        lambda: a1111_names.resolve_sampler("Euler a", "karras", entries, entries),
        lambda: a1111_names.resolve_checkpoint("model", entries),
        lambda: a1111_names.resolve_vae("vae", entries),
        lambda: a1111_names.check_loras("<lora:x:1>", entries),
        lambda: a1111_wire.read_answer(document, _JOB),
    ):
        try:
            resolve()
        except GsdError as error:
            if not str(error).strip():
                return "an empty sentence"
    return ""


# --- the small languages of settings --------------------------------------------------------------

_TEXTS = [b"30:24,-25:12", b"640x360", b"80/5/15", b"depth:control_v11:0.5", b"http://a:7860/sd"]


def _read_texts(data: bytes, path: Path) -> None:
    text = data.decode("utf-8", "replace")
    for parse in (
        *(values.parse_rings, values.parse_size, values.parse_split),
        *(a1111_control.parse_control, a1111_wire.normalize_address, a1111_wire.parse_auth),
    ):
        try:
            parse(text)
        except GsdError as error:
            if not str(error).endswith("."):
                raise ValueError(f"no sentence: {error}") from None


def core_readers() -> list[Reader]:
    """Readers that need nothing but numpy and requests."""
    splats = [_written(lambda p, t=t: write_splats(p, _splats(3, t))) for t in (1, 4)]
    points = [_written(_points), _ascii_points()]
    ply = [*splats, *points, _compressed()]
    exr, answers = _exr_seeds(), _recorded()
    return [
        Reader("splats.ply", ply, _of_file(read_splats), _check_splats),
        Reader("points.ply", ply, _of_file(read_points), _check_points),
        Reader("exr", exr, _of_file(read_exr), _check_planes),
        Reader("guide.exr", exr, _of_file(read_guide)),
        Reader(
            "transforms.json", _transforms_seeds(), _of_file(read_transforms), _check_frames, True
        ),
        Reader("run.json", _manifest_seeds(), _read_manifest, text=True),
        Reader("events", _event_seeds(), _read_stream, _check_items),
        Reader("a1111 answers", answers, _read_server, lambda a: a or None, True),
        Reader("settings' languages", _TEXTS, _read_texts),
        *sweep_readers(),
        *colmap_readers(_check_frames),
    ]


# --- engine --------------------------------------------------------------------------------------

_LINES = (
    "Training progress:  50%|#####     | 15000/30000 [10:00<09:59, 25.0it/s, Loss=0.0123456]",
    "[ITER 7000] Evaluating test: L1 0.0123 PSNR 28.4 [01/01 00:00:00]",
    "Number of points at initialisation :  100000",
    "[ITER 30000] Saving Gaussians",
    "Step 10: 0.153 (1%)",
    "12/100 Steps (3.5/s)",
    "Refine iter 10, 500 splats",
    "Eval iter 1000: PSNR 30.1, ssim 0.9",
)


def engine_readers() -> list[Reader]:
    """Readers that need the worker's environment; none where it is not."""
    if importlib.util.find_spec("PIL") is None:
        return []
    from gs_diffusion_addon.engine import images
    from gs_diffusion_addon.engine.report_incidents import incidents
    from gs_diffusion_addon.engine.train import printed

    pictures = [png(7, 5), png(4, 4, color=6, bits=16), png(9, 3, color=0, bits=1)]
    pictures += [_encoded(kind) for kind in ("JPEG", "WEBP", "TIFF", "BMP", "GIF")]

    def read_picture(data: bytes, path: Path) -> Any:
        path.write_bytes(data)
        images.size_of(path)
        images.decode_rgb(data)
        return images.read_rgba(path)

    def read_lines(data: bytes, path: Path) -> list[Any]:
        pieces = [*(cutter := Pieces()).feed(data), *cutter.close()]
        parsers = (printed.graphdeco, printed.opensplat, printed.brush)
        return [parse(piece) for piece in pieces for parse in parsers]

    def rgba(pixels: Any) -> str | None:
        return None if pixels.ndim == 3 and pixels.dtype == np.uint8 else "not (h, w, 4) uint8"

    return [
        Reader("pictures", pictures, read_picture, rgba, memory=1 << 30),
        Reader("trainers' lines", [line.encode() + b"\r\n" for line in _LINES], read_lines),
        Reader("events.jsonl", _jsonl_seeds(), _of_file(incidents)),
    ]


def _jsonl_seeds() -> list[bytes]:
    events = [make_event("warning", message="Something.", stage="train", iteration=1)]
    events.append(make_event("stage_finished", seconds=1.0, stage="train", iteration=1))
    return ["".join(encode(e) + "\n" for e in events).encode()]


def _encoded(kind: str) -> bytes:
    from PIL import Image

    target = io.BytesIO()
    Image.new("RGB", (9, 6), (200, 10, 30)).save(target, format=kind)
    return target.getvalue()


def all_readers() -> list[Reader]:
    """Every reader that this environment can run."""
    return [*core_readers(), *engine_readers()]
