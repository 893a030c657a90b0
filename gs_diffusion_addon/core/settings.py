"""Every knob of a run, once: its name, default, unit, range and help text.

The command line, Blender's panel, run.json and the report are generated from the fields of
:class:`Settings`; nothing else declares an option. A field's ``stages`` name the stages whose
result depends on it, which is how a changed setting makes exactly those stages stale.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Union, get_args, get_origin, get_type_hints

from .errors import InputError
from .settings_propagate import PropagateSettings
from .values import Knob, Ring, parse_rings, parse_size, parse_split

Scalar = Union[str, int, float, bool]


def _knob(default: Any, help: str, group: str, stages: str = "", **more: Any) -> Any:
    knob = Knob(help=help, group=group, stages=tuple(stages.split()), **more)
    return field(default=default, metadata={"knob": knob})


@dataclass(frozen=True)
class Settings(PropagateSettings):
    """All settings of a run; immutable, validated by :func:`validate`, stored in run.json."""

    # --- model and turntable
    blend: str = _knob("", "Blender scene to take the model from", "model", "turntable", path=True)
    model: str = _knob(
        "",
        "model file to turn into a scene: .blend .glb .gltf .obj .fbx .ply .stl .usd",
        "model",
        "turntable",
        path=True,
    )
    objects: str = _knob(
        "",
        "names of the objects or collections to turn around, separated by commas; empty means "
        "everything that renders",
        "model",
        "turntable",
    )
    frame: int = _knob(
        -1,
        "animation frame to take the model at; -1 means the scene's current frame",
        "model",
        "turntable",
        low=-1,
        high=1048574,
        advanced=True,
    )
    views: int = _knob(
        72,
        "views on ring 0, the closed ring of the video and the keyframes",
        "turntable",
        "turntable",
        low=8,
        high=500,
    )
    rings: str = _knob(
        "30:24,60:12,-25:12",
        "further rings as ELEVATION:COUNT, separated by commas; 'none' for ring 0 alone",
        "turntable",
        "turntable",
    )
    elevation: float = _knob(
        5.0,
        "height of ring 0's camera above the model's middle, as an angle",
        "turntable",
        "turntable",
        unit="degrees",
        low=-85.0,
        high=85.0,
    )
    camera: str = _knob(
        "auto",
        "auto frames the model; scene keeps the scene camera's height, distance and lens",
        "turntable",
        "turntable",
        choices=("auto", "scene"),
    )
    lens: float = _knob(
        50.0,
        "focal length of the turntable camera on a 36 mm sensor",
        "turntable",
        "turntable",
        unit="mm",
        low=8.0,
        high=500.0,
        advanced=True,
    )
    margin: float = _knob(
        1.08,
        "room around the model: 1 lets its bounds touch the picture's border",
        "turntable",
        "turntable",
        low=1.0,
        high=4.0,
        advanced=True,
    )
    size: str = _knob(
        "512",
        "size of a frame in pixels: one number, or WIDTHxHEIGHT",
        "turntable",
        "turntable",
        unit="px",
    )
    engine: str = _knob(
        "cycles",
        "Blender's render engine for the turntable",
        "turntable",
        "turntable",
        choices=("cycles", "eevee", "workbench"),
    )
    samples: int = _knob(16, "render samples a pixel", "turntable", "turntable", low=1, high=65536)
    denoise: bool = _knob(
        True, "denoise the Cycles render where Blender can", "turntable", "turntable"
    )
    lighting: str = _knob(
        "auto",
        "scene keeps the scene's own lights, studio replaces them by an even studio HDRI, auto "
        "does "
        "the first where there are any",
        "turntable",
        "turntable",
        choices=("auto", "scene", "studio"),
    )
    hdri: str = _knob(
        "",
        "environment picture for studio lighting; empty means Blender's own studio.exr",
        "turntable",
        "turntable",
        path=True,
        advanced=True,
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
        "on an "
        "Automatic1111 server; auto takes the server if one answers",
        "stylize",
        "stylize",
        choices=("auto", "preview", "a1111"),
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
        "stylize",
        choices=("auto", "yes", "no"),
        advanced=True,
    )
    server: str = _knob(
        "http://127.0.0.1:7860",
        "address of the Automatic1111 server (its user and password go into "
        "GSD_A1111_AUTH=user:password)",
        "stylize",
        "stylize",
    )
    checkpoint: str = _knob(
        "", "diffusion model on the server; empty keeps the loaded one", "stylize", "stylize"
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

    # --- dataset and train
    split: str = _knob(
        "80/5/15",
        "shares of the views for training, validation and test, in percent",
        "train",
        "dataset",
        advanced=True,
    )
    trainer: str = _knob(
        "auto",
        "builtin trains on the processor, or on CUDA where gsplat is installed",
        "train",
        "train",
        choices=("auto", "builtin", "gsplat"),
    )
    train_steps: int = _knob(
        1000, "optimizer steps of the splat trainer", "train", "train", low=1, high=1000000
    )
    splats: int = _knob(
        15000,
        "splats to start with, spread over the model's surface",
        "train",
        "train",
        low=100,
        high=5000000,
        advanced=True,
    )
    max_splats: int = _knob(
        40000,
        "most splats the trainer may grow to",
        "train",
        "train",
        low=100,
        high=10000000,
        advanced=True,
    )
    sh_degree: int = _knob(
        1,
        "degree of the view-dependent color (spherical harmonics)",
        "train",
        "train",
        low=0,
        high=3,
        advanced=True,
    )
    checkpoint_seconds: float = _knob(
        15.0,
        "how often the trainer saves what it needs to resume",
        "train",
        "",
        unit="s",
        low=1.0,
        high=86400.0,
        advanced=True,
    )

    # --- the loop and the machine
    iterations: int = _knob(
        1, "passes of the whole loop; each starts from the last one's splat", "run", low=1, high=100
    )
    threads: int = _knob(
        0, "processor threads to use; 0 means all", "machine", low=0, high=1024, advanced=True
    )
    worker_python: str = _knob(
        "",
        "Python of the worker's environment; empty looks for one",
        "machine",
        path=True,
        advanced=True,
    )
    blender: str = _knob(
        "",
        "Blender program for the render stages; empty looks for one",
        "machine",
        path=True,
        advanced=True,
    )


def knob(name: str) -> Knob:
    """The :class:`Knob` of the setting ``name``."""
    found: Knob = Settings.__dataclass_fields__[name].metadata["knob"]
    return found


def names() -> tuple[str, ...]:
    """All setting names in the order they are declared."""
    return tuple(f.name for f in dataclasses.fields(Settings))


def kind(name: str) -> type:
    """The setting's value type: str, int, float or bool."""
    hint = get_type_hints(Settings)[name]
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(a for a in get_args(hint) if a is not type(None))
    assert isinstance(hint, type)
    return hint


def flag(name: str) -> str:
    """The command-line flag of a setting: ``negative_prompt`` -> ``--negative-prompt``."""
    return "--" + name.replace("_", "-")


def stage_values(settings: Settings, stage: str) -> dict[str, Scalar]:
    """The settings a stage's result depends on, by name."""
    return {n: getattr(settings, n) for n in names() if stage in knob(n).stages}


def to_json(settings: Settings) -> dict[str, Scalar]:
    """Plain values for run.json."""
    return dict(dataclasses.asdict(settings))


def from_json(values: Mapping[str, Any]) -> Settings:
    """Settings out of run.json or a settings file.

    Unknown names are refused (they would be silently ignored otherwise), missing ones take their
    default. Raises InputError.
    """
    unknown = sorted(set(values) - set(names()))
    if unknown:
        raise InputError(
            f"There is no setting called {unknown[0]!r}; see 'gsd run --help' for all settings."
        )
    return validate(
        dataclasses.replace(Settings(), **{n: _convert(n, v) for n, v in values.items()})
    )


def _convert(name: str, value: Any) -> Any:
    wanted = kind(name)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise InputError(f"Setting {name} must be a {wanted.__name__}, not {value!r}.")
    assert isinstance(value, (str, int, float, bool))
    return value


def validate(settings: Settings) -> Settings:
    """Check ranges, choices and the small languages of rings, size and split; raises InputError."""
    for name in names():
        value, k = getattr(settings, name), knob(name)
        if k.choices and value not in k.choices:
            raise InputError(f"{flag(name)} must be one of {', '.join(k.choices)}, not {value!r}.")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            too_low = k.low is not None and not value >= k.low
            too_high = k.high is not None and not value <= k.high
            if too_low or too_high:
                unit = f" {k.unit}" if k.unit else ""
                raise InputError(
                    f"{flag(name)} must lie between {k.low:g} and {k.high:g}{unit}, not {value:g}."
                )
    if "@" in settings.server:
        raise InputError(
            "--server must not hold a user or password, since settings are stored and shown; put "
            "them into the environment as GSD_A1111_AUTH=user:password."
        )
    parse_rings(settings.rings)
    parse_size(settings.size)
    parse_split(settings.split)
    return settings


def all_rings(settings: Settings) -> tuple[Ring, ...]:
    """Ring 0 and the further rings."""
    return (Ring(settings.elevation, settings.views), *parse_rings(settings.rings))
