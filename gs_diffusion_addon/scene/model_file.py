"""Opens what the user named: a Blender scene, or a model file in an empty scene."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import addon_utils
import bpy

from ..core.errors import InputError, MissingError
from ..core.settings import Settings
from .reports import reason
from .snapshot import open_noted_scene

EXTENSIONS = (".blend", ".glb", ".gltf", ".obj", ".fbx", ".ply", ".stl", ".usd")
"""Model files we can read, as the help text lists them; .usda, .usdc and .usdz count as .usd."""

_USD = (".usd", ".usda", ".usdc", ".usdz")


def open_source(settings: Settings) -> None:
    """Make ``settings.blend``, or a scene made from ``settings.model``, Blender's open file.

    The scripts in a .blend are not run. Model files come with the axes and units their format
    prescribes (Z up afterwards). Whether anything in it renders is found out when it is measured.

    Raises InputError for a file that is missing, of an unknown kind or unreadable, MissingError
    where this Blender was built without the importer.
    """
    path = _source_path(settings)
    if path.suffix.lower() == ".blend":
        _open_blend(path)
    else:
        _import_model(path)


def _source_path(settings: Settings) -> Path:
    if settings.blend and settings.model:
        raise InputError("Give either --blend or --model, not both.")
    if not settings.blend and not settings.model:
        raise InputError("Name a Blender scene with --blend or a model file with --model.")
    path = Path(settings.blend or settings.model).expanduser().absolute()
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it.")
    if not path.is_file():
        raise InputError(f"The file {path} does not exist.")
    allowed = (".blend",) if settings.blend else (*EXTENSIONS, *_USD)
    if path.suffix.lower() not in allowed:
        kinds = " ".join(EXTENSIONS)
        hint = "use --model for other files" if settings.blend else f"use one of {kinds}"
        raise InputError(f"{path.name} is not a kind of file that can be opened; {hint}.")
    return path


def _open_blend(path: Path) -> None:
    try:
        # With its windows, which alone know the view layer that the user worked in.
        bpy.ops.wm.open_mainfile(filepath=str(path), load_ui=True, use_scripts=False)
    except RuntimeError as error:
        raise InputError(f"Blender cannot open {path}: {reason(error)}") from None
    open_noted_scene()


def _import_model(path: Path) -> None:
    # The factory's scene, so that a user's startup file changes nothing; the preferences stay.
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    importer = _importer(path)
    try:
        result = importer(filepath=str(path))
    except RuntimeError as error:
        raise InputError(f"Blender cannot import {path}: {reason(error)}") from None
    if "FINISHED" not in result:
        raise InputError(f"Blender cannot import {path}; is it a whole {path.suffix} file?")
    if not bpy.data.objects:
        raise InputError(f"There is no object in {path}; is it a whole {path.suffix} file?")
    _show_vertex_colors()


def _importer(path: Path) -> Callable[..., set[str]]:
    """Blender's import operator for the file's extension."""
    kind = path.suffix.lower()
    if kind in (".glb", ".gltf"):
        return _add_on_operator("io_scene_gltf2", "gltf")
    if kind == ".fbx":
        # Blender's own importer (4.5 on) reads more files than the add-on and is much faster.
        if "fbx_import" in dir(bpy.ops.wm):
            return bpy.ops.wm.fbx_import
        return _add_on_operator("io_scene_fbx", "fbx")
    if kind in _USD:
        if not bpy.app.build_options.usd:
            raise MissingError(
                f"This Blender was built without USD and cannot import {path.name}; use Blender "
                "from blender.org or convert the file to .glb."
            )
        return bpy.ops.wm.usd_import
    return {
        ".obj": bpy.ops.wm.obj_import,
        ".ply": bpy.ops.wm.ply_import,
        ".stl": bpy.ops.wm.stl_import,
    }[kind]


def _add_on_operator(add_on: str, name: str) -> Callable[..., set[str]]:
    if name not in dir(bpy.ops.import_scene):
        addon_utils.enable(add_on)
    if name not in dir(bpy.ops.import_scene):
        raise MissingError(
            f"Blender's add-on {add_on} is missing; use Blender from blender.org, or convert the "
            "model to .obj."
        )
    operator: Callable[..., set[str]] = getattr(bpy.ops.import_scene, name)
    return operator


def _show_vertex_colors() -> None:
    """Give colored meshes without a material one that shows their colors, as scanned .ply files
    need.
    """
    for mesh in bpy.data.meshes:
        colors = mesh.color_attributes
        if mesh.materials or not colors:
            continue
        material = bpy.data.materials.new(f"{mesh.name} colors")
        material.use_nodes = True
        nodes, links = material.node_tree.nodes, material.node_tree.links
        attribute = nodes.new("ShaderNodeAttribute")
        attribute.attribute_name = (colors.active_color or colors[0]).name
        surface = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
        links.new(attribute.outputs["Color"], surface.inputs["Base Color"])
        mesh.materials.append(material)


def missing_files() -> list[str]:
    """Textures and linked libraries that the open file refers to and that are not there, sorted."""
    missing = {library.filepath for library in bpy.data.libraries if library.is_missing}
    for image in bpy.data.images:
        if image.source == "FILE" and image.users and not image.packed_file:
            path = bpy.path.abspath(image.filepath, library=image.library)
            if path and not Path(path).is_file():
                missing.add(path)
    return sorted(missing)
