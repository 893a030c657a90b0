"""The stage "import": the trained splat in the user's scene, in the model's place: result.blend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import bpy
import numpy as np

from ..core.dataset import read_transforms
from ..core.errors import InputError, StageError
from ..core.events import Emit
from ..core.ply import Splats
from ..core.run import Run, atomic
from ..core.settings import Settings
from ..declarations import Attributes, Properties
from . import selection
from .hiding import hide_earlier, hide_source, remove_earlier, still_shown
from .model_file import open_source
from .snapshot import chosen_layer, forget_layer, layer_noted, temporarily
from .splat_display import (
    PIXEL,
    adapt_scene,
    build_displays,
    set_display,
    show_splat,
)
from .splat_faithful import DILATION
from .splat_import import SCALAR, Attribute, filling, object_of, read_usable, set_attribute


def run_stage(run: Run, settings: Settings, emit: Emit) -> None:
    """Open the run's scene, put ``run.splat`` into it and save ``run.result``, atomically.

    The scene's own model is hidden, not removed (see :mod:`.hiding`). Raises InputError when
    there is no splat yet or the scene cannot be opened, StageError when the result cannot be
    saved.
    """
    open_source(settings)
    emit("phase", message="Placing the splat in the scene")
    for sentence in place_result(run, settings)[1]:
        emit("warning", message=sentence)
    forget_layer(bpy.context.scene)
    emit("phase", message="Saving result.blend")
    save_scene(run.result)


def place_result(
    run: Run, settings: Settings, hide: bool = True, replace: bool = False
) -> tuple[bpy.types.Object, list[str]]:
    """Import the iteration's splat into the open scene, ``hide`` its model, ``replace`` earlier
    results instead of hiding them, make renders show colors.

    Returns the splat object and sentences the user should read.
    """
    placing = Placing(run, settings, hide, replace=replace)
    placing.read()
    for _ in placing.steps():
        continue
    return placing.splat, placing.warnings


@dataclass
class Placing:
    """:func:`place_result` in steps that are short enough for a window: first :meth:`read`, which a
    thread may do, then :meth:`steps`, after which ``splat`` and ``warnings`` are known, and
    ``notes``: what was changed in the scene's colors, for whoever has it open.

    ``model``: full names of the objects to hide; None: those that the run's settings mean now.
    ``replace``: remove the hidden earlier results.
    """

    run: Run
    settings: Settings
    hide: bool = True
    model: Sequence[str] | None = None
    replace: bool = False
    splat: bpy.types.Object = None
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _read: tuple[Splats, list[Attribute]] | None = None

    def read(self) -> None:
        """Read the file; raises InputError."""
        path = self.run.splat
        if not path.is_file():
            raise InputError(f"{path} does not exist; run the stages before the import first.")
        self._read = read_usable(path)

    def steps(self) -> Iterator[None]:
        """Put it into the open scene."""
        assert self._read is not None
        splats, attributes = self._read
        yield from build_displays(splats.degree)
        name = self.run.splat.stem
        mesh = bpy.data.meshes.new(name)
        yield from filling(mesh, splats, attributes)
        splat = object_of(name, mesh, splats.degree)
        yield
        scene = bpy.context.scene
        active = {layer: layer.objects.active for layer in scene.view_layers}
        if self.hide and (stubborn := hide_source(_model(self.settings, self.model))):
            self.warnings.append(still_shown(stubborn))
        hide_earlier(scene, splat, self.settings)
        if self.replace:
            remove_earlier(scene)
        scene.collection.objects.link(splat)
        for layer in scene.view_layers:
            if active[layer] is not None and _is_gone(layer.objects.active):
                layer.objects.active = splat  # not selected: its outline would hide its colors
        show_splat(splat)
        set_filter(splat, self.run.transforms_main)
        try:
            self.notes += adapt_scene(scene)
        except StageError as no_view:
            self.warnings.append(str(no_view))
        self.splat = splat


def _is_gone(item: bpy.types.Object | None) -> bool:
    """Whether what was the active object is removed or hidden: its splat is active then instead;
    what a user has turned to meanwhile stays active.
    """
    return item is None or (
        item.hide_viewport and (Properties.HIDDEN in item or Properties.EARLIER in item)
    )


def _model(settings: Settings, names: Sequence[str] | None) -> list[bpy.types.Object]:
    """What the turntable went around: the objects of these full names, or else what the settings
    mean; nothing where the frames came from a main folder and not from a scene.
    """
    scene = bpy.context.scene
    if settings.main_folder:
        return []
    if names is not None:
        return [o for o in scene.objects if o.name_full in names and selection.is_geometry(o)]
    try:
        layer = chosen_layer(scene, settings.view_layer)
        chosen = selection.chosen_objects(settings.objects, scene, layer)
    except InputError:
        return []
    return [o for o in chosen if selection.is_geometry(o)]


def set_filter(splat: bpy.types.Object, transforms: Path) -> None:
    """Tell the displays how much the trainer's pixels widened each splat.

    The faithful one gets the pixel's angle, the spheres get the attribute FILTER, in meters.

    A rasterizer adds 0.3 px² to each splat's variance in the picture; without it Cycles would show
    thinner splats than were trained. The spheres know no pixels: at the mean distance d of the
    training cameras a pixel is d / fl wide, so the deviation to add is sqrt(0.3) d / fl. Without
    cameras nothing is stored.
    """
    frames = read_transforms(transforms) if transforms.is_file() else []
    if not frames:
        return
    count = len(splat.data.vertices)
    means = np.empty(count * 3, np.float32)
    splat.data.vertices.foreach_get("co", means)
    eyes = np.array([f.camera.position for f in frames], np.float32)
    middle = np.median(means.reshape(count, 3), axis=0)
    distance = float(np.linalg.norm(eyes - middle, axis=1).mean())
    focal = float(np.mean([f.camera.fl_x for f in frames]))
    width = np.full((count, 1), DILATION**0.5 * distance / focal, np.float32)
    set_attribute(splat.data, Attributes.FILTER, SCALAR, width)
    set_display(splat, PIXEL, 1 / focal)


def save_scene(path: Path, compress: bool = True) -> None:
    """Save a copy of the open scene, atomically; relative paths go on working from ``path``.

    The open file stays what it is. Without a thumbnail: rendering one takes Blender's window half a
    second or more, writing the file a few milliseconds. Raises StageError with Blender's reason.
    """
    with atomic(path) as temporary, _no_thumbnail():
        try:
            bpy.ops.wm.save_as_mainfile(
                filepath=str(temporary), copy=True, relative_remap=True, compress=compress
            )
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise StageError(f"{path} could not be saved: {reason}") from None


def save_copy(path: Path) -> None:
    """:func:`save_scene` for a worker, which then sees what the user's view layer shows; quick."""
    with layer_noted(bpy.context.scene):
        save_scene(path, compress=False)


@contextlib.contextmanager
def _no_thumbnail() -> Iterator[None]:
    """Files saved in the block get no thumbnail; the user's preferences are as before after it."""
    preferences = bpy.context.preferences
    dirty = preferences.is_dirty
    try:
        with temporarily(preferences.filepaths, file_preview_type="NONE"):
            yield
    finally:
        preferences.is_dirty = dirty
