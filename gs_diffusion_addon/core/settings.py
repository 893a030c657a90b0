"""Every knob of a run, once: its name, default, unit, range and help text.

The command line, Blender's panel, run.json and the report are generated from the fields of
:class:`Settings`; nothing else declares an option. A field's ``stages`` name the stages whose
result depends on it, which is how a changed setting makes exactly those stages stale.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from .a1111_control import parse_control
from .errors import InputError
from .presets import expand
from .settings_loop import LoopSettings, parse_schedule
from .settings_propagate import PropagateSettings
from .settings_stylize import StylizeKnobs, parse_later
from .settings_trainers import TrainerSettings
from .values import Knob, Ring, parse_frames, parse_rings, parse_size, parse_split
from .values import declare as _knob

Scalar = Union[str, int, float, bool]


@dataclass(frozen=True)
class Settings(StylizeKnobs, PropagateSettings, TrainerSettings, LoopSettings):
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
        "names of the objects or collections to turn around, separated by commas; one with a comma "
        "in it stands in double quotes; empty means everything that renders",
        "model",
        "turntable",
    )
    view_layer: str = _knob(
        "",
        "view layer of the scene to take the model from; empty means the one that is worked in, or "
        "was when the file was saved",
        "turntable",
        "turntable",
        advanced=True,
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
        "30:36,60:12,-25:24",
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
        "builtin trains on the processor, gsplat on an NVIDIA card; graphdeco, brush and opensplat "
        "start a trainer you installed",
        "train",
        "train",
        choices=("auto", "builtin", "gsplat", "graphdeco", "brush", "opensplat"),
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
        "most splats the trainer may start with and grow to",
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

    # --- the machine
    threads: int = _knob(
        0, "processor threads to use; 0 means all", "machine", low=0, high=1024, advanced=True
    )
    priority: str = _knob(
        "normal",
        "priority of all child processes; low leaves the machine usable while a run works",
        "machine",
        choices=("normal", "low", "idle"),
        advanced=True,
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

    @property
    def first_splats(self) -> int:
        """How many splats a training begins with."""
        return min(self.splats, self.max_splats)


def knob(name: str) -> Knob:
    """The :class:`Knob` of the setting ``name``."""
    found: Knob = Settings.__dataclass_fields__[name].metadata["knob"]
    return found


def names() -> tuple[str, ...]:
    """All setting names in the order they are declared."""
    return tuple(f.name for f in dataclasses.fields(Settings))


@functools.cache  # the panel asks for every setting each time it is drawn
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
    if isinstance(value, str) and ("\0" in value or not _is_text(value)):
        raise InputError(f"Setting {name} holds something that is no text: {value!a}.")
    return value


def _is_text(value: str) -> bool:
    """Whether UTF-8 can hold it; bytes of another encoding on a command line cannot."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


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
                    f"{flag(name)} must lie between {k.low:.10g} and {k.high:.10g}{unit}, not "
                    f"{value:.10g}."
                )
    if "@" in settings.server:
        raise InputError(
            "--server must not hold a user or password, since settings are stored and shown; put "
            "them into the environment as GSD_A1111_AUTH=user:password."
        )
    parse_rings(settings.rings)
    parse_size(settings.size)
    parse_frames(settings.reject_keys)
    parse_split(settings.split)
    parse_control(settings.control)
    expand(settings.preset)
    longest = max((len(v) for v in parse_schedule(settings.schedule).values()), default=0)
    if settings.later or longest:
        for iteration in range(1, max(longest, 2) + 1):
            validate(at_iteration(settings, iteration))
    return settings


def at_iteration(settings: Settings, iteration: int) -> Settings:
    """The settings of an iteration: ``schedule`` has a value for each, ``later`` replaces some from
    the second on.

    Only settings that do not decide which frames there are and which are keyframes may change
    between iterations. Raises InputError.
    """
    if not settings.later and not settings.schedule:
        return settings
    changes: dict[str, Any] = {"later": "", "schedule": ""}
    for name, values in parse_schedule(settings.schedule).items():
        changes[name] = _changed(
            "--schedule", name, values[min(max(iteration, 1), len(values)) - 1]
        )
    if iteration > 1:
        for name, text in parse_later(settings.later).items():
            changes[name] = _changed("--later", name, text)
    return dataclasses.replace(settings, **changes)


def _changed(option: str, name: str, text: str) -> Scalar:
    """The value of a setting that may change between iterations, out of its text."""
    if name not in LATER:
        raise InputError(f"{option} cannot change {name!r}; it can {', '.join(LATER)}.")
    try:
        value: Scalar = kind(name)(text) if kind(name) is not bool else _truth(text)
    except ValueError:
        raise InputError(f"{option}: {name} cannot be {text!r}.") from None
    return value


LATER = (
    *("prompt", "negative_prompt", "strength", "sampler", "scheduler", "diffusion_steps"),
    *("cfg_scale", "checkpoint", "vae", "control", "canny_low", "canny_high", "refiner"),
    *("refiner_switch", "sequential", "view_prompts", "style", "source", "source_blend"),
    *("splat_guide", "train_steps", "warm_start"),
)


def _truth(text: str) -> bool:
    if text.lower() not in ("yes", "true", "on", "no", "false", "off"):
        raise ValueError(text)
    return text.lower() in ("yes", "true", "on")


def all_rings(settings: Settings) -> tuple[Ring, ...]:
    """Ring 0 and the further rings."""
    return (Ring(settings.elevation, settings.views), *parse_rings(settings.rings))
