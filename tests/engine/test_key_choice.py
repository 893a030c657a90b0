"""Key views chosen by coverage: the choice, and that every stage and a resumed run keep it."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.keyframes import choice_file, keyframes, planned, used
from gs_diffusion_addon.core.orbit import plan_keys
from gs_diffusion_addon.core.settings import Ring
from gs_diffusion_addon.core.stale import settings_digest
from gs_diffusion_addon.engine import metrics, propagate, stylize
from gs_diffusion_addon.engine.guides import thinned
from gs_diffusion_addon.engine.images import read_rgba
from gs_diffusion_addon.engine.key_choice import choose, quality, shown_by
from gs_diffusion_addon.engine.propagate import rows
from tests.engine import synthetic
from tests.engine.stylize_helpers import Recorder


def test_choice_comes_near_the_best_of_all_choices():
    rng = np.random.default_rng(0)
    for _ in range(5):
        shown = (rng.random((9, 40)) * (rng.random((9, 40)) < 0.4)).astype(np.float32)
        weight = rng.random(40).astype(np.float32)
        weight /= weight.sum()
        found = choose(shown, weight, [(range(6), 2), (range(6, 9), 1)])
        assert len(found) == 3 and sum(k < 6 for k in found) == 2
        every = itertools.product(itertools.combinations(range(6), 2), range(6, 9))
        best = max(quality(shown, weight, [*pair, k]) for pair, k in every)
        assert quality(shown, weight, found) > 0.97 * best


def test_more_keys_than_frames_takes_all():
    shown = np.eye(3, dtype=np.float32)
    assert choose(shown, np.full(3, 1 / 3, np.float32), [(range(3), 9), ([], 2)]) == [0, 1, 2]


def test_three_keys_look_where_most_is_to_be_seen():
    """Of a long thing standing along x, broadsides and one end beat evenly spaced views."""
    views = []
    for frame in synthetic.orbit([Ring(5, 16)], size=(64, 64)):
        view, _, which = synthetic.trace(frame.camera)
        depth = np.where(which == len(synthetic.BALLS), view.depth, np.float32(1e10))
        slab = np.abs(view.normal[..., 0]) < 0.5  # the slab without its two ends
        views.append(type(view)(view.camera, np.where(slab, depth, np.float32(1e10)), view.normal))
    shown, weight = shown_by(views)
    assert weight.sum() == pytest.approx(1, abs=1e-4)
    found = choose(shown, weight, [(range(16), 2)])
    even = [4, 12]  # along x, at the missing ends
    assert quality(shown, weight, found) > 1.5 * quality(shown, weight, even)
    assert all(min(abs(k - side) % 16 for side in (0, 8, 16)) <= 1 for k in found)


def test_thinning_keeps_the_geometry():
    view, _, _ = synthetic.trace(synthetic.orbit([Ring(20, 5)], size=(90, 80))[1].camera)
    for step in (2, 3, 5):
        small = thinned(view, step)
        first = (step - 1) // 2
        y, x = np.argwhere(small.mask)[7]
        places = [
            v.camera.unproject(np.array([a + 0.5, b + 0.5]), v.depth[b, a])
            for v, a, b in ((small, x, y), (view, first + step * x, first + step * y))
        ]
        assert np.allclose(*places, atol=1e-5)


def test_all_stages_and_a_resumed_run_keep_the_choice(tmp_path):
    settings = synthetic.with_settings(
        key_choice="coverage", keys=3, ring_keys=1, views=10, style="5", sides=2, page_size=256,
        compare_independent="no", holes="smooth",
    )  # fmt: skip
    run, frames = synthetic.write_run(tmp_path, settings, size=(64, 64))
    with pytest.raises(InputError, match="run the stylize stage again"):
        keyframes(run, settings)
    assert planned(run, settings) == plan_keys(settings)
    stylize.run_stage(run, settings, Recorder())
    chosen = keyframes(run, settings)
    assert len(chosen) == 4 and sum(k < 10 for k in chosen) == 3
    assert chosen == json.loads(choice_file(run).read_text())["keys"]
    assert sorted(p.name for p in run.keys.glob("*.png")) == [f"keys{k:05d}.png" for k in chosen]
    again = Recorder()
    stylize.run_stage(run, dataclasses.replace(settings, threads=1), again)
    assert not again.paths() and keyframes(run, settings) == chosen
    propagate.run_stage(run, settings, lambda event, **fields: None)
    assert all(read_rgba(run.stylized_frame(f.frame))[..., 3].any() for f in frames)
    places = rows.places(keyframes(run, settings), frames)
    assert {p.left.frame for p in places.values()} == set(chosen)
    assert metrics.planned(run, settings) == chosen
    even = dataclasses.replace(settings, key_choice="even")
    assert settings_digest("stylize", 1, even) != settings_digest("stylize", 1, settings)
    choice_file(run).write_text('{"keys": "all"}')
    with pytest.raises(InputError, match="damaged"):
        keyframes(run, settings)


def test_chosen_keys_can_be_rejected(tmp_path):
    """Left out of the chosen ones, not of the evenly spread; the choice itself stays."""
    settings = synthetic.with_settings(
        key_choice="coverage", keys=3, ring_keys=0, views=10, rings="none", style="5", sides=2,
        page_size=256, compare_independent="no", holes="smooth",
    )  # fmt: skip
    run, frames = synthetic.write_run(tmp_path, settings, size=(64, 64))
    stylize.run_stage(run, settings, Recorder())
    chosen = keyframes(run, settings)
    rejected = dataclasses.replace(settings, reject_keys=str(chosen[1]))
    assert used(run, rejected) == [chosen[0], chosen[2]]
    assert keyframes(run, rejected) == chosen
    run.key(chosen[1]).unlink()  # nothing may want it any more
    propagate.run_stage(run, rejected, lambda event, **fields: None)
    assert all(read_rgba(run.stylized_frame(f.frame))[..., 3].any() for f in frames)
    places = rows.places(used(run, rejected), frames)
    assert {p.left.frame for p in places.values()} == {chosen[0], chosen[2]}
    # Evenly spread keys are no keys here: rejecting them changes nothing.
    even = ",".join(str(k) for k in plan_keys(settings) if k not in chosen)
    assert used(run, dataclasses.replace(settings, reject_keys=even)) == chosen
    with pytest.raises(InputError, match="reject-keys"):
        used(run, dataclasses.replace(settings, reject_keys=",".join(map(str, chosen))))
