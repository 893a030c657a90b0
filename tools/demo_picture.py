"""The picture on top of README, out of a finished demo: a row each for the turntable, the restyled
and propagated frames, and the splat.

``.venv-worker/bin/python tools/demo_picture.py runs/demo docs/pictures/demo.jpg``
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gs_diffusion_addon.core.run import Run

FRAMES = (0, 6, 12, 24, 50, 66)  # around the ring, then from above and from below
BACKGROUND = (37, 39, 43)
MARGIN = 110  # pixels for the rows' names


def picture(root: Path, frames: tuple[int, ...], side: int) -> Image.Image:
    """The sheet: a column for each of ``frames``, ``side`` pixels high each."""
    run = Run(root, 1)
    rows = {
        "turntable": run.frame,
        "restyled,\npropagated": run.stylized_frame,
        "the splat": run.render,
    }
    sheet = Image.new("RGB", (MARGIN + side * len(frames), side * len(rows)), BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(17)
    for y, (name, path_of) in enumerate(rows.items()):
        draw.text((10, y * side + side // 2 - 10), name, (225, 225, 225), font)
        for x, frame in enumerate(frames):
            with Image.open(path_of(frame)) as opened:
                view = opened.convert("RGBA")
            view.thumbnail((side, side), Image.Resampling.LANCZOS)
            sheet.paste(view, (MARGIN + x * side, y * side), view)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, nargs="+", default=FRAMES)
    parser.add_argument("--side", type=int, default=220)
    given = parser.parse_args()
    picture(given.run, tuple(given.frames), given.side).save(given.out, quality=88)


if __name__ == "__main__":
    main()
