"""Named presets: settings that belong together, for families of diffusion models and for prompts.

Models differ in what they can stand: a distilled one (Lightning, Turbo, LCM) is ruined by the
guidance scale and the step count that an undistilled one needs. A server executes steps x
strength, so few-step presets ask for more steps than such models are sold with. Nothing here names
a model file: those are the user's own.
"""

from __future__ import annotations

from collections.abc import Mapping

from .errors import InputError

Values = Mapping[str, str | int | float | bool]

FAMILIES: Mapping[str, Values] = {
    # Cells of 512 px, the size SD 1.5 was trained at.
    "sd15-controlnet": {
        "sampler": "DPM++ 2M",
        "scheduler": "Karras",
        "diffusion_steps": 25,
        "cfg_scale": 7.0,
        "strength": 0.75,
        "sides": 2,
        "page_size": 1024,
        "control": "depth:1.0,normal:0.6",
    },
    "sdxl": {
        "sampler": "DPM++ 2M",
        "scheduler": "Karras",
        "diffusion_steps": 30,
        "cfg_scale": 6.0,
        "strength": 0.7,
        "sides": 2,
        "page_size": 1536,
        "control": "depth:0.7:0-0.8",
    },
    "sdxl-lightning": {
        "sampler": "Euler",
        "scheduler": "SGM Uniform",
        "diffusion_steps": 8,
        "cfg_scale": 1.5,
        "strength": 0.75,
        "sides": 2,
        "page_size": 1536,
    },
    "turbo": {
        "sampler": "Euler a",
        "scheduler": "Automatic",
        "diffusion_steps": 5,
        "cfg_scale": 1.0,
        "strength": 0.7,
        "sides": 2,
        "page_size": 1024,
    },
    "lcm": {
        "sampler": "LCM",
        "scheduler": "SGM Uniform",
        "diffusion_steps": 10,
        "cfg_scale": 1.5,
        "strength": 0.75,
        "sides": 2,
        "page_size": 1024,
    },
    # The original experiment: one page of 4 x 4 keys, held together by Canny edges alone, and DDIM
    # from the second iteration on, which it planned. Its refiner is left out: asked for as a
    # script, it never acted.
    "experiment": {
        "keys": 16,
        "ring_keys": 0,
        "sides": 4,
        "page_size": 1536,
        "sampler": "DPM++ 2M",
        "scheduler": "Automatic",
        "diffusion_steps": 30,
        "cfg_scale": 9.0,
        "strength": 0.9,
        "control": "canny:1.0:0-1:control",
        "canny_low": 100,
        "canny_high": 200,
        "later": "sampler=DDIM; scheduler=Automatic",
    },
}

PROMPTS: Mapping[str, Values] = {
    "rodin": {
        "prompt": "bronze bust in the style of Auguste Rodin, expressive modeling, dark patina, "
        "museum photograph",
        "negative_prompt": "color, paint, text, watermark, blurry, cropped",
        "style": "bronze",
    },
    "red-hair": {
        "prompt": "head of a person with long red hair, freckles, natural skin, soft daylight, "
        "photograph",
        "negative_prompt": "cartoon, painting, text, watermark, blurry, deformed",
    },
    "elf": {
        "prompt": "head of an elf in the style of Alan Lee, watercolor and pencil, pale tones",
        "negative_prompt": "photograph, 3d render, text, watermark, blurry, deformed",
    },
}

# The prompts that the original experiment published with its results, word for word, so that these
# can be made again (README of github.com/ge0rgii/GS_diffusion).
EXPERIMENT_PROMPTS: Mapping[str, Values] = {
    "experiment-rodin": {
        "prompt": "Photo of a bronze bust of a woman, detailed and lifelike, in the style of "
        "Auguste Rodin, polished bronze, classical sculpture aesthetics, 32k uhd, timeless and "
        "elegant, intricate details, full head and shoulders, museum quality, realistic texture, "
        "warm bronze tones, photorealistic, black background.",
        "negative_prompt": "Deformed, disfigured, ugly.",
    },
    "experiment-red-hair": {
        "prompt": "Photo of a head with realistic facial features, hair color changed to vibrant "
        "red, smooth and lifelike skin texture, sharp and expressive eyes, natural human "
        "proportions, high-definition detail, consistent appearance from all angles (front, side, "
        "back view), cinematic composition, trending on ArtStation.",
        "negative_prompt": "Unrealistic colors, distorted proportions, blurred details, heavy "
        "shadows, lack of detail.",
    },
    "experiment-elf": {
        "prompt": "An elf, with pointed ears, ethereal and elegant features, detailed and "
        "lifelike, in the style of Alan Lee, smooth and flawless skin, sharp and expressive eyes, "
        "long and flowing hair, otherworldly and mystical appearance, 32k uhd, high-definition "
        "detail, wearing simple yet stylish elven attire, black background, cinematic lighting, "
        "photorealistic, studio portrait.",
        "negative_prompt": "Distorted, disfigured, ugly, human features, unrealistic proportions, "
        "poor lighting, low detail.",
    },
}

# How long the splat is trained, and how fine it may become.
TRAININGS: Mapping[str, Values] = {
    "train-preview": {"train_steps": 300, "splats": 15000, "max_splats": 40000, "sh_degree": 1},
    "train-default": {"train_steps": 1000, "splats": 15000, "max_splats": 40000, "sh_degree": 1},
    "train-high": {"train_steps": 3000, "splats": 20000, "max_splats": 80000, "sh_degree": 3},
}

PRESETS: Mapping[str, Values] = {**FAMILIES, **PROMPTS, **EXPERIMENT_PROMPTS, **TRAININGS}


def expand(presets: str) -> dict[str, str | int | float | bool]:
    """The settings that ``presets`` (names separated by commas) stand for; later ones win.

    Raises InputError with the choices.
    """
    values: dict[str, str | int | float | bool] = {}
    for name in (part.strip() for part in presets.split(",")):
        if name in ("", "none"):
            continue
        if name not in PRESETS:
            raise InputError(
                f"There is no preset {name!r}; --preset can be {', '.join(PRESETS)}, several "
                "separated by commas."
            )
        values.update(PRESETS[name])
    return values
