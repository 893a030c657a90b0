"""Control images: a sphere against analytic pictures, collages, edges, and the whole way in."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from gs_diffusion_addon.core.a1111_control import parse_control
from gs_diffusion_addon.core.cameras import Camera, look_at
from gs_diffusion_addon.core.dataset import read_transforms
from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.exr import read_exr
from gs_diffusion_addon.engine.guides import View
from gs_diffusion_addon.engine.images import read_rgb
from gs_diffusion_addon.engine.stylize import control, run_stage
from gs_diffusion_addon.engine.stylize.collage import Page, plan_layout
from tests.engine.stylize_helpers import Recorder
from tests.engine.synthetic import with_settings, write_run
from tests.servers.a1111_server import A1111Server

SIZE, FOCAL, FAR = 96, 120.0, 4.0


def sphere() -> tuple[View, np.ndarray, np.ndarray]:
    """A unit sphere seen from an odd direction: the view, and its depth and camera-space normals
    by the quadratic formula in camera axes, which the package's code does not use.
    """
    eye = np.array([1.0, -3.0, 1.5])
    eye *= FAR / np.linalg.norm(eye)
    pose = look_at(eye, np.zeros(3))
    y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    ray = np.stack([(x - SIZE / 2) / FOCAL, (SIZE / 2 - y) / FOCAL, -np.ones_like(x)], -1)
    center = np.array([0, 0, -FAR])
    a, b, c = (ray**2).sum(-1), ray @ center, FAR**2 - 1
    root = b * b - a * c
    hit = root > 0
    z = np.where(hit, (b - np.sqrt(np.maximum(root, 0))) / a, 1e10)
    normal = np.where(hit[..., None], z[..., None] * ray - center, 0)
    camera = Camera(SIZE, SIZE, FOCAL, FOCAL, SIZE / 2, SIZE / 2, pose)
    world = normal @ pose[:3, :3].T
    return View(camera, z.astype(np.float32), world.astype(np.float32)), z, normal


def inside(mask: np.ndarray) -> np.ndarray:
    return ndimage.binary_erosion(mask)


def test_depth_of_a_sphere() -> None:
    view, z, _ = sphere()
    near, far = control.depth_range([view])
    assert near == pytest.approx(FAR - 1, abs=1e-3) and far < FAR
    shown = control.depth_image(view, near, far)
    share = (1 / z - 1 / far) / (1 / near - 1 / far)
    expected = 255 * (0.1 + 0.9 * share)
    where = inside(view.mask)
    assert shown.dtype == np.uint8 and (shown[..., 0] == shown[..., 2]).all()
    assert np.abs(shown[..., 0] - expected)[where].max() <= 1
    assert (shown[~view.mask] == 0).all() and shown[view.mask].min() >= 25
    assert shown.max() == 255


def test_normals_of_a_sphere() -> None:
    view, _, normal = sphere()
    shown = control.normal_image(view)
    nx, ny, nz = np.moveaxis(normal, -1, 0)
    expected = 127.5 * np.stack([1 - nx, 1 + ny, 1 + nz], -1)
    where = inside(view.mask)
    assert np.abs(shown - expected)[where].max() <= 1
    assert (shown[~view.mask] == (128, 128, 255)).all()
    # "Blue is front, red is left, green is top."
    middle = SIZE // 2
    assert shown[middle, middle].tolist() == pytest.approx([128, 128, 255], abs=3)
    assert shown[middle, 25, 0] > 180 > 80 > shown[middle, 70, 0]
    assert shown[25, middle, 1] > 180 > 80 > shown[70, middle, 1]


def test_normals_that_point_inward_are_turned() -> None:
    view, _, _ = sphere()
    inverted = View(view.camera, view.depth, -view.normal)
    where = inside(inside(view.mask))
    for _ in range(2):
        where = inside(where)
    both = control.normal_image(view), control.normal_image(inverted)
    assert np.abs(both[0].astype(int) - both[1])[where].max() <= 1


def test_a_further_view_does_not_change_the_gray_of_a_surface() -> None:
    view, _, _ = sphere()
    farther = View(view.camera, np.where(view.mask, view.depth + 2, 1e10), view.normal)
    near, far = control.depth_range([view, farther])
    gray = [control.depth_image(v, near, far)[48, 48, 0] for v in (view, farther)]
    assert gray[0] == 255 and 25 < gray[1] < 200


def test_lines_of_a_sphere_are_its_silhouette() -> None:
    view, _, _ = sphere()
    lines = control.lines_image(view)[..., 0] > 0
    rim = view.mask & ~inside(view.mask)
    assert lines[rim].all()
    assert not lines[~ndimage.binary_dilation(rim, iterations=2)].any()


def test_canny_finds_a_disc_and_nothing_else() -> None:
    y, x = np.mgrid[0:80, 0:80] + 0.5
    radius = np.hypot(x - 40, y - 40)
    gray = np.clip(25 - radius, 0, 1) * 120 + 60
    picture = np.repeat(gray.astype(np.uint8)[..., None], 3, -1)
    edges = control.canny(picture, 100, 200)[..., 0] > 0
    assert 120 < edges.sum() < 200  # one pixel wide: the circle's length is 154
    assert np.abs(radius[edges] - 25).max() < 1.6
    found = np.degrees(np.arctan2(y - 40, x - 40))[edges]
    assert np.diff(np.sort(found)).max() < 6
    assert not control.canny(np.full((20, 20, 3), 90, np.uint8), 100, 200).any()
    weak = np.clip(25 - radius, 0, 1) * 20 + 60  # gradients below the threshold
    assert not control.canny(np.repeat(weak.astype(np.uint8)[..., None], 3, -1), 100, 200).any()


def test_segments_have_flat_colors_that_differ() -> None:
    index = np.arange(16, dtype=np.int32).reshape(4, 4)
    colors = control.seg_image(index).reshape(-1, 3)
    assert len({tuple(c) for c in colors}) == 16
    assert (control.seg_image(index + 15)[0, 1] == control.seg_image(index)[0, 1]).all()


def test_materials_have_colors_of_their_own() -> None:
    view, _, _ = sphere()
    upper = np.arange(SIZE)[:, None] < SIZE // 2
    material = np.where(view.mask & upper, 2, 0).astype(np.int32)
    passes = control.Passes(view, view.mask.astype(np.int32), material)
    colors = control.seg_image(control.material_index(passes))
    assert len(np.unique(colors.reshape(-1, 3), axis=0)) == 3  # background, none, the material
    assert (colors[~view.mask] == control.PALETTE[0]).all()
    assert (colors[view.mask & upper] == control.PALETTE[3]).all()
    with pytest.raises(InputError, match="start a new run"):
        control.material_index(control.Passes(view, material))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory):
    settings = with_settings(
        views=8, rings="35:3", keys=4, ring_keys=1, sides=2, page_size=192, stylizer="a1111",
        compare_independent="no", prompt="a head",
        control="depth:0.8,normal:0.5:0-0.7,canny",
    )  # fmt: skip
    root = tmp_path_factory.mktemp("scene")
    run, _ = write_run(root, settings)
    return run, settings


def test_control_images_of_a_model_are_its_passes(scene) -> None:
    """Depth and normal pages against the EXR's Position pass, projected by the cameras alone."""
    run, settings = scene
    with A1111Server() as server:
        settings = dataclasses.replace(settings, server=server.address)
        run_stage(run, settings, Recorder())
        (first, second) = server.jobs
    args = first["alwayson_scripts"]["ControlNet"]["args"]
    assert [u["model"].split(" ")[0] for u in args] == [
        "control_v11f1p_sd15_depth", "control_v11p_sd15_normalbae", "control_v11p_sd15_canny",
    ]  # fmt: skip
    assert [u["weight"] for u in args] == [0.8, 0.5, 1.0] and args[1]["guidance_end"] == 0.7
    assert all(u["enabled"] is True and u["module"] == "none" for u in args)
    assert all(isinstance(u["resize_mode"], str) for u in args)
    frames = {f.frame: f.camera for f in read_transforms(run.transforms_main)}
    page = [int(k) for k in _text(run.input / "input0.png")["frames"].split()]
    depth, normal = (read_rgb(run.input / f"input0-{k}.png") for k in ("depth", "normal"))
    assert depth.shape == read_rgb(run.input / "input0.png").shape
    near_far = _json(run.input / "depth_range.json")
    layout = plan_layout(96, 96, 2, 192, True)
    for place, k in enumerate(page):
        raw = read_exr(run.guide(k))
        at = {n.rsplit(".", 2)[-2] + n[-1]: v for n, v in raw.items()}
        world = np.stack([at[f"Position{c}"] for c in "XYZ"], -1)
        mask = inside(at["DepthZ"] < 1e9)
        _, z = frames[k].project(world)
        share = (1 / z - 1 / near_far["far"]) / (1 / near_far["near"] - 1 / near_far["far"])
        row, column = divmod(place, 2)
        top, left = row * layout.cell_height, column * layout.cell_width
        cell = depth[top : top + 96, left : left + 96, 0]
        assert np.abs(cell - 255 * (0.1 + 0.9 * share))[mask].max() <= 1, k
        shading = np.stack([at[f"Normal{c}"] for c in "XYZ"], -1)
        local = np.einsum("hwc,cd->hwd", shading, frames[k].matrix[:3, :3])
        expected = 127.5 * (1 + local * (-1, 1, 1))
        shown = normal[top : top + 96, left : left + 96]
        assert np.percentile(np.abs(shown - expected)[mask], 99) <= 1, k
    assert second["alwayson_scripts"]


def test_reference_is_the_first_page(scene, tmp_path: Path) -> None:
    _, settings = scene
    settings = dataclasses.replace(settings, control="reference,tile:0.5")
    run, _ = write_run(tmp_path, settings)
    with A1111Server() as server:
        run_stage(run, dataclasses.replace(settings, server=server.address), Recorder())
        modules = [
            [u["module"] for u in j["alwayson_scripts"]["ControlNet"]["args"]] for j in server.jobs
        ]
    assert modules == [["none"], ["none", "reference_only"]]


def test_segments_by_object_and_by_material_differ(scene, tmp_path: Path) -> None:
    _, settings = scene
    settings = dataclasses.replace(settings, control="seg,materials:0.5")
    run, _ = write_run(tmp_path, settings)
    with A1111Server() as server:
        run_stage(run, dataclasses.replace(settings, server=server.address), Recorder())
        args = server.jobs[0]["alwayson_scripts"]["ControlNet"]["args"]
    assert [u["model"].split(" ")[0] for u in args] == ["control_v11p_sd15_seg"] * 2
    pages = [read_rgb(run.input / f"input0-{kind}.png") for kind in ("seg", "materials")]
    assert pages[0].shape == pages[1].shape and (pages[0] != pages[1]).any()


def _text(path: Path) -> dict[str, str]:
    with Image.open(path) as image:
        return dict(image.text)


def _json(path: Path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("size", [(96, 48), (48, 96)])
def test_pages_of_other_shapes_line_up(size: tuple[int, int]) -> None:
    """Scaled into larger cells, the depth's silhouette stays on the picture's."""
    w, h = size
    layout = plan_layout(w, h, 1, 128, True)
    mask = np.zeros((h, w), bool)
    mask[h // 4 : h // 2, w // 4 : w // 2] = True
    depth = np.where(mask, 2.0, 1e10).astype(np.float32)
    camera = Camera(w, h, 50, 50, w / 2, h / 2, np.eye(4))
    view = View(camera, depth, np.tile(np.float32([0, 0, 1]), (h, w, 1)))
    passes = control.Passes(view, mask.astype(np.int32))
    (unit,) = parse_control("depth")
    page = Page(0, (0,), 1, 1)
    width, height = page.size(layout)
    sheet = np.zeros((height, width, 3), np.uint8)
    shown = control.control_page(unit, page, layout, sheet, lambda _: passes, (1, 2), (1, 2))
    assert shown.shape == sheet.shape
    rows = np.nonzero(shown[..., 0].max(1) > 12)[0]
    assert rows[0] / height == pytest.approx(0.25, abs=0.02)
    assert rows[-1] / height == pytest.approx(0.5, abs=0.03)
