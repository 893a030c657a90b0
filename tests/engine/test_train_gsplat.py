"""The gsplat adapter's conventions, held by a plain torch stand-in of identical signature, and
gsplat's strategies in our training loop.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import sys

import numpy as np
import pytest
import torch

from gs_diffusion_addon.core.ply import Splats
from gs_diffusion_addon.engine.splat import backends, gsplat_backend, rasterizer
from gs_diffusion_addon.engine.splat.dataset import load
from gs_diffusion_addon.engine.splat.initialize import from_points
from gs_diffusion_addon.engine.splat.training import Recipe, train

from . import gsplat_standin
from .splat_helpers import random_splats, random_view, surface_points, tensors, write_dataset

BACKGROUND = torch.tensor([0.2, 0.5, 0.9])


@pytest.fixture
def standin(monkeypatch):
    monkeypatch.setitem(sys.modules, "gsplat", gsplat_standin)
    return gsplat_standin


def drawn(draw, seed):
    """(picture, alpha, gradients) of a random scene by a rasterizer."""
    splats = random_splats(seed, 40, degree=seed % 4)
    parts = tensors(splats)
    rendering = draw(*parts, random_view(seed, 33, 27), BACKGROUND)
    weight = torch.from_numpy(np.random.default_rng(seed).random((3, 27, 33), np.float32))
    ((rendering.image * weight).sum() + rendering.alpha.sum()).backward()
    gradients = [p.grad for p in parts]
    pull = torch.as_tensor(np.asarray(rendering.screen.gradients))
    return rendering.image.detach(), rendering.alpha.detach(), gradients, pull


@pytest.mark.parametrize("seed", range(50))
def test_the_adapter_draws_what_the_built_in_rasterizer_draws(standin, seed):
    image, alpha, gradients, pull = drawn(gsplat_backend.rasterize, seed)
    expected, expected_alpha, expected_gradients, expected_pull = drawn(rasterizer.rasterize, seed)
    # splats cut at exactly 1/255 may differ by that much in a pixel or two
    for got, want in ((image, expected), (alpha, expected_alpha)):
        assert float((got - want).abs().mean()) < 1e-5
        assert float((got - want).abs().max()) < 8e-3
    for got, want in zip([*gradients, pull], [*expected_gradients, expected_pull], strict=True):
        scale = float(want.abs().max()) + 1e-6
        assert float((got - want).abs().max()) < 0.02 * scale


@pytest.mark.parametrize("wrong", ["quaternion", "center", "transposed", "sh", "background"])
def test_a_wrong_convention_would_be_seen(standin, monkeypatch, wrong):
    right = gsplat_standin.rasterization

    def rasterization(**a):
        if wrong == "quaternion":
            a["quats"] = a["quats"].roll(-1, 1)
        elif wrong == "center":
            a["Ks"] = a["Ks"] + torch.tensor([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        elif wrong == "transposed":
            a["viewmats"] = a["viewmats"].clone()
            a["viewmats"][0, :3, :3] = a["viewmats"][0, :3, :3].T.clone()
        elif wrong == "sh":
            a["colors"] = a["colors"].flip(1)
        else:
            a["backgrounds"] = 1 - a["backgrounds"]
        return right(**a)

    monkeypatch.setattr(gsplat_standin, "rasterization", rasterization)
    image = drawn(gsplat_backend.rasterize, 3)[0]
    assert float((image - drawn(rasterizer.rasterize, 3)[0]).abs().mean()) > 1e-3


def test_the_stand_in_has_gsplats_signature_and_conventions():
    if importlib.util.find_spec("gsplat") is None:
        pytest.skip("gsplat is not installed")
    import gsplat
    from gsplat.cuda import _torch_impl as theirs

    ours = inspect.signature(gsplat_standin.rasterization).parameters
    real = inspect.signature(gsplat.rasterization).parameters
    assert list(ours) == list(real)
    defaults = {n: p.default for n, p in real.items() if n not in ("rolling_shutter",)}
    assert {n: p.default for n, p in ours.items() if n in defaults} == defaults
    for name in ("DefaultStrategy", "MCMCStrategy"):
        mine, full = getattr(gsplat_standin, name), getattr(gsplat, name)
        fields = {f.name: f.default for f in dataclasses.fields(full)}
        assert all(fields[f.name] == f.default for f in dataclasses.fields(mine))
    for seed in range(10):
        splats, view = random_splats(seed, 40, degree=3), random_view(seed, 33, 27)
        means, quats, scales, _, sh = tensors(splats, torch.float64)
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3], pose[:3, 3] = torch.tensor(view.rotation), torch.tensor(view.translation)
        lens = torch.tensor(
            [[view.fl_x, 0, view.cx], [0, view.fl_y, view.cy], [0, 0, 1]], dtype=torch.float64
        )
        covars, _ = theirs._quat_scale_to_covar_preci(quats, torch.exp(scales), True, False)
        _, means2d, depths, conics, _ = theirs._fully_fused_projection(
            means, covars, pose[None], lens[None], 33, 27, near_plane=0.2
        )
        x, y, z = (means @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
        cov = gsplat_standin._covariance2d(
            quats, torch.exp(scales), pose, (x, y, z),
            (lens[0, 0], lens[1, 1], lens[0, 2], lens[1, 2]), 33, 27, 0.3,
        )  # fmt: skip
        front = z > 0.2
        conic = torch.linalg.inv(cov)
        mine = torch.stack([conic[:, 0, 0], conic[:, 0, 1], conic[:, 1, 1]], 1)
        torch.testing.assert_close(conics[0][front], mine[front], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(depths[0][front], z[front])
        pixels = torch.stack([lens[0, 0] * x / z + lens[0, 2], lens[1, 1] * y / z + lens[1, 2]], 1)
        torch.testing.assert_close(means2d[0][front], pixels[front])
        d = torch.nn.functional.normalize(means, dim=1)
        wanted = theirs._spherical_harmonics(3, d, sh)
        got = sum(f(*d.unbind(1))[:, None] * sh[:, k] for k, f in enumerate(gsplat_standin.SH))
        torch.testing.assert_close(wanted, got)


def start(count=100):
    def first():
        from gs_diffusion_addon.engine.splat.dataset import World

        points = surface_points(count)
        pale = dataclasses.replace(points, colors=points.colors // 2 + 64)
        return from_points(pale, World(np.zeros(3), 3.5), count, 1, 0)

    return first


@pytest.mark.parametrize("source", ["stand-in", "gsplat itself"])
@pytest.mark.parametrize("kind", ["recipe", "default", "mcmc"])
def test_strategies_train_in_our_loop(monkeypatch, tmp_path, kind, source):
    if source == "stand-in":
        monkeypatch.setitem(sys.modules, "gsplat", gsplat_standin)
    else:
        gsplat = pytest.importorskip("gsplat")
        monkeypatch.setattr(gsplat, "rasterization", gsplat_standin.rasterization)
        from gsplat.strategy import ops

        monkeypatch.setattr(ops, "compute_relocation", relocation)
        from gsplat.cuda import _torch_impl

        covariances = _torch_impl._quat_scale_to_covar_preci
        monkeypatch.setattr(ops, "quat_scale_to_covar_preci", covariances)
    write_dataset(tmp_path, views=8, size=(24, 20))
    dataset = load(tmp_path)
    recipe = Recipe(steps=40, most_splats=110)
    backend = backends.gsplat(kind, device="cpu")
    scores: list[float] = []
    result = train(dataset, start(), recipe, backend, keep(scores))
    assert isinstance(result, Splats) and result.count >= 80
    if kind == "mcmc":
        assert 100 < result.count <= 110
    assert np.isfinite(result.means).all() and scores[-1] > 10
    if (kind, source) != ("default", "gsplat itself"):  # its splits need more steps to pay
        assert scores[-1] > scores[0]


def keep(scores):
    """A report that keeps the held-out PSNR whenever it was measured."""
    return lambda status: scores.append(status.psnr) if status.psnr is not None else None


def relocation(opacities, scales, ratios, binoms):
    """gsplat.relocation.compute_relocation in plain torch: N copies that look like one (Kheradmand
    et al. 2024, equation 9).
    """
    out_o, out_s = torch.empty_like(opacities), torch.empty_like(scales)
    for i, n in enumerate(ratios.flatten().tolist()):
        o = float(opacities.flatten()[i])
        new = 1 - (1 - o) ** (1 / n)
        total = sum(
            float(binoms[k - 1, j]) * (-1) ** j / (j + 1) ** 0.5 * new ** (j + 1)
            for k in range(1, n + 1)
            for j in range(k)
        )
        out_o.view(-1)[i] = new
        out_s[i] = scales[i] * (o / total)
    return out_o, out_s


def test_pictures_of_several_sizes_train_together(standin, tmp_path):
    import json

    from PIL import Image

    write_dataset(tmp_path, views=8, size=(24, 20))
    path = tmp_path / "transforms_train.json"
    data = json.loads(path.read_text())
    for k, frame in enumerate(data["frames"]):
        if k % 2:
            file = tmp_path / (frame["file_path"] + ".png")
            Image.open(file).resize((36, 30)).save(file)
            frame.update(w=36, h=30, fl_x=data["fl_x"] * 1.5, fl_y=data["fl_y"] * 1.5)
            frame.update(cx=18, cy=15)
    path.write_text(json.dumps(data))
    dataset = load(tmp_path)
    assert {p.rgba.shape[:2] for p in dataset.train} == {(20, 24), (30, 36)}
    for backend in (backends.builtin(), backends.gsplat(device="cpu")):
        scores = []
        train(dataset, start(), Recipe(steps=40), backend, keep(scores))
        assert scores[-1] > scores[0]


def test_a_checkpoint_of_a_strategy_resumes(standin, tmp_path):
    write_dataset(tmp_path, views=8, size=(24, 20))
    dataset, recipe = load(tmp_path), Recipe(steps=30, most_splats=110)
    file = tmp_path / "checkpoint.npz"

    class Stop(Exception):
        pass

    def report(status):
        if status.step == 21:
            raise Stop

    backend = backends.gsplat("mcmc", device="cpu")
    with pytest.raises(Stop):
        train(dataset, start(), recipe, backend, report, file, 0.0)
    assert file.is_file()
    steps = []
    again = backends.gsplat("mcmc", device="cpu")
    train(dataset, start(), recipe, again, lambda s: steps.append(s.step), file, 0.0)
    assert 20 <= steps[0] <= 24 and steps[-1] == 30


def test_without_a_card_it_says_so():
    if torch.cuda.is_available():
        pytest.skip("there is a card")
    assert gsplat_backend.problem() == (
        "gsplat needs an NVIDIA GPU with CUDA, and torch finds none."
    )
