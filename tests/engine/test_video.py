"""Videos read back by an independent reader: count, size, rate, colors."""

from __future__ import annotations

import threading
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.engine.images import write_png
from gs_diffusion_addon.engine.video import encode, turntable_video, write_video
from tests.processes import LIMIT


def read_back(path: Path) -> tuple[dict, np.ndarray]:
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    pictures = [np.frombuffer(raw, np.uint8).reshape(height, width, 3) for raw in reader]
    return meta, np.stack(pictures)


def write_frames(
    folder: Path, colors: list[tuple[int, ...]], width: int, height: int
) -> list[Path]:
    paths = []
    for k, color in enumerate(colors):
        pixels = np.empty((height, width, len(color)), np.uint8)
        pixels[:] = color
        paths.append(folder / f"r_{k}.png")
        write_png(paths[-1], pixels)
    return paths


@pytest.mark.parametrize("size", [(64, 48), (63, 47), (48, 63)])
def test_every_frame_in_order_with_its_color(tmp_path: Path, size: tuple[int, int]) -> None:
    colors = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128), (250, 250, 10)]
    frames = write_frames(tmp_path, colors, *size)
    write_video(tmp_path / "a.mp4", frames)
    meta, pictures = read_back(tmp_path / "a.mp4")
    assert len(pictures) == len(colors)
    assert meta["fps"] == 30
    assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p")
    assert meta["size"] == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    for picture, color in zip(pictures, colors, strict=True):
        middle = picture[8:-8, 8:-8].reshape(-1, 3).mean(axis=0)
        assert np.abs(middle - color).max() < 4, (middle, color)


def test_alpha_is_composited_and_odd_sides_get_background(tmp_path: Path) -> None:
    frames = write_frames(tmp_path, [(255, 255, 255, 0)] * 3, 33, 33)
    write_video(tmp_path / "a.mp4", frames, background=(1.0, 0.0, 0.0), fps=24)
    meta, pictures = read_back(tmp_path / "a.mp4")
    assert meta["fps"] == 24
    assert pictures.shape == (3, 34, 34, 3)
    assert np.abs(pictures.reshape(-1, 3).astype(int) - (255, 0, 0)).max() < 6


def test_bad_frames_leave_nothing_behind(tmp_path: Path) -> None:
    frames = write_frames(tmp_path, [(1, 2, 3)] * 3, 32, 32)
    (tmp_path / "other").mkdir()
    other = write_frames(tmp_path / "other", [(1, 2, 3)], 32, 34)
    for bad in ([], [*frames, *other], [*frames, tmp_path / "none.png"]):
        with pytest.raises(InputError):
            write_video(tmp_path / "videos" / "a.mp4", bad)
    assert not list(tmp_path.glob("videos/*"))


def test_turntable_video_takes_ring_0_once(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.train_main.mkdir()
    write_frames(run.train_main, [(10 * k, 0, 0, 255) for k in range(11)], 32, 32)
    events = []
    settings = Settings(views=8, rings="30:3")
    for _ in range(2):
        turntable_video(run, settings, lambda event, **f: events.append((event, f)))
    _, pictures = read_back(tmp_path / "iter0.mp4")
    assert len(pictures) == 8
    assert [f["path"] for e, f in events if e == "frame_done"] == ["iter0.mp4"]


def test_a_picture_that_cannot_be_made_does_not_leave_ffmpeg_waiting(tmp_path: Path) -> None:
    """An OSError of the pictures' maker was taken for ffmpeg's, which then waited for more."""
    said: list[BaseException] = []

    def pictures():
        yield np.zeros((16, 16, 3), np.uint8)
        raise PermissionError(13, "Permission denied", "r_1.png")

    def work() -> None:
        try:
            encode(tmp_path / "a.mp4", pictures(), (16, 16))
        except OSError as error:
            said.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(LIMIT)
    assert [type(error) for error in said] == [PermissionError]
    assert list(tmp_path.iterdir()) == []
