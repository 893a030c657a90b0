"""Diffusion on this machine, without a server: the package diffusers as a stylizer.

The model is a folder in diffusers' own layout, or an id on the Hugging Face hub, which is
downloaded once. Only safetensors files are read: a pickle can run any program. The settings mean
what they mean on a server; what diffusers cannot do is refused before the model is loaded.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...core.a1111_control import Unit, parse_control
from ...core.a1111_names import lora_names
from ...core.errors import InputError, MissingError, StageError
from ...core.events import Emit
from ...core.settings import Settings
from ...core.version import PACKAGE
from ..images import Bytes
from ..parallel import thread_count
from . import diffusers_samplers as samplers
from .backend import NO_HINTS, Hints, Report, Styled, Stylizer

ENLARGE = True
REQUIREMENTS = PACKAGE / "requirements" / "diffusers.txt"
NEEDS = ("diffusers", "transformers", "accelerate", "safetensors")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
MODEL_FILES = (*PICKLES, ".safetensors", ".sft", ".gguf", ".onnx")
PLACES = re.compile(r"~|\.{1,2}[/\\]|[/\\]|[A-Za-z]:")
"""What a path may begin with, and no hub id does."""
BLACK_LEVEL = 8  # of 255: what comes out of NaNs, and of a safety checker


def check(settings: Settings) -> None:
    """Raise GsdError for what keeps diffusers from restyling with these settings."""
    _require(settings)


def start(settings: Settings, emit: Emit) -> Stylizer:
    """Load the model and its ControlNets. Raises GsdError."""
    sampler, schedule = _require(settings)
    if not settings.prompt.strip():
        emit("warning", message="The prompt is empty, so the model is free to draw anything.")
    emit("phase", message=f"Loading the diffusion model {settings.checkpoint}")
    return _Local(settings, sampler, schedule, emit)


def _require(settings: Settings) -> tuple[str, str]:
    """The names of sampler and schedule, once everything else can be used; raises GsdError."""
    lacking = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if lacking:
        raise MissingError(
            f"The stylizer diffusers_local needs the package {lacking[0]}: install it with "
            f'\'"{sys.executable}" -m pip install -r "{REQUIREMENTS}"\'.'
        )
    source(settings.checkpoint, "--checkpoint")
    if settings.vae not in ("", "Automatic"):
        source(settings.vae, "--vae")
    if settings.refiner:
        raise InputError("The stylizer diffusers_local has no refiner; leave --refiner empty.")
    if lora_names(settings.prompt + settings.negative_prompt):
        raise InputError(
            "The stylizer diffusers_local does not load LoRAs; take <lora:…> out of --prompt."
        )
    for unit in parse_control(settings.control):
        _require_unit(unit)
    return samplers.resolve(settings.sampler, settings.scheduler)


def _require_unit(unit: Unit) -> None:
    if unit.kind == "reference":
        raise InputError(
            "The stylizer diffusers_local has no reference control; leave it out of --control, or "
            "use --sequential."
        )
    if unit.mode != "balanced":
        raise InputError(
            f"The stylizer diffusers_local knows the control mode balanced alone; leave "
            f"{unit.mode!r} out of --control."
        )
    source(unit.model, f"--control {unit.kind}@MODEL")


def source(name: str, flag: str) -> str:
    """A model folder's path or a hub id, as diffusers takes it. Raises InputError."""
    wanted = (
        f"{flag} wants a folder in the layout of diffusers, or an id on the Hugging Face hub such "
        "as OWNER/NAME"
    )
    if not name.strip():
        raise InputError(f"The stylizer diffusers_local needs a model: {wanted}.")
    path = Path(name.strip()).expanduser()
    if path.is_dir():
        if not any((path / f).is_file() for f in ("model_index.json", "config.json")):
            raise InputError(f"{path} holds no model_index.json or config.json; {wanted}.")
        return str(path)
    if path.suffix.lower() in PICKLES:
        raise InputError(
            f"{name!r} is a pickle, which could run any program, so it is not opened; {wanted}."
        )
    if not path.exists() and (
        PLACES.match(name.strip()) or path.suffix.lower() in MODEL_FILES or len(path.parts) > 2
    ):
        raise InputError(f"The model {os.path.abspath(path)} does not exist; {wanted}.")
    if path.is_file() or not HUB_ID.fullmatch(name.strip()):
        raise InputError(f"{name!r} cannot be used; {wanted}.")
    return name.strip()


class _Local:
    """A loaded model."""

    def __init__(self, settings: Settings, sampler: str, schedule: str, emit: Emit) -> None:
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when diffusers is imported
        import diffusers
        import torch

        torch.set_num_threads(thread_count(settings))
        self.settings, self.emit, self.torch = settings, emit, torch
        self.device = _device(torch)
        self.dtype = torch.float16 if self.device == "cuda" else torch.float32
        parts: dict[str, Any] = {}
        nets = [
            self._load(diffusers.ControlNetModel, unit.model, "--control")
            for unit in parse_control(settings.control)
        ]
        if nets:
            parts["controlnet"] = nets[0] if len(nets) == 1 else nets
        if settings.vae not in ("", "Automatic"):
            parts["vae"] = self._load(diffusers.AutoencoderKL, settings.vae, "--vae")
        auto = diffusers.AutoPipelineForImage2Image
        self.pipe = self._load(auto, settings.checkpoint, "--checkpoint", **parts).to(self.device)
        self._require_fit()
        self.pipe.set_progress_bar_config(disable=True)
        self.sampler = sampler
        self.pipe.scheduler, self.schedule = samplers.build(
            sampler, schedule, self.pipe.scheduler.config
        )
        if schedule not in ("Automatic", self.schedule):
            emit(
                "warning",
                message=f"The sampler {sampler} has its own noise schedule here; --scheduler "
                f"{schedule} is not used.",
            )
        self._inpaint: Any = None
        self._mind_the_length()

    def _load(self, kind: Any, name: str, flag: str, **parts: Any) -> Any:
        from safetensors import SafetensorError

        damaged = (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError)
        try:
            return kind.from_pretrained(
                source(name, flag), use_safetensors=True, dtype=self.dtype, **parts
            )
        except (*damaged, ImportError, SafetensorError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise MissingError(
                f"The model {name!r} of {flag} cannot be loaded ({type(error).__name__}: "
                f"{reason[:300]}); it must be there or on the hub, with safetensors files."
            ) from None

    def _require_fit(self) -> None:
        """Raise GsdError for a model that would run and draw nonsense."""
        name, scheduler = self.settings.checkpoint, self.pipe.scheduler
        if "beta_schedule" not in scheduler.config:
            raise InputError(
                f"The model {name!r} is made for another kind of sampler "
                f"({type(scheduler).__name__}) than there is here; choose a Stable Diffusion 1, 2 "
                "or XL for --checkpoint."
            )
        tokenizer = getattr(self.pipe, "tokenizer", None)
        if tokenizer and tokenizer("a").input_ids == tokenizer("b").input_ids:
            raise MissingError(
                f"The model {name!r} cannot read a prompt: the words are missing in its folder "
                "tokenizer; download it again."
            )

    def _mind_the_length(self) -> None:
        tokenizer = getattr(self.pipe, "tokenizer", None)
        most = getattr(tokenizer, "model_max_length", 0)
        for flag, text in (
            ("--prompt", self.settings.prompt),
            ("--negative-prompt", self.settings.negative_prompt),
        ):
            count = len(tokenizer(text).input_ids) if tokenizer else 0
            if 0 < most < count:
                self.emit(
                    "warning",
                    message=f"{flag} has {count} tokens, of which the model reads {most} here; "
                    "shorten it, or put what matters first.",
                )

    def __call__(
        self, page: Bytes, grid: tuple[int, int], report: Report, hints: Hints = NO_HINTS
    ) -> Styled:
        s = self.settings
        prompt = f"{s.prompt}, {hints.view}" if hints.view else s.prompt
        if s.strength == 0:
            return Styled(page, self._text(prompt))
        with_mask = hints.mask is not None
        pipe = self._inpainting() if with_mask else self.pipe
        ask: dict[str, Any] = {
            "prompt": prompt,
            "negative_prompt": s.negative_prompt,
            "image": Image.fromarray(page),
            "strength": s.strength,
            "num_inference_steps": max(s.diffusion_steps, math.ceil(1 / s.strength)),
            "guidance_scale": s.cfg_scale,
            # On the processor, so that a seed means the same on every machine.
            "generator": self.torch.Generator("cpu").manual_seed(s.seed),
            "callback_on_step_end": _teller(report),
            **_controls(hints.controls),
        }
        if with_mask:
            size = {"width": page.shape[1], "height": page.shape[0]}
            ask |= {"mask_image": Image.fromarray(hints.mask), **size}
        try:
            found = pipe(**ask)
        except self.torch.OutOfMemoryError:
            raise StageError(
                "The diffusion model ran out of graphics memory: lower --page-size or --sides."
            ) from None
        return Styled(_picture(found, page), self._text(prompt))

    def _inpainting(self) -> Any:
        if self._inpaint is None:
            import diffusers

            self._inpaint = diffusers.AutoPipelineForInpainting.from_pipe(self.pipe)
            self._inpaint.set_progress_bar_config(disable=True)
        return self._inpaint

    def _text(self, prompt: str) -> dict[str, str]:
        """``parameters`` as A1111 writes it, so that other programs read it."""
        import diffusers

        s = self.settings
        made = (
            f"{prompt}\nNegative prompt: {s.negative_prompt}\nSteps: {s.diffusion_steps}, Sampler: "
            f"{self.sampler}, Schedule type: {self.schedule}, CFG scale: {s.cfg_scale:g}, Seed: "
            f"{s.seed}, Denoising strength: {s.strength:g}, Model: {s.checkpoint}"
        )
        return {
            "parameters": made,
            "prompt": prompt,
            "negative_prompt": s.negative_prompt,
            "seed": str(s.seed),
            "model": s.checkpoint,
            "control": s.control,
            "stylizer": f"diffusers_local (diffusers {diffusers.__version__}, {self.device})",
        }


def _device(torch: Any) -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _teller(report: Report) -> Any:
    def tell(pipe: Any, step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        report(min(1.0, (step + 1) / max(1, pipe.num_timesteps)), None)
        return tensors

    return tell


def _controls(controls: Sequence[tuple[Unit, Bytes]]) -> dict[str, Any]:
    """The ControlNet part of a call: single values for one unit, lists for several."""
    if not controls:
        return {}
    units = [unit for unit, _ in controls]
    lists: dict[str, list[Any]] = {
        "control_image": [Image.fromarray(picture) for _, picture in controls],
        "controlnet_conditioning_scale": [float(unit.weight) for unit in units],
        "control_guidance_start": [unit.start for unit in units],
        "control_guidance_end": [unit.end for unit in units],
    }
    return {name: value[0] if len(units) == 1 else value for name, value in lists.items()}


def _picture(found: Any, page: Bytes) -> Bytes:
    """The result (H, W, 3) uint8. Raises StageError for a withheld, black or wrong-sized one."""
    if any(getattr(found, "nsfw_content_detected", None) or ()):
        raise StageError("The model's own safety checker withheld the picture; change --prompt.")
    pixels = np.array(found.images[0].convert("RGB"))
    if pixels.shape != page.shape:
        raise StageError(
            f"The diffusion model made {pixels.shape[1]}x{pixels.shape[0]} pixels of "
            f"{page.shape[1]}x{page.shape[0]}; change --page-size."
        )
    if int(pixels.max()) < BLACK_LEVEL <= int(page.max()):
        raise StageError(
            "The diffusion model made a black picture, as it does when its numbers overflow; try "
            "another --vae or --seed."
        )
    return pixels
