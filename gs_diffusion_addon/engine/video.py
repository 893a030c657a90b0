"""Frames to video: H.264 in an MP4 that every player opens, from RGB or RGBA pictures."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import imageio_ffmpeg
import numpy as np

from ..core.errors import InputError, MissingError, StageError
from ..core.events import Emit
from ..core.run import Run, atomic
from ..core.settings import Settings
from .images import BLACK, Bytes, over, read_rgba, to_bytes

FPS = 30


def write_video(
    path: Path, frames: Sequence[Path], background: Sequence[float] = BLACK, fps: float = FPS
) -> None:
    """Write the pictures ``frames`` (all of one size) as an H.264 video, atomically.

    Alpha is composited over ``background`` (3 floats of 0..1, sRGB). H.264 with 4:2:0 colors needs
    even sides, so an odd side gets one more row or column of background. Colors are converted and
    tagged as BT.709, or players would guess the matrix from the size.

    Raises InputError for no frames, an unreadable one or mixed sizes, MissingError without ffmpeg,
    StageError if ffmpeg fails.
    """
    if not frames:
        raise InputError(f"The video {path.name} has no frames.")
    height, width = read_rgba(frames[0]).shape[:2]
    pictures = (_opaque(frame, width, height, background) for frame in frames)
    encode(path, pictures, (width + width % 2, height + height % 2), fps)


def encode(path: Path, pictures: Iterable[Bytes], size: tuple[int, int], fps: float = FPS) -> None:
    """Write (height, width, 3) uint8 ``pictures`` of one even ``size`` (width, height) as a video,
    atomically. Raises MissingError without ffmpeg, StageError if it fails.
    """
    with atomic(path) as temporary, tempfile.TemporaryFile() as log:
        command = _command(temporary, *size, fps)
        # The log goes to a file: a full pipe that nobody reads would stop ffmpeg.
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log
        )
        assert child.stdin is not None
        try:
            taken = _feed(child.stdin, pictures)
            code = child.wait() or int(not taken)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        if code:
            log.seek(0)
            lines = log.read().decode("utf-8", "replace").strip().splitlines()
            reason = lines[-1] if lines else f"exit code {code}"
            raise StageError(f"ffmpeg could not write {path.name}: {reason}.")


def _feed(stream: IO[bytes], pictures: Iterable[Bytes]) -> bool:
    """Whether a program took all pictures; what goes wrong with making one is passed on."""
    for picture in pictures:
        try:
            stream.write(picture.tobytes())
        except OSError:  # it is gone: a broken pipe, on Windows an invalid argument
            return False
    try:
        stream.close()
    except OSError:
        return False
    return True


def turntable_video(run: Run, settings: Settings, emit: Emit) -> None:
    """iter0.mp4 from ring 0 of the turntable, over black; kept if it is already there."""
    video = run.at(0).video
    if video.exists():
        return
    emit("phase", message="Writing the frames' video")
    write_video(video, [run.frame(k) for k in range(settings.views)])
    emit("frame_done", path=video.relative_to(run.root).as_posix())


def _command(path: Path, width: int, height: int, fps: float) -> list[str]:
    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise MissingError(
            f"There is no ffmpeg for the video ({error}); install imageio-ffmpeg or ffmpeg."
        ) from None
    raw = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {fps:g}".split()
    matrix = ["-vf", "scale=out_color_matrix=bt709:out_range=tv"]
    tags = [
        "-colorspace",
        "bt709",
        "-color_primaries",
        "bt709",
        "-color_trc",
        "bt709",
        "-color_range",
        "tv",
    ]
    codec = [
        "-c:v",
        "libx264",
        "-preset",
        "medium",
        "-crf",
        "14",
        "-pix_fmt",
        "yuv420p",
        "-movflags",
        "+faststart",
    ]
    start = [program, "-y", "-nostdin", "-loglevel", "error"]
    return [*start, *raw, "-i", "-", "-an", *matrix, *tags, *codec, str(path)]


def _opaque(frame: Path, width: int, height: int, background: Sequence[float]) -> Bytes:
    """The frame over the background as (even height, even width, 3) uint8."""
    pixels = read_rgba(frame)
    if pixels.shape[:2] != (height, width):
        raise InputError(
            f"{frame} is {pixels.shape[1]}x{pixels.shape[0]} pixels; the video's first frame is "
            f"{width}x{height}."
        )
    even = np.empty((height + height % 2, width + width % 2, 3), np.uint8)
    even[:] = to_bytes(background)
    even[:height, :width] = to_bytes(over(pixels, background))
    return even
