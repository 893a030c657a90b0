"""From the second iteration on: how far the last splat has left the model, and guides that follow.

A splat may grow what the model does not have (horns, hair) or lose a part. Where it disagrees with
the model's geometry, over more than an edge's width, this iteration's guides are the splat's own:
``iterK/guides`` holds the frames concerned, ``drift.json`` the measure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ..core.dataset import Frame
from ..core.events import Emit, Progress
from ..core.exr import BACKGROUND_DEPTH, Guide, read_guide
from ..core.ply import read_splats
from ..core.run import Run, read_json, write_json
from ..core.settings import Settings
from .guides import Bytes, Mask, View, cameras
from .images import read_rgba

if TYPE_CHECKING:
    from .splat_guides import Depth, Floats, Ints

# What draws splats is imported where it is needed: it takes torch, two seconds, which a first
# iteration would wait for at each stage without drawing any.

FAR = 0.1  # of the model's depth in the picture: closer than that the splat is on its surface
WIDTH = 0.012  # of the picture's side: what is narrower is an edge and not a part
GONE = 0.2  # splat's alpha below which the model's surface is lost
WORTH = 0.001  # share of the silhouette from which on a frame gets its own guide


def follow(run: Run, settings: Settings, emit: Emit) -> None:
    """Write drift.json and the guides of frames where the last splat has left the model.

    Nothing to do in the first iteration, with ``follow_splat`` off, without a last splat, or if
    it is done.
    """
    done, last = run.folder / "drift.json", run.at(run.iteration - 1).splat
    if run.iteration < 2 or not settings.follow_splat or _followed(run) or not last.is_file():
        return
    from .splat.backends import processor
    from .splat.drawing import drawable
    from .splat_guides import draw_depth, write_guide

    emit("phase", message="Comparing the last splat with the model")
    frames, splats = cameras(run), drawable(read_splats(last))
    backend, _ = processor()
    shares, distances, replaced = {}, [], 0
    progress = Progress(emit, len(frames), "frames")
    for frame in frames:
        guide = read_guide(run.guide(frame.frame))
        drawn = draw_depth(splats, frame.camera, backend)
        apart, distance = disagreement(guide, drawn)
        silhouette = max(int((guide.mask | drawn.mask).sum()), 1)
        shares[str(frame.frame)] = round(float(apart.sum()) / silhouette, 5)
        distances.append(distance)
        if shares[str(frame.frame)] > WORTH:
            passes = merged(frame, guide, drawn, apart)
            write_guide(run.own_guide(frame.frame), frame.camera, *passes)
            replaced += 1
        progress.tick()
    values = list(shares.values())
    write_json(
        done,
        {
            "share": round(float(np.mean(values)), 6),
            "largest": max(values),
            "distance": round(float(np.mean(distances)), 6),
            "frames_replaced": replaced,
            "meaning": "share: pixels of the silhouette where the last splat has left the model; "
            "distance: mean depth between both surfaces over the model's depth",
            "frames": shares,
        },
    )
    if replaced:
        emit(
            "warning",
            message=f"The splat has left the model in {replaced} of {len(frames)} views "
            f"({100 * float(np.mean(values)):.1f} % of the silhouette); there the geometry is "
            "taken from the splat.",
        )


def _followed(run: Run) -> bool:
    """Whether drift.json is there, and each guide that it tells of."""
    done = run.folder / "drift.json"
    shares = read_json(done)["frames"] if done.is_file() else None
    return shares is not None and all(
        share <= WORTH or run.own_guide(int(number)).is_file() for number, share in shares.items()
    )


def disagreement(guide: Guide, drawn: Depth) -> tuple[Mask, float]:
    """(h, w) bool where the splat has left the model, and the mean distance of both surfaces.

    The distance is a share of the model's depth in the picture, over pixels both show.
    """
    both = guide.mask & drawn.mask
    if not guide.mask.any():
        return drawn.mask, 0.0
    extent = max(float(np.ptp(guide.depth[guide.mask])), 1e-9)
    gap = np.where(both, np.abs(drawn.depth - guide.depth), 0)
    grown = drawn.mask & ~guide.mask
    lost = guide.mask & (drawn.alpha < GONE)
    apart = (both & (gap > FAR * extent)) | grown | lost
    radius = max(2, round(WIDTH * max(apart.shape)))
    core = ndimage.minimum_filter(apart.astype(np.uint8), 2 * radius + 1, mode="constant") > 0
    parts = ndimage.maximum_filter(core.astype(np.uint8), 2 * radius + 3) > 0
    distance = float(gap[both].mean()) / extent if both.any() else 0.0
    return parts & apart, distance


def merged(
    frame: Frame, guide: Guide, drawn: Depth, apart: Mask
) -> tuple[Floats, Floats, Ints, Ints | None]:
    """Depth, normal, object and material index with the splat's own where ``apart``; what grew has
    the object and material that show most.
    """
    depth = np.where(apart, drawn.depth, guide.depth)
    depth = np.where(depth < BACKGROUND_DEPTH / 10, depth, BACKGROUND_DEPTH).astype(np.float32)
    from .splat_guides import normals_of

    own = normals_of(frame.camera, drawn.depth, drawn.mask)
    shown = depth < BACKGROUND_DEPTH / 10
    normal = np.where(apart[..., None], own, guide.normal) * shown[..., None]

    def numbers(known: Ints) -> Ints:
        seen = known[guide.mask]
        common = int(np.bincount(seen).argmax()) if len(seen) else 1
        return np.where(guide.mask, known, common).astype(np.int32) * shown

    material = None if guide.material is None else numbers(guide.material)
    return depth, normal.astype(np.float32), numbers(guide.index), material


def alpha(run: Run, frame: Frame, view: View, turntable: Bytes) -> Bytes:
    """(h, w) uint8: the turntable's alpha, and the last splat's where this iteration's geometry
    shows something else than the model.
    """
    if not run.own_guide(frame.frame).is_file():
        return turntable
    differs = view.mask != read_guide(run.guide(frame.frame)).mask
    render = run.at(run.iteration - 1).render(frame.frame)
    # A rim around it, so that the splat's soft edge comes along.
    rim = ndimage.maximum_filter(differs.astype(np.uint8), 3) > 0
    splat = read_rgba(render)[..., 3]
    return np.where(differs, splat, np.where(rim, np.maximum(splat, turntable), turntable))
