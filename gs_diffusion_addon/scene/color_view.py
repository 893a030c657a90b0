"""What a scene's color configuration makes of numbers: Blender's own, or a studio's (OCIO).

Frames and splats are sRGB numbers. A configuration names the view that shows them without tone
mapping in its own way, and its scene-linear colors may have other primaries than sRGB's (ACES;
from Blender 5.0 on also a file's working space).
"""

from __future__ import annotations

import bpy
import numpy as np
import numpy.typing as npt
from mathutils import Color

from ..core.errors import StageError
from ..declarations import Properties

RAW_VIEW = "Raw"
"""The view transform that changes nothing."""

PLAIN_VIEWS = ("Standard", "Un-tone-mapped")
"""Views without tone mapping: Blender's name, and that of the ACES configurations."""

SRGB_DISPLAYS = ("sRGB", "sRGB - Display")
"""Displays whose pictures are sRGB, likewise."""


def no_plain_view() -> StageError:
    """What to raise, or to warn of, where :func:`show_plainly` finds nothing."""
    return StageError(
        "This Blender's color configuration (OCIO) has no view without tone mapping for sRGB "
        f"(looked for {' and '.join(PLAIN_VIEWS)} on the displays {' and '.join(SRGB_DISPLAYS)}); "
        "unset OCIO or use a configuration that has one."
    )


def show_plainly(scene: bpy.types.Scene, srgb: bool = False) -> bool:
    """Choose the view without tone mapping; with ``srgb`` on an sRGB display too.

    False, and nothing changed, where the color configuration has none.
    """
    display, view = scene.display_settings, scene.view_settings
    before = display.display_device, view.view_transform
    for device in SRGB_DISPLAYS if srgb else before[:1]:
        if _set(display, "display_device", device):
            if any(_set(view, "view_transform", name) for name in PLAIN_VIEWS):
                _neutral(view)
                return True
            _set(display, "display_device", before[0])
            _set(view, "view_transform", before[1])
    return False


def leave_tone_mapping(scene: bpy.types.Scene, keep_raw: bool = True) -> list[str]:
    """Choose a view without tone mapping where the scene has another, and change nothing else.

    Exposure, gamma, curves and white balance stay as they are, since they are for all that the
    scene shows; a look belongs to its view and goes with it. :func:`restore_view` brings both back.
    Returns what to tell the user; raises StageError, and changes nothing, where there is no such
    view. ``keep_raw``: the view Raw, which tones nothing either, may stay.
    """
    view = scene.view_settings
    before = {"view_transform": view.view_transform, "look": view.look}
    said = []
    if before["view_transform"] not in (*PLAIN_VIEWS, *((RAW_VIEW,) if keep_raw else ())):
        if not any(_set(view, "view_transform", name) for name in PLAIN_VIEWS):
            raise no_plain_view()
        _set(view, "look", "None")
        scene[Properties.VIEW] = before
        said.append(
            f"The view transform is {view.view_transform} now, without tone mapping, which would "
            f"change the splat's colors; it was {before['view_transform']}."
        )
    colored = [name for name, changed in _adjustments(view).items() if changed]
    if colored:
        said.append(
            f"The splat's colors are changed by the scene's {' and '.join(colored)}, too; "
            "Match the Trainer's Colors undoes that."
        )
    return said


def restore_view(scene: bpy.types.Scene) -> bool:
    """Undo :func:`leave_tone_mapping`, unless the user has chosen another view since; returns
    whether that changed anything.
    """
    before = scene.get(Properties.VIEW)
    if before is None:
        return False
    kept = before.to_dict()
    del scene[Properties.VIEW]
    view = scene.view_settings
    if view.view_transform not in PLAIN_VIEWS:
        return False
    return all(_set(view, name, kept[name]) for name in ("view_transform", "look"))


def show_raw(scene: bpy.types.Scene) -> bool:
    """Choose the view that shows numbers as they are; False where there is none."""
    if not _set(scene.view_settings, "view_transform", RAW_VIEW):
        return False
    _neutral(scene.view_settings)
    return True


def _set(owner: bpy.types.bpy_struct, name: str, value: str) -> bool:
    try:
        setattr(owner, name, value)
    except TypeError:  # the configuration has no such choice
        return False
    return True


def _adjustments(view: bpy.types.ColorManagedViewSettings) -> dict[str, bool]:
    """What of the settings beside the view transform is not neutral, in the user's words."""
    return {
        "look": view.look != "None",
        "exposure": view.exposure != 0.0,
        "gamma": view.gamma != 1.0,
        "curves": view.use_curve_mapping,
        "white balance": getattr(view, "use_white_balance", False),  # 4.3 on
    }


def _neutral(view: bpy.types.ColorManagedViewSettings) -> None:
    _set(view, "look", "None")
    view.exposure, view.gamma, view.use_curve_mapping = 0.0, 1.0, False
    if hasattr(view, "use_white_balance"):  # 4.3 on
        view.use_white_balance = False


def from_linear_srgb() -> npt.NDArray[np.float64]:
    """The 3 x 3 matrix from linear colors of sRGB's primaries to this Blender's scene-linear ones:
    the unit matrix in Blender's own configuration.
    """
    pure = [Color(row).from_srgb_to_scene_linear() for row in np.eye(3)]
    matrix = np.array([tuple(c) for c in pure]).T
    return np.eye(3) if np.allclose(matrix, np.eye(3), atol=1e-4) else matrix
