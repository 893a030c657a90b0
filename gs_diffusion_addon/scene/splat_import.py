"""A splat .ply as a Blender object: one vertex a splat, everything else as point attributes.

Names and meaning are those of Blender 5.3's own splats: ``radiance:base`` = raw f_dc and the
opacity (after the sigmoid), ``scale`` = standard deviations in meters, ``rotation`` = unit
quaternion w, x, y, z, ``radiance:sh_k`` = the k-th view-dependent harmonic of red, green and blue.
Splats live in Blender's world, so the object's matrix is the identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
import numpy.typing as npt

from ..core.errors import InputError
from ..core.ply import Splats, read_splats
from ..declarations import Attributes, Properties

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Kind:
    """An attribute type: its names for ``attributes.new`` and ``foreach_set``, values a point."""

    type: str
    key: str
    width: int


Attribute = tuple[str, Kind, Floats]
"""Name, kind and values (N, width) of an attribute."""

SCALAR = Kind("FLOAT", "value", 1)
VECTOR = Kind("FLOAT_VECTOR", "vector", 3)
COLOR = Kind("FLOAT_COLOR", "color", 4)
QUATERNION = Kind("QUATERNION", "value", 4)


def import_splat(path: Path, collection: bpy.types.Collection | None = None) -> bpy.types.Object:
    """Read ``path`` and link it as a new object, named after the file, to ``collection``.

    The default is the scene's own collection. Splats with numbers that cannot be used (NaN) are
    left out. Raises InputError when the file holds no splats.
    """
    scene_object = splat_object(path.stem, *read_usable(path))
    (collection or bpy.context.scene.collection).objects.link(scene_object)
    return scene_object


def read_usable(path: Path) -> tuple[Splats, list[Attribute]]:
    """The splats of a file without those that cannot be used, and their attributes, contiguous.

    Touches nothing of Blender's, so a thread may do it. Raises InputError as `import_splat` does.
    """
    splats = read_splats(path)
    usable = splats.finite
    if not usable.any():
        raise InputError(f"{path} holds no splat that can be shown.")
    if not usable.all():
        splats = splats.selected(usable)
    attributes = [(n, k, np.ascontiguousarray(v, np.float32)) for n, k, v in attributes_of(splats)]
    return splats, attributes


def splat_object(
    name: str, splats: Splats, attributes: list[Attribute] | None = None
) -> bpy.types.Object:
    """A new object (not linked to any collection) with ``splats``, its matrix the identity.

    ``attributes``: theirs, where they are at hand already.
    """
    mesh = bpy.data.meshes.new(name)
    for _ in filling(mesh, splats, attributes_of(splats) if attributes is None else attributes):
        continue
    return object_of(name, mesh, splats.degree)


def filling(mesh: bpy.types.Mesh, splats: Splats, attributes: list[Attribute]) -> Iterator[None]:
    """Give a new mesh its vertices and their attributes, one at each step."""
    mesh.vertices.add(splats.count)
    mesh.vertices.foreach_set("co", splats.means.ravel())
    for attribute, kind, values in attributes:
        yield
        set_attribute(mesh, attribute, kind, values)


def object_of(name: str, mesh: bpy.types.Mesh, degree: int) -> bpy.types.Object:
    """A new object (not linked to any collection) that shows a splat's mesh."""
    scene_object = bpy.data.objects.new(name, mesh)
    scene_object[Properties.SPLAT] = degree
    return scene_object


def set_attribute(mesh: bpy.types.Mesh, name: str, kind: Kind, values: Floats) -> None:
    """Give every vertex its row of ``values`` (N, width); an older attribute is replaced."""
    old = mesh.attributes.get(name)
    if old is not None:
        mesh.attributes.remove(old)
    attribute = mesh.attributes.new(name, kind.type, "POINT")
    attribute.data.foreach_set(kind.key, np.ascontiguousarray(values, np.float32).ravel())


def get_attribute(mesh: bpy.types.Mesh, name: str, kind: Kind) -> Floats:
    """The attribute ``name`` as (N, width) float32; raises InputError where it was removed."""
    if name not in mesh.attributes:
        raise InputError(
            f"{mesh.name} is no whole splat any more: its attribute {name} is missing; undo what "
            "removed it, or import the splat again."
        )
    values = np.empty(len(mesh.vertices) * kind.width, np.float32)
    mesh.attributes[name].data.foreach_get(kind.key, values)
    return values.reshape(-1, kind.width)


def attributes_of(splats: Splats) -> list[Attribute]:
    """Name, kind and values (N, width) of all attributes but the position."""
    with np.errstate(over="ignore"):
        opacity = 1 / (1 + np.exp(-splats.opacities))
        scales = np.minimum(np.exp(splats.scales), np.finfo(np.float32).max)
    length = np.linalg.norm(splats.quats, axis=1, keepdims=True)
    identity = np.array([1, 0, 0, 0], np.float32)
    rotation = np.where(length > 0, splats.quats / np.where(length > 0, length, 1), identity)
    base = np.concatenate([splats.sh[:, 0], opacity[:, None]], axis=1)
    attributes = [
        (Attributes.BASE, COLOR, base),
        (Attributes.SCALE, VECTOR, scales),
        (Attributes.ROTATION, QUATERNION, rotation),
        # The opacity as it was stored: near 1 its sigmoid has too few digits for a way back.
        (Attributes.LOGIT, SCALAR, splats.opacities[:, None]),
    ]
    for k in range(splats.sh.shape[1] - 1):
        attributes.append((Attributes.HARMONIC.format(k), VECTOR, splats.sh[:, 1 + k]))
    return attributes


def splats_of(scene_object: bpy.types.Object) -> Splats:
    """The splats of a splat object in its own space, as a .ply stores them (the way back).

    The object has to be in Object Mode. Raises InputError where an attribute was removed.
    """
    mesh = scene_object.data
    means = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", means)
    base = get_attribute(mesh, Attributes.BASE, COLOR)
    sh = [base[:, :3]]
    for k in range((scene_object[Properties.SPLAT] + 1) ** 2 - 1):
        sh.append(get_attribute(mesh, Attributes.HARMONIC.format(k), VECTOR))
    with np.errstate(divide="ignore", over="ignore"):
        opacities = np.log(base[:, 3]) - np.log1p(-base[:, 3])
        if Attributes.LOGIT in mesh.attributes:
            stored = get_attribute(mesh, Attributes.LOGIT, SCALAR)[:, 0]
            same = np.abs(1 / (1 + np.exp(-stored)) - base[:, 3]) < 1e-6  # else it was edited
            opacities = np.where(same, stored, opacities)
        # Doubles, so that the logarithm comes back as it was and not some last digits off.
        scales = np.log(get_attribute(mesh, Attributes.SCALE, VECTOR).astype(np.float64))
    quats = get_attribute(mesh, Attributes.ROTATION, QUATERNION)
    sh_all = np.stack(sh, axis=1)
    return Splats(means.reshape(-1, 3), sh_all, opacities, scales.astype(np.float32), quats)
