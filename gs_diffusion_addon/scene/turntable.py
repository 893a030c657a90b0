"""The turntable stage: frames, exact geometry passes, cameras and surface points of the model.

Run it in a Blender process with the user's scene open (see :mod:`.model_file`). That scene is left
as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import bpy

from ..core.a1111_control import needs_geometry
from ..core.dataset import Frame, write_transforms
from ..core.errors import StageError
from ..core.events import Emit, Progress
from ..core.orbit import View
from ..core.ply import write_points
from ..core.png_text import strip_text
from ..core.run import Run, atomic
from ..core.settings import Settings
from .beauty import configure_beauty, configure_scene, has_denoiser
from .evaluated import Part, evaluate
from .framing import bounding_sphere
from .geometry_pass import geometry_pass
from .hiding import source_shown
from .lighting import studio_world, use_studio, world_shines
from .model_file import missing_files
from .reports import reason
from .rig import Rig, build_rig, coarseness
from .selection import chosen_objects, rendered_lights
from .snapshot import chosen_layer, scratch_layer, scratch_scene
from .surface import sample_surface

SURFACE_POINTS = 200_000
SURFACE_SEED = 0
"""Fixed: the turntable does not depend on the run's seed, so it is not rendered again for a new
one.
"""


def run_stage(run: Run, settings: Settings, emit: Emit) -> None:
    """Write train_main/, guides/ and transforms_train_main.json; what is there already is kept.

    Raises InputError for a model or camera that cannot be used, StageError if Blender fails to
    render.
    """
    with _set_up(settings, emit) as (scene, rig, parts):
        write_cameras(run, rig)
        _write_surface(run, parts, emit)
        _render_geometry(run, scene, rig, emit)
        _render_beauty(run, scene, settings, rig, emit)


def render_frames(run: Run, settings: Settings, frames: Sequence[int], emit: Emit) -> None:
    """Only these frames of the turntable into train_main/, and their guides if ControlNet units
    want them, for a try; raises as the stage does.
    """
    with _set_up(settings, emit) as (scene, rig, _):
        some = replace(rig, views=[rig.views[frame] for frame in frames])
        if needs_geometry(settings.control):
            write_cameras(run, rig)
            _render_geometry(run, scene, some, emit)
        _render_beauty(run, scene, settings, some, emit)


@contextmanager
def _set_up(
    settings: Settings, emit: Emit
) -> Iterator[tuple[bpy.types.Scene, Rig, Sequence[Part]]]:
    """A scratch scene with the model, its light and the turntable's camera in it."""
    source = bpy.context.scene
    with source_shown(source):
        layer = chosen_layer(source, settings.view_layer)
        model = chosen_objects(settings.objects, source, layer)
        lights = rendered_lights(layer)
        studio = use_studio(settings, source, bool(lights))
        _warn(settings, source, studio or bool(lights), emit)
        frame = source.frame_current if settings.frame < 0 else settings.frame
        shown = model if studio else [*model, *lights]
        with scratch_scene(source, shown, frame, layer) as scene:
            configure_scene(scene, settings)
            emit("phase", message="Measuring the model")
            evaluated = evaluate(scene)
            bounds = bounding_sphere(evaluated.parts)
            rig = build_rig(scene, settings, bounds, evaluated.lens)
            if coarseness(rig, bounds) > 0.5:
                emit(
                    "warning",
                    message="The model stands so far from the world's origin that Blender's "
                    "numbers are coarser than the pixels; move it to the origin, or lower --size.",
                )
            if studio:
                scene.world = studio_world(settings)
            yield scene, rig, evaluated.parts


def write_cameras(run: Run, rig: Rig) -> None:
    """Write transforms_train_main.json, the cameras of all views."""
    frames = [
        Frame(f"./train_main/r_{view.frame}", rig.camera(view), view.frame, view.ring)
        for view in rig.views
    ]
    write_transforms(run.transforms_main, frames)


def _write_surface(run: Run, parts: Sequence[Part], emit: Emit) -> None:
    if run.surface.exists():
        return
    points = sample_surface(parts, SURFACE_POINTS, SURFACE_SEED)
    if points is None:
        emit(
            "warning",
            message="The model's faces have no area, so there are no surface points to start from.",
        )
        return
    write_points(run.surface, points)


def _render_geometry(run: Run, scene: bpy.types.Scene, rig: Rig, emit: Emit) -> None:
    missing = [view for view in rig.views if not run.guide(view.frame).exists()]
    if not missing:
        return
    emit("phase", message="Rendering the geometry passes")
    with geometry_pass(scene):
        _render_views(run, scene, rig, missing, run.guide, "passes", emit)


def _render_beauty(
    run: Run, scene: bpy.types.Scene, settings: Settings, rig: Rig, emit: Emit
) -> None:
    missing = [view for view in rig.views if not run.frame(view.frame).exists()]
    if not missing:
        return
    emit("phase", message="Rendering the frames")
    configure_beauty(scene, settings)
    _render_views(run, scene, rig, missing, run.frame, "frames", emit)


def _render_views(
    run: Run,
    scene: bpy.types.Scene,
    rig: Rig,
    views: Sequence[View],
    path_of: Callable[[int], Path],
    unit: str,
    emit: Emit,
) -> None:
    progress = Progress(emit, len(rig.views), unit, done=len(rig.views) - len(views))
    for view in views:
        path = path_of(view.frame)
        rig.place(view)
        render_to(scene, path)
        name = path.relative_to(run.root).as_posix()
        emit("frame_done", frame=view.frame, path=name)
        progress.tick(**({"image": name} if path.suffix == ".png" else {}))


def render_to(scene: bpy.types.Scene, path: Path) -> None:
    """Render a scratch scene into ``path``, atomically; raises StageError."""
    with atomic(path) as temporary:
        name = str(temporary.absolute())
        if bpy.app.version >= (4, 5, 0):  # braces are templates there
            name = name.replace("{", "{{").replace("}", "}}")
        scene.render.filepath = name
        try:
            # By override: the operator's own ``scene`` takes the open scene's animation frame.
            with bpy.context.temp_override(scene=scene, view_layer=scratch_layer(scene)):
                bpy.ops.render.render(write_still=True)
        except RuntimeError as error:
            raise StageError(f"Blender failed to render {path.name}: {reason(error)}") from None
        if not temporary.is_file():
            raise StageError(f"Blender wrote no file for {path.name}; is the disk full?")
        if path.suffix == ".png":
            strip_text(temporary)


def _warn(settings: Settings, source: bpy.types.Scene, lit: bool, emit: Emit) -> None:
    """Say beforehand what will make the frames look other than expected."""
    if not lit and not world_shines(source.world):
        emit(
            "warning",
            message="The scene has no light, so the frames will be dark; use --lighting studio.",
        )
    if settings.engine == "cycles" and settings.denoise and not has_denoiser():
        emit(
            "warning",
            message="This Blender was built without its denoiser, so frames keep some noise; "
            "raise --samples to lower it.",
        )
    for path in missing_files():
        emit("warning", message=f"The file {path}, which the scene uses, is missing.")
