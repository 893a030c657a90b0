#!/usr/bin/env python3
"""A stand-in for the public ``ebsynth`` command: checks its arguments as the real one does and
writes a picture whose red channel says how many guides it was given and whose green one is the last
guide's mean. EBSYNTH_FAIL=error|nothing|once in the environment makes it misbehave.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def main(arguments: list[str]) -> int:
    guides, weights, named = [], [], {}
    rest = iter(arguments)
    for word in rest:
        if word == "-guide":
            guides.append((next(rest), next(rest)))
        elif word == "-weight":
            weights.append(float(next(rest)))
        else:
            named[word] = next(rest)
    style = np.array(Image.open(named["-style"]))
    output = Path(named["-output"])
    shapes = {np.array(Image.open(p)).shape for pair in guides for p in pair}
    fail = os.environ.get("EBSYNTH_FAIL", "")
    if fail == "error" or os.environ.get("OMP_NUM_THREADS") != "1":
        print("error: could not allocate memory")
        return 1
    flag = output.parent / "tried"
    if fail == "nothing" or (fail == "once" and not flag.exists()):
        flag.touch()
        return 0
    if shapes != {style.shape} or len(weights) != len(guides):
        print("error: guides differ in size")
        return 1
    picture = style.copy()
    picture[..., 0] = len(guides)
    last = np.array(Image.open(guides[-1][1]))
    picture[..., 1] = last[..., 1].max() + 1
    Image.fromarray(picture).save(output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
