"""The stylizer diffusers_local: tiny models with random weights, built here, nothing downloaded."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gs_diffusion_addon.core.errors import GsdError, InputError, MissingError
from gs_diffusion_addon.engine.images import read_rgb
from gs_diffusion_addon.engine.stylize import diffusers_local as local
from gs_diffusion_addon.engine.stylize import diffusers_samplers as samplers
from gs_diffusion_addon.engine.stylize import module_of, run_stage
from tests.engine.stylize_helpers import Recorder, make_turntable, small
from tests.engine.synthetic import with_settings, write_run

INSTALLED = importlib.util.find_spec("diffusers") is not None
# diffusers' schedulers use numpy in ways that it warns about, thousands of times.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:huggingface_hub"),
]
needs = pytest.mark.skipif(not INSTALLED, reason="needs the package diffusers")

LOCAL = {
    "stylizer": "diffusers_local", "page_size": 64, "sides": 1, "views": 8, "rings": "none",
    "keys": 2, "diffusion_steps": 3, "strength": 0.7, "sampler": "DDIM", "scheduler": "Automatic",
    "threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.engine.tiny_diffusion import save_pipeline

    return save_pipeline(tmp_path_factory.mktemp("a model"))


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.engine.tiny_diffusion import save_controlnet

    return save_controlnet(tmp_path_factory.mktemp("net"))


def pictures(root: Path, **changes: object) -> tuple[np.ndarray, Recorder, dict[str, str]]:
    """The first key of a stage with these settings, its events and its page's text."""
    settings = small(**{**LOCAL, **changes})
    run, emit = make_turntable(root, settings), Recorder()
    run_stage(run, settings, emit)
    with Image.open(run.output / "00000-input0.png") as image:
        return read_rgb(run.output / "00000-input0.png"), emit, dict(image.text)


# --- what needs no package ------------------------------------------------------------------------


def test_a_missing_package_is_one_sentence_with_the_command(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError) as caught:
        module_of("diffusers_local").check(small(checkpoint="o/n"))
    said = str(caught.value)
    assert said.count(". ") == 0 and "-m pip install -r" in said and "diffusers.txt" in said
    assert local.REQUIREMENTS.is_file()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checkpoint": ""}, "needs a model"),
        ({"checkpoint": "model.ckpt"}, "is a pickle"),
        ({"checkpoint": "not a name"}, "cannot be used"),
        ({"checkpoint": "models/foo.safetensors"}, "models/foo.safetensors does not exist; --ch"),
        ({"checkpoint": "./foo"}, "/foo does not exist"),
        ({"checkpoint": "../models/foo"}, "models/foo does not exist"),
        ({"checkpoint": "~/models"}, f"The model {Path.home() / 'models'} does not exist"),
        ({"checkpoint": "/models/foo"}, "The model /models/foo does not exist"),
        ({"checkpoint": "my/models/foo"}, "my/models/foo does not exist"),
        ({"checkpoint": "o/n", "vae": "vae/x.SafeTensors"}, "SafeTensors does not exist; --vae"),
        ({"checkpoint": "o/n", "vae": "x.pt"}, "is a pickle"),
        ({"checkpoint": "o/n", "refiner": "x"}, "--refiner"),
        ({"checkpoint": "o/n", "prompt": "<lora:x:1>"}, "LoRA"),
        ({"checkpoint": "o/n", "control": "reference"}, "reference"),
        ({"checkpoint": "o/n", "control": "canny@o/n:1:0-1:control"}, "balanced alone"),
        ({"checkpoint": "o/n", "control": "depth"}, "--control depth@MODEL"),
        ({"checkpoint": "o/n", "sampler": "DPM++ SDE"}, "--sampler can be DPM"),
    ],
)
def test_what_it_cannot_do_is_refused_at_once(monkeypatch, changes: dict, words: str) -> None:
    monkeypatch.setattr(local, "NEEDS", ())
    for refuse in (lambda s: local.check(s), lambda s: local.start(s, Recorder())):
        with pytest.raises(GsdError, match=re.escape(words)):
            refuse(small(**changes))


def test_names_are_those_of_the_servers() -> None:
    assert samplers.resolve("DPM++ 2M Karras", "Automatic") == ("DPM++ 2M", "Karras")
    assert samplers.resolve("k_euler_a", "karras") == ("Euler a", "Karras")
    assert samplers.resolve("Euler", "SGM Uniform") == ("Euler", "SGM Uniform")
    with pytest.raises(InputError, match="--scheduler"):
        samplers.resolve("Euler", "Nope")


# --- with it --------------------------------------------------------------------------------------


@needs
def test_a_stage(model: Path, tmp_path: Path) -> None:
    sheet, emit, text = pictures(tmp_path / "a", checkpoint=str(model))
    again, _, _ = pictures(tmp_path / "b", checkpoint=str(model))
    assert (sheet == again).all()
    before = read_rgb(tmp_path / "a" / "iter1" / "input" / "input0.png")
    assert sheet.shape == before.shape == (56, 64, 3)
    assert np.abs(sheet.astype(int) - before).mean() > 5
    other, _, _ = pictures(tmp_path / "c", checkpoint=str(model), seed=4)
    assert (sheet != other).any()
    assert "Sampler: DDIM" in text["parameters"] and text["seed"] == "3"
    assert any(0 < e["done"] < 1 for e in emit.of("progress"))
    assert not emit.of("warning")


@needs
def test_strength_and_prompt_count(model: Path, tmp_path: Path) -> None:
    kept, _, _ = pictures(tmp_path / "kept", checkpoint=str(model), strength=0.0)
    assert (kept == read_rgb(tmp_path / "kept" / "iter1" / "input" / "input0.png")).all()
    found = [
        pictures(tmp_path / f"{k}", checkpoint=str(model), prompt=p)[0]
        for k, p in enumerate(("a head", "zzz"))
    ]
    assert (found[0] != found[1]).any()
    _, emit, _ = pictures(tmp_path / "long", checkpoint=str(model), prompt="abc " * 40)
    assert "--prompt has 122 tokens" in emit.of("warning")[0]["message"]
    _, emit, _ = pictures(tmp_path / "own", checkpoint=str(model), scheduler="Karras")
    assert "has its own noise schedule" in emit.of("warning")[0]["message"]


@needs
def test_control_acts_by_weight_and_several_units_are_taken(
    model: Path, net: Path, tmp_path: Path
) -> None:
    found = {}
    for name, control in (
        ("none", ""), ("canny", f"canny@{net}"), ("weak", f"canny@{net}:0.1"),
        ("both", f"canny@{net},tile@{net}:0.5:0-0.6"),
    ):  # fmt: skip
        found[name], _, _ = pictures(tmp_path / name, checkpoint=str(model), control=control)
    change = {n: np.abs(p.astype(int) - found["none"]).mean() for n, p in found.items()}
    assert 0 < change["weak"] < change["canny"], change
    assert (found["both"] != found["canny"]).any()


@needs
def test_sequential_mode_repaints_under_a_mask(model: Path, net: Path, tmp_path: Path) -> None:
    for name, control in (("plain", ""), ("net", f"depth@{net}")):
        settings = with_settings(
            **{k: v for k, v in LOCAL.items() if k not in ("views", "rings", "page_size")},
            views=8, rings="none", page_size=96, checkpoint=str(model), sequential=True,
            compare_independent="no", prompt="a head", control=control,
        )  # fmt: skip
        run, _ = write_run(tmp_path / name, settings)
        run_stage(run, dataclasses.replace(settings, keys=3), Recorder())
        assert len(list(run.keys.iterdir())) == 3
        assert (run.input / "input1-mask.png").is_file()


@needs
def test_every_sampler_runs(model: Path) -> None:
    emit = Recorder()
    loaded = local.start(small(**{**LOCAL, "checkpoint": str(model), "diffusion_steps": 6}), emit)
    config = loaded.pipe.scheduler.config
    page = np.full((64, 64, 3), 120, np.uint8)
    page[16:48, 16:48] = 200
    found = {}
    for sampler in samplers.SAMPLERS:
        loaded.pipe.scheduler, _ = samplers.build(sampler, "Automatic", config)
        found[sampler] = loaded(page, (1, 1), lambda *_: None).pixels
        assert found[sampler].shape == page.shape and found[sampler].std() > 1, sampler
    assert (found["Euler"] != found["Euler a"]).any()


@needs
@pytest.mark.parametrize("schedule", list(samplers.SCHEDULES))
def test_every_schedule_can_be_built(schedule: str) -> None:
    import diffusers

    config = diffusers.PNDMScheduler(skip_prk_steps=True).config
    built, used = samplers.build("Euler", schedule, config)
    built.set_timesteps(8)
    assert used == ("Uniform" if schedule == "Automatic" else schedule)
    assert (np.diff(built.sigmas.numpy()) < 0).all() and len(built.sigmas) == 9


@needs
def test_ddim_does_not_clip_latents() -> None:
    """Nor with a configuration that says nothing of it, as many models have."""
    import diffusers

    built, _ = samplers.build("DDIM", "Automatic", diffusers.PNDMScheduler().config)
    assert built.config.clip_sample is False


@needs
def test_a_model_that_would_draw_nonsense_is_refused(model: Path, tmp_path: Path) -> None:
    import shutil

    import diffusers

    speechless, flow = tmp_path / "speechless", tmp_path / "flow"
    for copy in (speechless, flow):
        shutil.copytree(model, copy)
    (speechless / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(MissingError, match="cannot read a prompt"):
        local.start(small(**{**LOCAL, "checkpoint": str(speechless)}), Recorder())
    diffusers.FlowMatchEulerDiscreteScheduler().save_pretrained(flow / "scheduler")
    index = flow / "model_index.json"
    index.write_text(index.read_text().replace("PNDMScheduler", "FlowMatchEulerDiscreteScheduler"))
    with pytest.raises(InputError, match="another kind of sampler"):
        local.start(small(**{**LOCAL, "checkpoint": str(flow)}), Recorder())


@needs
def test_a_model_that_cannot_be_loaded_is_a_sentence(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    pickled = tmp_path / "pickled"
    shutil.copytree(model, pickled)
    weights = next((pickled / "unet").glob("*.safetensors"))
    weights.rename(weights.with_suffix(".bin"))
    cut = tmp_path / "cut"
    shutil.copytree(model, cut)
    weights = cut / "text_encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    for name in ("nobody/nothing-at-all", str(pickled), str(cut)):
        with pytest.raises(MissingError, match="cannot be loaded"):
            local.start(small(**{**LOCAL, "checkpoint": name}), Recorder())
