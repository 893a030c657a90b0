"""Automatic1111's names of samplers and noise schedules, as the package diffusers builds them.

The user writes the same names for every stylizer. Left out is what diffusers only approximates
("DPM++ SDE" and "DPM++ 2S a" are other solvers there).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ...core.a1111_names import resolve_sampler

Options = Mapping[str, Any]

# Name -> class in diffusers, its options, and the schedule that A1111 means by "Automatic".
SAMPLERS: Mapping[str, tuple[str, Options, str]] = {
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}, "Karras"),
    "DPM++ 2M SDE": (
        "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, "Exponential",
    ),
    "DPM++ 3M SDE": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}, "Exponential",
    ),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}, "Uniform"),
    "Euler": ("EulerDiscreteScheduler", {}, "Uniform"),
    "LMS": ("LMSDiscreteScheduler", {}, "Uniform"),
    "Heun": ("HeunDiscreteScheduler", {}, "Uniform"),
    "DPM2": ("KDPM2DiscreteScheduler", {}, "Karras"),
    "DPM2 a": ("KDPM2AncestralDiscreteScheduler", {}, "Karras"),
    # The default clips to -1..1, as is right for pixels, and latents go beyond.
    "DDIM": ("DDIMScheduler", {"clip_sample": False}, ""),
    "PLMS": ("PNDMScheduler", {"skip_prk_steps": True}, ""),
    "UniPC": ("UniPCMultistepScheduler", {}, ""),
    "LCM": ("LCMScheduler", {}, ""),
}  # fmt: skip

ALIASES = {"DPM++ 2M": ["k_dpmpp_2m"], "Euler a": ["k_euler_a"], "Euler": ["k_euler"]}

SCHEDULES: Mapping[str, Options] = {
    "Automatic": {},
    "Uniform": {"timestep_spacing": "linspace"},
    "Karras": {"use_karras_sigmas": True},
    "Exponential": {"use_exponential_sigmas": True},
    "SGM Uniform": {"timestep_spacing": "trailing"},
    "Simple": {"timestep_spacing": "trailing"},
    "Normal": {"timestep_spacing": "linspace"},
    "DDIM": {"timestep_spacing": "leading"},
    "Beta": {"use_beta_sigmas": True},
}


def resolve(sampler: str, scheduler: str) -> tuple[str, str]:
    """Our names of both, old combined names ("DPM++ 2M Karras") included; raises InputError with
    the choices.
    """
    samplers = [{"name": n, "aliases": ALIASES.get(n, [])} for n in SAMPLERS]
    schedulers = [{"label": n, "name": n.lower().replace(" ", "_")} for n in SCHEDULES]
    name, schedule = resolve_sampler(sampler, scheduler, samplers, schedulers)
    return name, schedule or "Automatic"


def build(sampler: str, schedule: str, config: Any) -> tuple[Any, str]:
    """A scheduler of diffusers, and the schedule that it really uses.

    ``config``: the model's own scheduler configuration, which knows its noise and what it
    predicts. Some samplers have one schedule alone; the name returned is then "Automatic".
    """
    import diffusers

    kind, options, automatic = SAMPLERS[sampler]
    builder = getattr(diffusers, kind)
    known = inspect.signature(builder.__init__).parameters
    used = (automatic or "Automatic") if schedule == "Automatic" else schedule
    wanted = SCHEDULES[used]
    if not set(wanted) <= set(known):
        used, wanted = "Automatic", {}
    # What the model's configuration says of its own sampler must not mix with what is asked for.
    plain = {
        name: known[name].default
        for name in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
        if name in known
    }
    return builder.from_config(config, **{**plain, **options, **wanted}), used
