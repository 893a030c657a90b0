"""Our Adam against torch's, and the order that splats are kept in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gs_diffusion_addon.engine.splat import adam
from gs_diffusion_addon.engine.splat.curve import along_curve
from gs_diffusion_addon.engine.splat.model import (
    RATES,
    arrays_of,
    model_of,
    model_of_arrays,
    refine,
    set_rates,
)
from gs_diffusion_addon.engine.splat.runtime import Workers
from tests.engine.splat_helpers import random_splats


def stepped(kernels, degree, steps=12, threads=None, monkeypatch=None, count=701):
    """A model after steps with random gradients, some of them zero; decaying rates."""
    if threads:
        monkeypatch.setattr(adam, "workers", lambda: Workers(threads))
    model = model_of(random_splats(0, count, degree), "cpu", 3.0, kernels)
    rng = np.random.default_rng(5)
    for step in range(steps):
        sh = rng.normal(size=(count, (degree + 1) ** 2, 3)).astype(np.float32)
        slopes = {"sh": sh, "sh0": sh[:, :1].copy(), "shn": sh[:, 1:].copy()}
        for name in ("means", "quats", "scales", "opacities"):
            shape = model.parameters[name].shape
            slopes[name] = rng.normal(size=shape).astype(np.float32) * 1e-4
            slopes[name][::7] = 0
        for name, tensor in model.parameters.items():
            tensor.grad = torch.from_numpy(slopes[name])
        set_rates(model, step / steps, 3.0)
        model.optimizer.step()
    return model


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_step_is_torchs(degree):
    ours, theirs = stepped(True, degree), stepped(False, degree)
    assert set(ours.parameters) == {"means", "quats", "scales", "opacities", "sh"}
    before = model_of(random_splats(0, 701, degree), "cpu", 3.0).arguments()
    for a, b, start in zip(ours.arguments(), theirs.arguments(), before, strict=True):
        moved = float((b - start).detach().abs().max())
        assert moved > 1e-4
        rounding = 4e-7 * float(b.detach().abs().max())
        assert float((a - b).detach().abs().max()) < 2e-5 * moved + rounding


def test_threads_do_not_matter(monkeypatch):
    one = stepped(True, 3, threads=1, monkeypatch=monkeypatch, count=20_000, steps=3)
    three = stepped(True, 3, threads=3, monkeypatch=monkeypatch, count=20_000, steps=3)
    for a, b in zip(one.arguments(), three.arguments(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kernels", [True, False])
def test_a_model_survives_its_arrays(kernels):
    model = stepped(kernels, 1)
    again = model_of_arrays({n: a.copy() for n, a in arrays_of(model).items()}, "cpu", 3.0)
    assert type(again.optimizer) is type(model.optimizer)
    for one in (model, again):
        for tensor in one.parameters.values():
            tensor.grad = torch.ones_like(tensor)
        set_rates(one, 1.0, 3.0)
        one.optimizer.step()
    for a, b in zip(model.arguments(), again.arguments(), strict=True):
        assert torch.equal(a, b)


def test_splitting_keeps_the_memory_of_those_that_stay():
    model, pull = stepped(True, 1), np.arange(701.0)
    memory = model.optimizer.state[model.parameters["sh"]]["exp_avg"].clone()
    values = model.parameters["sh"].detach().clone()
    assert refine(model, pull, 0.1, 10_000, 0.0) == 0
    assert model.count == 771
    after, kept = model.parameters["sh"], model.optimizer.state[model.parameters["sh"]]
    rows = {tuple(v.ravel().tolist()): m for v, m in zip(values, memory, strict=True)}
    zero = 0
    for value, mean in zip(after.detach(), kept["exp_avg"], strict=True):
        old = rows[tuple(value.ravel().tolist())]  # a child has its parent's color
        zero += int(not mean.any())
        assert torch.equal(mean, old) or not mean.any()
    assert zero == 70
    assert float(kept["step"]) == 12


def test_rates_fall_to_their_shares():
    model = model_of(random_splats(0, 10, 0), "cpu", 3.0, True)
    set_rates(model, 0.5, 3.0)
    half = {g["name"]: g["lr"] for g in model.optimizer.param_groups}
    assert half["sh"] == pytest.approx(3 * RATES["sh0"])
    set_rates(model, 1.0, 3.0)
    last = {g["name"]: g["lr"] for g in model.optimizer.param_groups}
    assert last["sh"] == pytest.approx(0.3 * 3 * RATES["sh0"])
    assert last["means"] == pytest.approx(0.01 * 3 * RATES["means"])


def test_neighbors_in_memory_are_neighbors_in_space():
    rng = np.random.default_rng(0)
    places = rng.normal(size=(4000, 3)).astype(np.float32)
    order = along_curve(places)
    assert sorted(order) == list(range(4000))
    apart = np.linalg.norm(np.diff(places[order], axis=0), axis=1).mean()
    assert apart < 0.25 * np.linalg.norm(np.diff(places, axis=0), axis=1).mean()
    # In a row, the order is the row's, and equal places keep theirs.
    row = np.zeros((50, 3), np.float32)
    row[:, 0] = np.repeat(np.arange(25), 2)
    assert along_curve(row[::-1]).tolist() == [k ^ 1 for k in range(49, -1, -1)]


def test_places_that_are_no_numbers_have_a_place():
    places = np.float32([[np.nan, 0, 0], [1, np.inf, -np.inf], [1, 1, 1]])
    assert sorted(along_curve(places)) == [0, 1, 2]
    assert along_curve(np.empty((0, 3), np.float32)).shape == (0,)
    assert along_curve(np.ones((4, 3), np.float32)).tolist() == [0, 1, 2, 3]
