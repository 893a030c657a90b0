"""A stand-in for graphdeco's render.py: same arguments, bars and files."""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser, Namespace

import numpy as np
import standin
from PIL import Image
from standin import bar, say


def combined(parser):
    """The command line over cfg_args, which it evaluates as the real one does."""
    given = parser.parse_args(sys.argv[1:])
    path = os.path.join(given.model_path, "cfg_args")
    say(f"Looking for config file in {path}")
    with open(path) as file:
        say(f"Config file found: {path}")
        merged = vars(eval(file.read(), {"Namespace": Namespace}))
    merged.update({k: v for k, v in vars(given).items() if v is not None})
    return Namespace(**merged)


def render_set(model_path, name, iteration, views, splats, background):
    folders = [os.path.join(model_path, name, f"ours_{iteration}", k) for k in ("renders", "gt")]
    for folder in folders:
        os.makedirs(folder, exist_ok=True)
    start = time.monotonic()
    for k, view in enumerate(views):
        pictures = (standin.render(view, splats, background), view.image)
        for folder, picture in zip(folders, pictures, strict=True):
            pixels = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(os.path.join(folder, f"{k:05d}.png"))
        bar("Rendering progress", k + 1, len(views), start)
    sys.stderr.write("\n")


def main():
    parser = ArgumentParser(description="Testing script parameters")
    names = standin.model_options(parser, sentinel=True)
    standin.pipeline_options(parser)
    parser.add_argument("--iteration", default=-1, type=int)
    parser.add_argument("--skip_train", action="store_true")
    parser.add_argument("--skip_test", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    arguments = combined(parser)
    say("Rendering " + arguments.model_path)
    dataset = standin.extract(arguments, names)
    clouds = os.path.join(dataset.model_path, "point_cloud")
    iteration = arguments.iteration
    if iteration == -1:
        iteration = max(int(n.split("_")[-1]) for n in os.listdir(clouds))
    say(f"Loading trained model at iteration {iteration}")
    train, test, _ = standin.read_scene(
        dataset.source_path, dataset.images, dataset.white_background, dataset.eval
    )
    splats = standin.load(os.path.join(clouds, f"iteration_{iteration}", "point_cloud.ply"))
    background = (1, 1, 1) if dataset.white_background else (0, 0, 0)
    for name, views, skip in (
        ("train", train, arguments.skip_train),
        ("test", test, arguments.skip_test),
    ):
        if not skip:
            render_set(dataset.model_path, name, iteration, views, splats, background)


if __name__ == "__main__":
    main()
