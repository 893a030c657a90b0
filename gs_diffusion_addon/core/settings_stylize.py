"""The settings of the prompt and of the stylize stage, the diffusion server's included."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import InputError
from .values import declare as _knob


@dataclass(frozen=True)
class StylizeKnobs:
    """The part of :class:`~.settings.Settings` that says how keyframes are restyled."""

    preset: str = _knob(
        "",
        "named presets that fill in other settings, separated by commas; what is given by itself "
        "wins (docs/a1111.md lists them)",
        "prompt",
    )
    # --- prompt and stylize
    prompt: str = _knob("", "what the model shall become", "prompt", "stylize")
    negative_prompt: str = _knob("", "what to keep out of the picture", "prompt", "stylize")
    seed: int = _knob(
        0,
        "seed of everything random in the run",
        "prompt",
        "stylize dataset train",
        low=0,
        high=4294967295,
    )
    stylizer: str = _knob(
        "auto",
        "preview is a small style network that cannot read a prompt; a1111 is Stable Diffusion "
        "on an Automatic1111 server, diffusers_local the same on this machine, without a server; "
        "auto takes the server if one answers",
        "stylize",
        "stylize",
        choices=("auto", "preview", "a1111", "diffusers_local"),
    )
    strength: float = _knob(
        0.75,
        "how much is changed: denoising strength of the diffusion, share of the style in the "
        "preview",
        "stylize",
        "stylize",
        low=0.0,
        high=1.0,
    )
    keys: int = _knob(9, "keyframes on ring 0", "stylize", "stylize", low=1, high=500)
    key_choice: str = _knob(
        "even",
        "which frames are keyframes: even spreads them over the ring, coverage takes those that "
        "together show the model's surface best",
        "stylize",
        "stylize",
        choices=("even", "coverage"),
        advanced=True,
    )
    ring_keys: int = _knob(
        3,
        "keyframes on each further ring",
        "stylize",
        "stylize",
        low=0,
        high=500,
        advanced=True,
    )
    sides: int = _knob(
        3,
        "a collage page holds SIDES x SIDES keyframes, restyled together",
        "stylize",
        "stylize",
        low=1,
        high=8,
    )
    page_size: int = _knob(
        1536,
        "longest side of a collage page",
        "stylize",
        "stylize",
        unit="px",
        low=64,
        high=8192,
        advanced=True,
    )
    style: str = _knob(
        "bronze",
        "style of the preview: a preset's name, a number 0-25 or a picture",
        "stylize",
        "stylize",
    )
    compare_independent: str = _knob(
        "auto",
        "also restyle every frame of ring 0 on its own, to measure what propagation gains; auto "
        "does "
        "it for stylizers that cost little",
        "stylize",
        "stylize report",
        choices=("auto", "yes", "no"),
        advanced=True,
    )
    server: str = _knob(
        "http://127.0.0.1:7860",
        "address of the Automatic1111 server, or several separated by commas, which then share the "
        "work (user and password go into GSD_A1111_AUTH=user:password)",
        "stylize",
        "",
    )
    checkpoint: str = _knob(
        "",
        "diffusion model on the server, empty keeps the loaded one; for diffusers_local a model "
        "folder or an id on the Hugging Face hub",
        "stylize",
        "stylize",
    )
    sampler: str = _knob("DPM++ 2M", "sampler of the diffusion", "stylize", "stylize")
    scheduler: str = _knob(
        "Karras", "noise schedule of the diffusion", "stylize", "stylize", advanced=True
    )
    diffusion_steps: int = _knob(
        30, "sampling steps of the diffusion", "stylize", "stylize", low=1, high=500
    )
    cfg_scale: float = _knob(
        7.0,
        "how closely the diffusion follows the prompt",
        "stylize",
        "stylize",
        low=0.0,
        high=60.0,
    )
    server_timeout: float = _knob(
        600.0,
        "longest wait for one page from the server",
        "stylize",
        "",
        unit="s",
        low=1.0,
        high=86400.0,
        advanced=True,
    )
    server_verify: bool = _knob(
        True,
        "check the server's TLS certificate; off for self-signed ones",
        "stylize",
        "",
        advanced=True,
    )
    control: str = _knob(
        "",
        "ControlNet units fed from Blender's passes, separated by commas: "
        "KIND[@MODEL][:WEIGHT[:START-END[:MODE]]] with the kinds depth, normal, canny, lines, "
        "tile, seg (objects), materials, reference and the modes balanced, prompt, control",
        "stylize",
        "stylize",
    )
    canny_low: int = _knob(
        100,
        "gradient from which on a pixel beside an edge is one, for canny control",
        "stylize",
        "stylize",
        low=1,
        high=2000,
        advanced=True,
    )
    canny_high: int = _knob(
        200,
        "gradient from which on a pixel starts an edge, for canny control",
        "stylize",
        "stylize",
        low=1,
        high=2000,
        advanced=True,
    )
    sequential: bool = _knob(
        False,
        "restyle keyframes one after the other, each started from what the finished ones show of "
        "its surface, so that only what they do not see is made anew",
        "stylize",
        "stylize",
    )
    view_prompts: bool = _knob(
        False,
        "tell the prompt where the camera stands (front view, side view, ...) where a picture "
        "shows one view",
        "stylize",
        "stylize",
        advanced=True,
    )
    refiner: str = _knob(
        "",
        "second diffusion model on the server that finishes the picture",
        "stylize",
        "stylize",
        advanced=True,
    )
    refiner_switch: float = _knob(
        0.8,
        "share of the steps after which the refiner takes over",
        "stylize",
        "stylize",
        low=0.01,
        high=1.0,
        advanced=True,
    )
    vae: str = _knob(
        "",
        "VAE on the server; empty keeps the one it uses",
        "stylize",
        "stylize",
        advanced=True,
    )
    later: str = _knob(
        "",
        "what differs from the second iteration on, as NAME=VALUE separated by semicolons, such "
        "as 'sampler=DDIM; strength=0.5'",
        "stylize",
        "stylize",
        advanced=True,
    )


def parse_later(text: str) -> dict[str, str]:
    """``"sampler=DDIM; strength=0.5"`` -> names and values as text; raises InputError."""
    found: dict[str, str] = {}
    if text.strip() == "none":
        return found
    for part in filter(None, (p.strip() for p in text.split(";"))):
        name, sign, value = part.partition("=")
        if not sign or not name.strip():
            raise InputError(f"--later wants NAME=VALUE; NAME=VALUE, not {part!r}.")
        found[name.strip().replace("-", "_").lstrip("_")] = value.strip()
    return found
