"""graphdeco's own pictures: render.py over all turntable cameras, and metrics.py.

The experiment exchanged the data set's transforms_test.json, rendered, and put it back. Here the
cameras are a data set of their own beside a second model folder that shares the trained .ply, so
nothing is exchanged and a kill leaves nothing wrong.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.errors import MissingError, StageError
from ...core.foreign import Finished
from ...core.ply import Splats
from ...core.programs import help_of, known, options_of
from ...core.run import Run, atomic, write_json
from ..images import read_rgb
from ..splat.drawing import draw_on_black, drawable
from . import external, layouts, printed
from .graphdeco_job import Job

AGREE = 25.0
"""dB between graphdeco's picture and ours of the same splat, below which something is off."""


def views_of(run: Run) -> Path:
    """The model folder whose ``test/ours_N/renders`` hold the turntable's views."""
    return run.model / "graphdeco_views"


def look(job: Job, splats: Splats) -> None:
    """Let graphdeco judge and draw its model as the settings ask; failures are warnings, since the
    result is there already and the render stage draws all views itself.
    """
    try:
        if job.settings.graphdeco_metrics and not (job.model / "results.json").is_file():
            _metrics(job)
        if job.settings.graphdeco_renders and not (views_of(job.run) / "agreement.json").is_file():
            _all_views(job, splats)
    except (OSError, MissingError, StageError) as error:
        reason = str(error).rstrip(".")
        job.emit(
            "warning",
            message=f"graphdeco's pictures cannot be had ({reason}); the trained splat is not "
            "touched.",
        )


def _script(job: Job, name: str, model: Path, wanted: Sequence[Sequence[str]]) -> bool:
    """Run render.py or metrics.py on a model folder of ours; whether it ended well."""
    options = options_of(help_of((job.checkout.python, name), str(job.checkout.root)))
    arguments, _ = known(wanted, options)
    command = [job.checkout.python, name, *arguments]
    follower = external.Follower(lambda event, **fields: None, name, printed.graphdeco, 1)
    ended: Finished = external.follow(
        job.run, job.settings, command, "graphdeco", follower, cwd=job.checkout.root
    )
    if ended.code == 0:
        return True
    log = external.log_of(job.run, "graphdeco")
    error = external.failure(ended, f"graphdeco's {name}", 0, log, job.settings.silence)
    job.emit("warning", message=f"{str(error).rstrip('.')}; the trained splat is not touched.")
    return False


def _metrics(job: Job) -> None:
    """Held-out frames drawn and judged by graphdeco: ``results.json`` in its model folder."""
    job.emit("phase", message="graphdeco judges the held-out frames")
    steps = str(job.settings.train_steps)
    render = [("--model_path", str(job.model)), ("--iteration", steps), ("--skip_train",)]
    if _script(job, "render.py", job.model, render):
        _script(job, "metrics.py", job.model, [("--model_paths", str(job.model))])


def _all_views(job: Job, splats: Splats) -> None:
    job.emit("phase", message="graphdeco draws all turntable cameras")
    run, steps = job.run, job.settings.train_steps
    model, data = views_of(run), run.model / "graphdeco_views_data"
    frames = layouts.all_views(run, centered=True)
    if job.layout == "colmap":
        layouts.write_colmap_scene(run, data, frames, job.background)
    else:
        layouts.write_transforms_scene(run, data, frames[:1], frames, job.background)
    _share_model(job, model)
    wanted = [
        ("--model_path", str(model)),
        ("--source_path", str(data)),
        ("--iteration", str(steps)),
        ("--resolution", "1"),
    ]
    if job.layout == "transforms":
        wanted.append(("--skip_train",))
    if not _script(job, "render.py", model, wanted):
        return
    pictures = _in_order(model, steps, len(frames), job.layout)
    missing = [f.frame.frame for f, p in zip(frames, pictures, strict=True) if not p.is_file()]
    if missing:
        job.emit("warning", message=f"graphdeco's render.py left out frame {missing[0]}.")
        return
    _compare(job, splats, frames, pictures)
    shutil.rmtree(data, ignore_errors=True)


def _share_model(job: Job, model: Path) -> None:
    """A model folder with the trained .ply and the settings it was trained with.

    cfg_args is Python that render.py evaluates; this one was written by the checkout's own train.py
    into a folder of ours.
    """
    for source in (job.result, job.model / "cfg_args"):
        target = model / source.relative_to(job.model)
        with atomic(target) as temporary:
            shutil.copyfile(source, temporary)


def _in_order(model: Path, steps: int, count: int, layout: str) -> list[Path]:
    """The picture of each turntable frame among render.py's two sets.

    With COLMAP's layout every 8th name is "test" and the rest "train"; each set counts from 0.
    """
    out = []
    for k in range(count):
        held = layout == "transforms" or k % layouts.HOLD_OUT == 0
        number = k if layout == "transforms" else k // layouts.HOLD_OUT
        if not held:
            number = k - k // layouts.HOLD_OUT - 1
        folder = model / ("test" if held else "train") / f"ours_{steps}" / "renders"
        out.append(folder / f"{number:05d}.png")
    return out


def _compare(
    job: Job, splats: Splats, frames: Sequence[layouts.Framed], pictures: Sequence[Path]
) -> None:
    """Our rasterizer and graphdeco's must agree on the same splat from the same camera.

    If not, the axes, the principal point or the conventions of one of them differ, which no loss
    would show.
    """
    every = max(1, len(frames) // 4)
    scores = {}
    for framed, path in list(zip(frames, pictures, strict=True))[::every][:4]:
        image, alpha = draw_on_black(drawable(splats), framed.camera)
        ours = image + np.asarray(job.background, np.float32)[:, None, None] * (1 - alpha)
        theirs = read_rgb(path).astype(np.float32).transpose(2, 0, 1) / 255
        if theirs.shape != ours.shape:
            scores[framed.frame.frame] = 0.0
            continue
        error = float(np.mean((np.clip(ours, 0, 1) - theirs) ** 2))
        scores[framed.frame.frame] = min(99.0, -10 * math.log10(max(error, 1e-12)))
    worst = min(scores.values())
    write_json(
        views_of(job.run) / "agreement.json",
        {
            "psnr": {str(k): round(v, 2) for k, v in scores.items()},
            "pictures": [p.relative_to(job.run.root).as_posix() for p in pictures],
        },
    )
    same = not job.settings.graphdeco_antialiasing and not job.settings.graphdeco_exposure
    if worst < AGREE and same:
        job.emit(
            "warning",
            message=f"graphdeco's own picture of the splat differs from ours ({worst:.1f} dB); "
            f"compare gs/model/graphdeco_views with renders/ before you rely on either.",
        )
