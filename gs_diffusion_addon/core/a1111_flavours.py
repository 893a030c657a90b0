"""The programs that speak the A1111 API, and what each can and cannot do.

Read in their sources and, for A1111, measured. What a program cannot do it mostly ignores without
a word, so it is refused before anything is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SDCPP_HASH = "8888888888"  # stable-diffusion.cpp gives its one model this hash


@dataclass(frozen=True)
class Flavour:
    """One program's abilities.

    ``grain``: pixels that sizes must be multiples of; ``longest``: most pixels of a side and
    ``most_steps``: most sampling steps, 0 for no limit. ``controlnet``: has the ControlNet script;
    ``capital_none``: writes the preprocessor that does nothing as "None"; ``progress``: tells its
    progress; ``vae``, ``refiner``, ``loras``: lets requests choose them; ``models``: can be told
    to load another model.
    """

    name: str
    grain: int = 8
    longest: int = 0
    most_steps: int = 0
    controlnet: bool = True
    capital_none: bool = False
    progress: bool = True
    vae: bool = True
    refiner: bool = True
    loras: bool = True
    models: bool = True

    def lacks(self, needs: Mapping[str, bool]) -> str:
        """The first of ``needs`` (flag of the command line -> needed) that is not there, or ""."""
        can = {
            "--control": self.controlnet,
            "--vae": self.vae,
            "--refiner": self.refiner,
            "--checkpoint": self.models,
            "<lora:…>": self.loras,
        }
        return next((flag for flag, needed in needs.items() if needed and not can[flag]), "")


A1111 = Flavour("Automatic1111")
FORGE = Flavour("Forge", capital_none=True, vae=False)
REFORGE = Flavour("reForge", capital_none=True)
SDNEXT = Flavour("SD.Next", controlnet=False)
SDCPP = Flavour(
    "stable-diffusion.cpp",
    controlnet=False,
    progress=False,
    vae=False,
    refiner=False,
    loras=False,
    models=False,
)
KOBOLD = Flavour(
    "KoboldCpp",
    grain=64,
    longest=1024,
    most_steps=80,
    controlnet=False,
    progress=False,
    vae=False,
    refiner=False,
    loras=False,
    models=False,
)


def detect(
    options: Mapping[str, Any], models: Sequence[Mapping[str, Any]], has_version: bool
) -> Flavour:
    """Which program answers.

    ``options``: its options; ``models``: its list of models; ``has_version``: whether it has GET
    version, which only SD.Next does. reForge looks like A1111 here and is told apart by its
    ControlNet (:meth:`a1111.Client.control_lists`).
    """
    if "forge_preset" in options:
        return FORGE
    if len(options) <= 2:
        is_cpp = any(str(m.get("hash")) == SDCPP_HASH for m in models)
        return SDCPP if is_cpp else KOBOLD
    return SDNEXT if has_version else A1111
