"""Sequential mode: keys agree before any propagation, with a stylizer that is inconsistent."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gs_diffusion_addon.core.orbit import key_frames
from gs_diffusion_addon.engine.guides import interior
from gs_diffusion_addon.engine.images import read_rgb
from gs_diffusion_addon.engine.measures import warp_error
from gs_diffusion_addon.engine.stylize import run_stage
from gs_diffusion_addon.engine.stylize.sequential import order, start_from
from tests.engine.stylize_helpers import Recorder
from tests.engine.synthetic import trace, with_settings, write_run
from tests.servers.a1111_server import A1111Server
from tests.servers.pictures import networks

KEYS = 8


def neighbor_error(run, frames, views: int) -> float:
    """Mean raw E_warp between neighboring keys of ring 0, the loop closed."""
    keys = key_frames(views, KEYS)
    traced = {k: trace(frames[k].camera)[0] for k in keys}
    errors = []
    for a, b in [*pairwise(keys), (keys[-1], keys[0])]:
        inside = [interior(traced[k], 2) for k in (a, b)]
        pictures = [read_rgb(run.key(k)) for k in (a, b)]
        errors.append(warp_error(traced[a], traced[b], *inside, *pictures))
    return float(np.mean([e for e in errors if e is not None]))


@pytest.mark.parametrize("artist", ["grain", "networks"])
def test_keys_agree_threefold_better_than_in_a_collage(tmp_path: Path, artist: str) -> None:
    """Grain that sticks to the screen, and real style networks: both differ from view to view."""
    found = {}
    knobs = {} if artist == "grain" else {"artist": networks()}
    for mode in ("collage", "sequential"):
        settings = with_settings(
            views=16, rings="none", keys=KEYS, sides=3, page_size=288, stylizer="a1111",
            compare_independent="no", prompt="a head", sequential=mode == "sequential",
            diffusion_steps=2, strength=1.0,
        )  # fmt: skip
        run, frames = write_run(tmp_path / mode, settings)
        with A1111Server(**knobs) as server:
            run_stage(run, dataclasses.replace(settings, server=server.address), Recorder())
            jobs = server.jobs
        found[mode] = neighbor_error(run, frames, 16)
        assert len(jobs) == (1 if mode == "collage" else KEYS)
        assert {j["seed"] for j in jobs} == {0}
    print(artist, {k: f"{1e4 * v:.1f}e-4" for k, v in found.items()})
    assert found["collage"] > 3 * found["sequential"], found
    # The first key is free, the others keep what is seen: white is repainted, the rest stays.
    assert jobs[0]["mask"] is None and all(j["mask"] for j in jobs[1:])
    assert all(j["inpainting_fill"] == 1 and not j["inpaint_full_res"] for j in jobs)


def test_what_no_key_sees_is_the_source(tmp_path: Path) -> None:
    settings = with_settings(views=12, rings="none")
    _, frames = write_run(tmp_path, settings)
    view, colors, _ = trace(frames[0].camera)
    source = (colors * 255).astype(np.uint8)
    start, keep = start_from(source, view, [])
    assert (start == source).all() and not keep.any()


def test_order_goes_from_the_front_to_both_sides() -> None:
    assert order([0, 3, 6, 9, 12, 14], 12) == [0, 3, 9, 6, 12, 14]


def test_it_resumes_and_does_no_key_twice(tmp_path: Path) -> None:
    settings = with_settings(
        views=8, rings="none", keys=4, sides=2, page_size=192, stylizer="a1111", sequential=True,
        compare_independent="no", prompt="a head", diffusion_steps=2,
    )  # fmt: skip
    whole, _ = write_run(tmp_path / "whole", settings)
    with A1111Server() as server:
        run_stage(whole, dataclasses.replace(settings, server=server.address), Recorder())
    run, _ = write_run(tmp_path / "killed", settings)

    class Killed(BaseException):
        pass

    def emit(event: str, **fields: object) -> None:
        if event == "frame_done" and "frame" in fields:
            raise Killed

    with A1111Server() as server:
        settings = dataclasses.replace(settings, server=server.address)
        for _ in range(8):
            try:
                run_stage(run, settings, emit)
                break
            except Killed:
                continue
        assert len(server.jobs) == 4
    for k in (0, 2, 4, 6):
        assert (read_rgb(run.key(k)) == read_rgb(whole.key(k))).all()
