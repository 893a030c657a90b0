"""``gsd splat convert --to colmap``: a data set as COLMAP leaves it, for other trainers.

Apart from the other tools, since it needs neither torch nor the kernels.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ...core import colmap
from ...core.cameras import Camera
from ...core.dataset import Frame
from ...core.errors import InputError
from ...core.events import Emit, Progress
from ...core.run import TEMPORARY
from ...core.settings import Settings
from ...core.splat_tools import points_in
from ..dataset import place_file
from ..images import has_alpha, over, read_rgba, size_of, to_bytes, write_png
from .sources import IMAGES, check_size, frames_of, home_of, picture_path

COLORS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}


def do(job: Mapping[str, Any], settings: Settings, emit: Emit) -> None:
    """Do the tool that ``job`` names."""
    write_folder(job, emit)


def write_folder(job: Mapping[str, Any], emit: Emit) -> None:
    """Write the cameras of ``job['transforms']``, their pictures and the points of ``job['file']``
    into the new folder ``job['out']``.

    The world stays what it is. Pictures are linked, or laid on ``job['background']`` where they
    have alpha. The folder is made beside its place and moved there whole. Raises InputError for a
    folder with something in it, and for frames without pictures.
    """
    out, source = Path(job["out"]), Path(job["transforms"])
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty; name a new folder with --out.")
    points, frames = points_in(Path(job["file"])), frames_of(source, straight=True)
    if not frames:
        raise InputError(f"{source} lists no frames, so there are no cameras to write.")
    making = out.with_name(f"{TEMPORARY}{out.name}")
    if making.exists():  # of a call that was killed
        shutil.rmtree(making)
    try:
        views = _place_all(home_of(source), frames, making / IMAGES, job["background"], emit)
        colmap.write_cameras(making / "sparse" / "0", views, bool(job["text"]))
        colmap.write_points3d(making / "sparse" / "0", points, bool(job["text"]))
        if out.exists():
            out.rmdir()
        making.rename(out)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    emit("made", text=f"{len(frames)} cameras and {len(points.positions)} points in {out}")


def _place_all(
    home: Path, frames: Sequence[Frame], folder: Path, background: str, emit: Emit
) -> list[tuple[str, Camera]]:
    """Fill the folder with the frames' pictures; their names there and cameras."""
    emit("phase", message="Placing the pictures")
    progress, clear = Progress(emit, len(frames), "frames"), False
    views = []
    for name, frame in zip(picture_names(frames), frames, strict=True):
        path = picture_path(home, frame.file_path)
        check_size(path, size_of(path), frame.camera)
        alpha = has_alpha(path)
        clear |= alpha
        if alpha and background in COLORS:
            name = f"{PurePosixPath(name).stem}.png"
            write_png(folder / name, to_bytes(over(read_rgba(path), COLORS[background])))
        else:
            place_file(path, folder / name)
        views.append((name, frame.camera))
        progress.tick()
    if clear and background not in COLORS:
        emit(
            "warning",
            message="The pictures have alpha, which graphdeco's and gsplat's trainers ignore; give "
            "--background black or white for them.",
        )
    return views


def picture_names(frames: Sequence[Frame]) -> list[str]:
    """A name for each picture in one flat folder, without spaces, which COLMAP's text files have
    no place for; folders and then numbers come in front only where names would be equal.
    """
    whole = [PurePosixPath(picture_path(Path(), f.file_path).as_posix()) for f in frames]
    short = [p.name.replace(" ", "_") for p in whole]
    for names in (short, ["_".join(p.parts).replace(" ", "_") for p in whole]):
        # Without endings, since one that is laid on a color becomes a .png.
        if max(Counter(PurePosixPath(name.lower()).stem for name in names).values()) == 1:
            return names
    return [f"{k:05d}_{name}" for k, name in enumerate(short)]
