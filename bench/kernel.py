"""Speed of the built-in rasterizer: a full pass, forward and backward, piece by piece.

.venv-worker/bin/python bench/kernel.py [--surface FILE.ply] [--counts 10000 50000] [--threads 2]

The scene is fixed: samples of a surface (a bumpy sphere, or the points of FILE.ply) as the
training recipe's discs, filling two thirds of 512 x 512 pixels. Times are the least of several
passes, compilation apart.

The raster's share of the FMA peak is the arithmetic of the pixels inside the splats' boxes, tile
by tile, over a loop of independent multiply-adds measured in the same run. A pixel and splat count
27 operations forward (a multiply-add two): 5 for the exponent, 12 for its power of two, 2 to clamp
and skip, 2 for weight and light, 6 for the colors. Backward it is 47: the same 17 + 2 + 2, 7 for
the gradient along the color and what is left, 6 for s, and 13 for the nine sums (6 for the colors,
5 for the moments, 2 to add up). What the blocks of 4 x 4 pixels hold outside the boxes is computed
but not counted, nor are lists and masks. "Lanes" counts the same operations for every pixel of
every block that is worked on: the hardware's view. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gs_diffusion_addon.core.cameras import Camera, look_at
from gs_diffusion_addon.core.ply import Points, Splats, read_points
from gs_diffusion_addon.engine.splat import rasterizer, reference
from gs_diffusion_addon.engine.splat.dataset import World
from gs_diffusion_addon.engine.splat.initialize import from_points
from gs_diffusion_addon.engine.splat.jit import TILE_X, TILE_Y
from gs_diffusion_addon.engine.splat.loss import l1_dssim
from gs_diffusion_addon.engine.splat.runtime import Workers
from gs_diffusion_addon.engine.splat.vectors import WIDTH

SIZE = 512
FORWARD, BACKWARD = 27, 47  # arithmetic operations a pixel and splat
PIECES = ("project", "depth_order", "bin_tiles", "raster", "raster_backward", "project_backward")


def surface(path: Path | None) -> Points:
    """The points of a file, or a bumpy sphere's, in either case around the origin and of radius
    1.
    """
    if path:
        points = read_points(path)
        middle = (points.positions.min(0) + points.positions.max(0)) / 2
        reach = np.linalg.norm(points.positions - middle, axis=1).max()
        places = ((points.positions - middle) / reach).astype(np.float32)
        return Points(places, points.normals, points.colors)
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(2_000_000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    places = normals * (0.9 + 0.1 * np.sin(6 * normals[:, :1]) * np.sin(5 * normals[:, 1:2]))
    colors = (128 + 120 * np.sin(9 * normals)).astype(np.uint8)
    return Points(places.astype(np.float32), normals.astype(np.float32), colors)


def scene(points: Points, count: int) -> tuple[Splats, rasterizer.View]:
    """``count`` discs and a view that they fill."""
    camera = Camera(
        SIZE, SIZE, 711, 711, SIZE / 2, SIZE / 2, look_at((0.0, -2.9, 0.7), (0.0, 0.0, 0.0))
    )
    splats = from_points(points, World(np.zeros(3), 1.0), count, 1, 0)
    return splats, rasterizer.View.of(camera)


# Contraction alone: full fast math would fold the four steps into one.
@numba.njit(fastmath={"contract"}, nogil=True)
def _multiply_adds(rounds, lanes):  # type: ignore[no-untyped-def]
    """Independent multiply-adds on 128 float32 lanes; 2 operations each."""
    a, b = np.float32(0.999), np.float32(1e-3)
    for _ in range(rounds):
        for i in range(128):
            lanes[i] = lanes[i] * a + b
            lanes[i] = lanes[i] * a + b
            lanes[i] = lanes[i] * a + b
            lanes[i] = lanes[i] * a + b
    return lanes[0]


def least(work: Callable[[], object], passes: int = 7) -> float:
    """Shortest processor time of ``work`` in seconds."""
    times = []
    for _ in range(passes):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def peak() -> float:
    """Multiply-adds as operations per second of one thread."""
    lanes = np.ones(128, np.float32)
    _multiply_adds(10, lanes)
    rounds = 400_000
    return rounds * 128 * 4 * 2 / least(lambda: _multiply_adds(rounds, lanes), 3)


def pieces(splats: Splats, view: rasterizer.View, passes: int = 7) -> tuple[dict[str, float], Any]:
    """Least processor time in seconds of every kernel on one thread, and the frame drawn."""
    times: dict[str, list[float]] = {name: [] for name in PIECES}
    originals = {name: getattr(rasterizer, name) for name in PIECES}

    def timed(name: str) -> Callable[..., object]:
        def run(*arguments: object) -> object:
            start = time.process_time()
            result = originals[name](*arguments)
            times[name].append(time.process_time() - start)
            return result

        return run

    arrays = (splats.means, splats.quats, splats.scales, splats.opacities, splats.sh)
    slopes = np.random.default_rng(0).normal(0, 1e-6, (3, SIZE, SIZE)).astype(np.float32)
    pool, black = Workers(1), np.zeros(3, np.float32)
    for name in PIECES:
        setattr(rasterizer, name, timed(name))
    try:
        for _ in range(passes):
            frame = rasterizer.draw(*arrays, view, black, pool)
            rasterizer.draw_backward(frame, *arrays[:3], arrays[4], slopes, slopes[0], pool)
    finally:
        for name in PIECES:
            setattr(rasterizer, name, originals[name])
    return {name: min(values) for name, values in times.items()}, frame


def wall(splats: Splats, view: rasterizer.View, threads: int, passes: int = 7) -> float:
    """Least wall time in seconds of a pass forward and backward."""
    arrays = (splats.means, splats.quats, splats.scales, splats.opacities, splats.sh)
    slopes = np.random.default_rng(0).normal(0, 1e-6, (3, SIZE, SIZE)).astype(np.float32)
    pool, black = Workers(threads), np.zeros(3, np.float32)
    times = []
    for _ in range(passes):
        start = time.perf_counter()
        frame = rasterizer.draw(*arrays, view, black, pool)
        rasterizer.draw_backward(frame, *arrays[:3], arrays[4], slopes, slopes[0], pool)
        times.append(time.perf_counter() - start)
    return min(times)


def pixels_drawn(frame: rasterizer.Frame) -> int:
    """Pixels in the boxes of all splats, tile by tile, up to each tile's end."""
    total = 0
    for tile, (start, end) in enumerate(zip(frame.starts, frame.ends, strict=False)):
        x0, y0 = tile % frame.tiles_x * TILE_X, tile // frame.tiles_x * TILE_Y
        box = frame.box[frame.pairs[start:end]]
        w = np.minimum(box[:, 1] - x0, TILE_X) - np.maximum(box[:, 0] - x0, 0)
        h = np.minimum(box[:, 3] - y0, TILE_Y) - np.maximum(box[:, 2] - y0, 0)
        total += int((w * h).sum())
    return total


def lanes_worked(frame: rasterizer.Frame) -> int:
    """Pixels of the blocks that every tile's splats reach, up to the tile's end."""
    bits = frame.touched.view(np.uint8)
    reached = np.unpackbits(bits).reshape(-1, 32).sum(1)
    ranges = zip(frame.starts, frame.ends, strict=False)
    return WIDTH * int(sum(reached[start:end].sum() for start, end in ranges))


def plain_torch(splats: Splats, view: rasterizer.View, threads: int) -> float:
    """Wall seconds of one pass of the plain torch rasterizer."""
    torch.set_num_threads(threads)
    parts = (splats.means, splats.quats, splats.scales, splats.opacities, splats.sh)
    arguments = [torch.tensor(p).requires_grad_(True) for p in parts]
    start = time.perf_counter()
    reference.rasterize(*arguments, view, torch.zeros(3)).image.sum().backward()
    seconds = time.perf_counter() - start
    torch.set_num_threads(1)
    return seconds


def loss_time() -> float:
    """Least processor time in seconds of the loss with its gradient on the whole picture."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand((2, 3, SIZE, SIZE), generator=g)
    x.requires_grad_(True)
    l1_dssim(x, y).backward()
    return least(lambda: l1_dssim(x, y).backward())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--surface", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 50_000, 200_000])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-reference", action="store_true")
    options = parser.parse_args()
    points, fma, rows = surface(options.surface), peak(), []
    print(f"FMA peak of one thread {fma / 1e9:.0f} GFLOP/s; times in ms, one thread")
    head = (
        "splats",
        "pairs",
        "covered",
        *PIECES,
        "full pass",
        f"wall x{options.threads}",
        "peak",
        "lanes",
    )
    print("  ".join(f"{h:>10}" for h in head))
    for count in options.counts:
        splats, view = scene(points, count)
        times, frame = pieces(splats, view)
        work = pixels_drawn(frame) * (FORWARD + BACKWARD)
        raster_seconds = times["raster"] + times["raster_backward"]
        share = work / raster_seconds / fma
        lanes = lanes_worked(frame) * (FORWARD + BACKWARD) / raster_seconds / fma
        row = {
            "splats": splats.count,
            "pairs": len(frame.pairs),
            "covered": float((frame.light < 0.5).mean()),
            "ms": {k: round(v * 1e3, 2) for k, v in times.items()},
            "full_pass_ms": round(sum(times.values()) * 1e3, 2),
            "wall_ms": round(wall(splats, view, options.threads) * 1e3, 2),
            "peak_share": round(share, 4),
            "peak_share_lanes": round(lanes, 4),
        }
        rows.append(row)
        cells = [f"{row['splats']}", f"{row['pairs']}", f"{row['covered']:.2f}"]
        cells += [f"{t:.2f}" for t in row["ms"].values()]
        cells += [
            f"{row['full_pass_ms']:.1f}",
            f"{row['wall_ms']:.1f}",
            f"{share:.1%}",
            f"{lanes:.1%}",
        ]
        print("  ".join(f"{c:>10}" for c in cells))
    result: dict[str, Any] = {"fma_gflops": round(fma / 1e9, 1), "rows": rows}
    result["loss_ms"] = round(loss_time() * 1e3, 2)
    print(f"loss with gradient, {SIZE} x {SIZE}: {result['loss_ms']} ms on the processor")
    if not options.no_reference:
        splats, view = scene(points, 50_000)
        slow, fast = plain_torch(splats, view, options.threads), wall(splats, view, options.threads)
        result["reference_ms"], result["speedup"] = round(slow * 1e3), round(slow / fast, 1)
        print(f"plain torch, 50,000 splats: {slow * 1e3:.0f} ms, {slow / fast:.0f} times slower")
    result.update(threads=options.threads, machine=platform.processor() or platform.machine())
    print(json.dumps(result))


if __name__ == "__main__":
    main()
