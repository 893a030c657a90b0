"""Stage ``render``: the trained splats seen from every turntable camera, and the iteration's
video.
"""

from __future__ import annotations

import shutil

from ..core.dataset import read_transforms
from ..core.errors import InputError
from ..core.events import Emit, Progress
from ..core.ply import read_splats
from ..core.run import Run, atomic
from ..core.settings import Settings
from .images import write_png
from .splat.backends import processor
from .splat.drawing import drawable, render
from .splat.runtime import use_threads
from .train import result_path
from .video import write_video


def run_stage(run: Run, settings: Settings, emit: Emit) -> None:
    """Write run.renders (RGBA, straight alpha, every frame), run.splat and run.video; done ones
    are kept.
    """
    use_threads(settings.threads)
    source = result_path(run, settings)
    if not source.is_file():
        raise InputError(f"{source} is missing; run the train stage again.")
    frames = read_transforms(run.transforms_main)
    left = [f for f in frames if not run.render(f.frame).is_file()]
    progress = Progress(emit, len(frames), "frames", done=len(frames) - len(left))
    if left:
        splats = drawable(read_splats(source))
        emit("phase", message="Compiling the kernels")
        backend, sentence = processor()
        if sentence:
            emit("warning", message=sentence)
        emit("phase", message="Rendering the splats")
        for frame in left:
            path = run.render(frame.frame)
            write_png(path, render(splats, frame.camera, backend))
            place = path.relative_to(run.root).as_posix()
            emit("frame_done", frame=frame.frame, path=place)
            progress.tick(image=place)
    if not run.splat.is_file():
        with atomic(run.splat) as temporary:
            shutil.copyfile(source, temporary)
    if not run.video.is_file():
        emit("phase", message="Writing the video")
        ring = sorted((f for f in frames if f.ring == 0), key=lambda f: f.frame)
        write_video(run.video, [run.render(f.frame) for f in ring])
