"""A stand-in for graphdeco's train.py: same arguments, lines, bars, files and ways to fail.

STANDIN_FAULT: oom, no_extension, port, old_checkout, killed (once, half-way), nan, hang, no_card,
torn_checkpoint (killed while it writes one). STANDIN_SECONDS: how long a step takes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import zipfile
from argparse import ArgumentParser, Namespace
from random import Random

import standin
from diff_gaussian_rasterization import SparseGaussianAdam  # noqa: F401
from simple_knn import _C  # noqa: F401
from standin import FAULT, OLD, bar, say


def fail_as_asked(step, half, model):
    """The asked fault, when it is time for it."""
    if FAULT == "oom" and step == half:
        raise MemoryError  # replaced below by what torch prints
    marker = os.path.join(model, "standin_was_killed")
    if FAULT in ("killed", "torn_checkpoint") and step > half and not os.path.exists(marker):
        open(marker, "w").close()
        if FAULT == "torn_checkpoint":
            with open(os.path.join(model, f"chkpnt{step}.pth"), "wb") as file:
                file.write(b"PK\x03\x04 half a checkpoint")
        os.kill(os.getpid(), signal.SIGKILL)
    if FAULT == "hang" and step >= half:
        time.sleep(600)


def training(dataset, arguments):
    os.makedirs(dataset.model_path, exist_ok=True)
    say(f"Output folder: {dataset.model_path}")
    with open(os.path.join(dataset.model_path, "cfg_args"), "w") as file:
        file.write(str(Namespace(**vars(dataset))))
    say("Tensorboard not available: not logging progress")
    train, test, ply = standin.read_scene(
        dataset.source_path,
        dataset.images,
        dataset.white_background,
        dataset.eval,
        "" if OLD else dataset.depths,
    )
    say("Loading Training Cameras")
    say("Loading Test Cameras")
    rows = standin.splats_of(ply, dataset.sh_degree)
    say(f"Number of points at initialisation :  {len(rows)}")
    first, total = 0, arguments.iterations
    if arguments.start_checkpoint:
        with zipfile.ZipFile(arguments.start_checkpoint) as archive:
            first = json.loads(archive.read("iteration"))
    start, loss, pause = time.monotonic(), 0.3, float(os.environ.get("STANDIN_SECONDS", "0.002"))
    random = Random(0)
    bar("Training progress", 0, total - first, start)
    for step in range(first + 1, total + 1):
        time.sleep(pause)
        fail_as_asked(step, total // 2, dataset.model_path)
        loss = 0.4 * (0.02 + 0.2 * random.random() * (1 - step / total)) + 0.6 * loss
        if FAULT == "nan" and step >= total // 2:
            loss = float("nan")
        if step % 10 == 0:
            extra = f", Loss={loss:.7f}" + ("" if OLD else ", Depth Loss=0.0000000")
            bar("Training progress", step - first, total - first, start, extra)
        if step == total:
            sys.stderr.write("\n")
        report(step, arguments, train, test, rows, dataset)


def report(step, arguments, train, test, rows, dataset):
    """Judging, saving and checkpointing when asked for."""
    if step in arguments.test_iterations:
        model = (rows[:, :3], 0.5 + standin.C0 * rows[:, 6:9], 0.92 + 0 * rows[:, 0], None)
        sigmas = standin.np.exp(rows[:, -5])
        black = (1, 1, 1) if dataset.white_background else (0, 0, 0)
        for name, views in (("test", test[:2]), ("train", train[:1])):
            if views:
                scores = [
                    standin.psnr(standin.render(v, (*model[:3], sigmas), black), v.image)
                    for v in views
                ]
                say()
                score = sum(scores) / len(scores)
                say(f"[ITER {step}] Evaluating {name}: L1 0.0095 PSNR {score}")
    if step in arguments.save_iterations:
        say(f"\n[ITER {step}] Saving Gaussians")
        folder = os.path.join(dataset.model_path, "point_cloud", f"iteration_{step}")
        standin.save(os.path.join(folder, "point_cloud.ply"), rows)
    if step in arguments.checkpoint_iterations:
        say(f"\n[ITER {step}] Saving Checkpoint")
        path = os.path.join(dataset.model_path, f"chkpnt{step}.pth")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("iteration", json.dumps(step))


def main():
    parser = ArgumentParser(description="Training script parameters")
    names = standin.model_options(parser)
    standin.optimization_options(parser)
    standin.pipeline_options(parser)
    parser.add_argument("--ip", type=str, default="127.0.0.1")
    parser.add_argument("--port", type=int, default=6009)
    parser.add_argument("--debug_from", type=int, default=-1)
    parser.add_argument("--detect_anomaly", action="store_true", default=False)
    parser.add_argument("--test_iterations", nargs="+", type=int, default=[7_000, 30_000])
    parser.add_argument("--save_iterations", nargs="+", type=int, default=[7_000, 30_000])
    parser.add_argument("--quiet", action="store_true")
    if not OLD:
        parser.add_argument("--disable_viewer", action="store_true", default=False)
    parser.add_argument("--checkpoint_iterations", nargs="+", type=int, default=[])
    parser.add_argument("--start_checkpoint", type=str, default=None)
    arguments = parser.parse_args(sys.argv[1:])
    arguments.save_iterations.append(arguments.iterations)
    with open(os.environ.get("STANDIN_CALLS", os.devnull), "a") as file:
        file.write(json.dumps(sys.argv[1:]) + "\n")
    say("Optimizing " + arguments.model_path)
    listener = socket.socket()
    if OLD or not arguments.disable_viewer:
        listener.bind((arguments.ip, arguments.port))
    if FAULT == "port":
        raise OSError(98, "Address already in use")
    try:
        training(standin.extract(arguments, names), arguments)
    except MemoryError:
        sys.stderr.write(
            "\nTraceback (most recent call last):\n"
            "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; "
            "23.69 GiB total capacity; 21.02 GiB already allocated; 1.21 GiB free)\n"
        )
        sys.exit(1)
    say("\nTraining complete.")


if __name__ == "__main__":
    main()
