"""Stage ``render``: the trained splats seen from every turntable camera, and the iteration's
video.
"""

from __future__ import annotations

import shutil

import numpy as np
import numpy.typing as npt

from ..core.cameras import Camera
from ..core.dataset import read_transforms
from ..core.errors import InputError, StageError
from ..core.events import Emit, Progress
from ..core.ply import Splats, read_splats
from ..core.run import Run, atomic
from ..core.settings import Settings
from .images import Bytes, write_png
from .splat.backends import Backend, builtin, processor
from .splat.rasterizer import View
from .splat.runtime import use_threads
from .train import result_path
from .video import write_video

NEAR = 0.02  # of the distance from the camera to the splats' middle
_LOGIT_LIMIT = 30.0  # infinite logits (alpha was 255) would become NaN in the kernels


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


def drawable(splats: Splats) -> Splats:
    """The splats the kernels can draw; raises StageError if there are none."""
    usable = splats.selected(splats.finite)
    if not usable.count:
        raise StageError("The splat model holds no splat with finite numbers; train it again.")
    logits = np.clip(usable.opacities, -_LOGIT_LIMIT, _LOGIT_LIMIT)
    return Splats(usable.means, usable.sh, logits, usable.scales, usable.quats)


def render(splats: Splats, camera: Camera, backend: Backend | None = None) -> Bytes:
    """(H, W, 4) uint8 with straight alpha: splats in Blender's world seen by ``camera``."""
    image, alpha = draw_on_black(splats, camera, backend)
    straight = image / np.maximum(alpha, 1e-6)
    layers = np.concatenate([straight, alpha[None]]).transpose(1, 2, 0)
    pixels = (np.clip(layers, 0, 1) * 255 + 0.5).astype(np.uint8)
    pixels[pixels[..., 3] == 0] = 0
    return pixels


def draw_on_black(
    splats: Splats, camera: Camera, backend: Backend | None = None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Premultiplied color (3, H, W) and alpha (H, W), float32.

    Drawn in a world centered on the splats and scaled to the camera's distance, where float32 is
    exact enough and the near plane means the same for millimeters and kilometers.
    """
    arrays, view = localized(splats, camera)
    return (backend or builtin()).draw_on_black(*arrays, view)


def localized(splats: Splats, camera: Camera) -> tuple[tuple[npt.NDArray[np.float32], ...], View]:
    """The rasterizer's five arrays and view, in a world centered on the splats whose unit is the
    camera's distance.
    """
    center = np.median(splats.means, axis=0).astype(np.float64)
    scale = float(np.linalg.norm(camera.position - center)) or 1.0
    means = ((splats.means - center) / scale).astype(np.float32)
    scales = (splats.scales - np.log(scale)).astype(np.float32)
    parts = (means, splats.quats, scales, splats.opacities, splats.sh)
    arrays = tuple(np.ascontiguousarray(a, np.float32) for a in parts)
    view = View.of(camera, NEAR, (center[0], center[1], center[2]), scale)
    return arrays, view
