"""What goes over the wire to an Automatic1111 server and what its answers mean: pure functions.

The rules were measured on the real server (v1.10.1). It answers many wrong requests with status
200 and a wrong picture, so names are resolved against the server's own lists before a request and
the answer is compared with what was asked.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from . import json_text
from .a1111_names import fold, same_model
from .errors import InputError, StageError

DEFAULT_PORT = 7860
NOWEBUI_PORT = 7861


@dataclass(frozen=True)
class Job:
    """One picture to restyle: PNG bytes of ``width`` × ``height`` pixels (multiples of 8).

    ``mask``: PNG bytes of the same size, white where it is repainted, None for everywhere.
    ``units``: ControlNet units (:func:`a1111_control.unit_body`), each of which must show that it
    acted. ``masks``: how many pictures of the mask the server sends back before the detected maps
    (its options return_mask and return_mask_composite). ``refiner``: title of the model that takes
    over after the share ``refiner_switch`` of the steps. ``model``: the name that the answer should
    say the picture was made with.
    """

    picture: bytes
    width: int
    height: int
    prompt: str
    negative_prompt: str
    seed: int
    steps: int
    cfg_scale: float
    strength: float
    sampler: str
    scheduler: str | None
    mask: bytes | None = None
    units: tuple[Mapping[str, Any], ...] = ()
    masks: int = 0
    refiner: str = ""
    refiner_switch: float = 0.8
    model: str = ""


@dataclass(frozen=True)
class Answer:
    """The restyled picture as the server encoded it (``kind`` png, jpeg or webp) and its own
    account.

    ``notes`` are sentences about what the server left unsaid; ``maps`` what each ControlNet unit
    says that it saw (encoded pictures).
    """

    picture: bytes
    kind: str
    seed: int
    infotext: str
    info: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    maps: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Pulse:
    """What a server says about its running job; ``eta`` in seconds; idle means nothing runs.

    ``picture``: the unfinished picture as the server encoded it, where it was asked for.
    """

    fraction: float
    eta: float
    step: int
    steps: int
    idle: bool
    interrupted: bool
    picture: bytes = b""


# --- the address --------------------------------------------------------------------------


def normalize_address(text: str) -> str:
    """``localhost``, ``host:7860/``, ``https://host/sd/docs`` -> scheme://host[:port][/subpath].

    Without scheme and port, A1111's own default port is meant; 0.0.0.0, which A1111 prints when it
    listens everywhere, becomes 127.0.0.1. Raises InputError, also for a password in the address,
    since addresses are stored in run.json.
    """
    raw = text.strip()
    bare = raw if "://" in raw else f"http://{_bracketed(raw)}"
    try:
        parts = urlsplit(bare)
        port = parts.port
    except ValueError:
        raise InputError(_bad_address(text)) from None
    host = parts.hostname or ""
    if parts.username is not None or parts.password is not None:
        raise InputError(
            "--server must not hold a user or password, since it is stored; put them into the "
            "environment variable GSD_A1111_AUTH=user:password."
        )
    strange = any(c.isspace() or c in "\\<>\"'" for c in bare)
    if parts.scheme not in ("http", "https") or not host or strange or port == 0:
        raise InputError(_bad_address(text))
    if "://" not in raw and port is None:
        port = DEFAULT_PORT
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    path = parts.path
    for page in ("/sdapi", "/docs", "/openapi.json"):
        path = path.partition(page)[0] if (path + "/").find(page + "/") >= 0 else path
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{f':{port}' if port else ''}{path.rstrip('/')}"


def _bracketed(raw: str) -> str:
    return f"[{raw}]" if raw.count(":") > 1 and not raw.startswith("[") and "/" not in raw else raw


def _bad_address(text: str) -> str:
    return f"--server wants an address such as http://127.0.0.1:7860, not {text!r}."


def parse_auth(text: str) -> tuple[bytes, bytes] | None:
    """``user:password`` (UTF-8) for HTTP Basic; nothing for an empty text. Raises InputError."""
    if not text:
        return None
    user, colon, password = text.partition(":")
    if not colon or not user:
        raise InputError("The environment variable GSD_A1111_AUTH must be user:password.")
    return user.encode(), password.encode()


# --- request and answer -------------------------------------------------------------------


def img2img_body(job: Job, task: str) -> dict[str, Any]:
    """The request with every field that shapes the picture spelled out.

    The API's defaults are not the web page's (50 steps, masks filled instead of kept), and a null
    takes whatever the server's user last chose. Only eta and s_* stay null: their right value
    belongs to the sampler.
    """
    return {
        "init_images": [base64.b64encode(job.picture).decode("ascii")],
        "prompt": job.prompt,
        "negative_prompt": job.negative_prompt,
        "styles": [],
        "seed": job.seed,
        "subseed": job.seed,
        "subseed_strength": 0,
        "seed_resize_from_h": -1,
        "seed_resize_from_w": -1,
        "sampler_name": job.sampler,
        "sampler_index": job.sampler,
        **({} if job.scheduler is None else {"scheduler": job.scheduler}),
        "batch_size": 1,
        "n_iter": 1,
        "steps": job.steps,
        "cfg_scale": job.cfg_scale,
        "width": job.width,
        "height": job.height,
        "denoising_strength": job.strength,
        "resize_mode": 0,
        "initial_noise_multiplier": 1.0,
        "mask": None if job.mask is None else base64.b64encode(job.mask).decode("ascii"),
        "mask_blur": 4,
        "mask_round": True,
        "inpainting_fill": 1,
        "inpaint_full_res": False,
        "inpaint_full_res_padding": 0,
        "inpainting_mask_invert": 0,
        "restore_faces": False,
        "tiling": False,
        "eta": None,
        "s_churn": None,
        "s_tmin": None,
        "s_tmax": None,
        "s_noise": None,
        "s_min_uncond": None,
        # As a script of its own ("Refiner") it does nothing and says nothing.
        "refiner_checkpoint": job.refiner or None,
        "refiner_switch_at": job.refiner_switch if job.refiner else None,
        "disable_extra_networks": False,
        "override_settings": {},
        "override_settings_restore_afterwards": True,
        "script_name": None,
        "script_args": [],
        "alwayson_scripts": {"ControlNet": {"args": list(job.units)}} if job.units else {},
        "send_images": True,
        "save_images": False,
        "do_not_save_samples": True,
        "do_not_save_grid": True,
        "include_init_images": False,
        "force_task_id": task,
    }


def read_answer(data: Any, job: Job) -> Answer:
    """Take the picture out of an img2img answer and check that it is the one asked for.

    Raises StageError where the server did something else than asked (sampler, schedule, seed, no
    picture).
    """
    images = data.get("images") if isinstance(data, dict) else None
    if not isinstance(images, list):
        raise StageError("The server's answer holds no list of pictures; is it an A1111 server?")
    info = _info(data.get("info"))
    first = info.get("index_of_first_image", 0)
    first = first if isinstance(first, int) and first >= 0 else 0
    if len(images) <= first or not isinstance(images[first], str):
        raise StageError("The server sent no picture, as it does when a job is interrupted.")
    picture, kind = _picture(images[first])
    # Pictures of the mask stand between the picture and the maps.
    more = images[first + 1 + (job.masks if job.mask is not None else 0) :]
    if len(more) < len(job.units):
        raise StageError(
            f"Only {len(more)} of {len(job.units)} ControlNet units acted: the server sent no "
            "detected map for the others. Its console says why, mostly that a ControlNet model and "
            "the diffusion model are of different families."
        )
    maps = tuple(_picture(m)[0] for m in more[len(more) - len(job.units) :])
    texts = info.get("infotexts")
    infotext = str(texts[0]) if isinstance(texts, list) and texts else ""
    notes = _compare(info, infotext, job)
    return Answer(picture, kind, int(info.get("seed", job.seed)), infotext, info, notes, maps)


def _picture(text: Any) -> tuple[bytes, str]:
    try:
        data = base64.b64decode(str(text).rpartition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        raise StageError("The server sent a picture that is not base64.") from None
    kind = picture_kind(data)
    if kind is None:
        raise StageError("The server sent a picture that is neither PNG, JPEG nor WebP.")
    return data, kind


def _info(text: Any) -> dict[str, Any]:
    if isinstance(text, dict):
        return text
    try:
        info = json_text.loads(text) if isinstance(text, str) and text else {}
    except ValueError:
        raise StageError("The server's account of the picture ('info') is not JSON.") from None
    return info if isinstance(info, dict) else {}


def _compare(info: Mapping[str, Any], infotext: str, job: Job) -> tuple[str, ...]:
    used = info.get("sampler_name")
    if used is not None and used != job.sampler:
        raise StageError(
            f"The server used the sampler {used!r} instead of {job.sampler!r} without saying so; "
            "choose one it has with --sampler."
        )
    if "seed" in info and info["seed"] != job.seed:
        raise StageError(f"The server used the seed {info['seed']} instead of {job.seed}.")
    model = info.get("sd_model_name")
    ours = [name for name in (job.model, job.refiner) if name]
    if job.model and model and not any(same_model(str(model), name) for name in ours):
        raise StageError(
            f"The server used the diffusion model {model!r} instead of {job.model!r}: somebody "
            "else switched it meanwhile. Run the same command again."
        )
    if job.refiner and infotext and "Refiner:" not in infotext:
        raise StageError(
            "The server did not use the refiner and did not say so; see its console, or leave "
            "--refiner empty."
        )
    notes = [] if used is not None else ["The server does not say which sampler it used."]
    if job.scheduler and job.scheduler.casefold() != "automatic":
        _, marker, rest = infotext.rpartition("Schedule type: ")
        schedule = rest.partition(",")[0].strip()
        if marker and fold(schedule) != fold(job.scheduler):
            raise StageError(
                f"The server used the schedule {schedule!r} instead of {job.scheduler!r}; "
                "choose one it has with --scheduler."
            )
        if not marker:
            notes.append("The server does not say which noise schedule it used.")
    return tuple(notes)


def picture_kind(data: bytes) -> str | None:
    """png, jpeg or webp by the first bytes: servers encode as *their* settings say."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return None


def read_pulse(data: Any) -> Pulse:
    """The answer of GET progress; fields a server leaves out count as idle."""
    entry = data if isinstance(data, dict) else {}
    state = entry.get("state") if isinstance(entry.get("state"), dict) else {}
    assert isinstance(state, dict)

    def number(value: Any) -> float:
        usable = isinstance(value, (int, float)) and math.isfinite(value)
        return float(value) if usable else 0.0

    flags = ("interrupted", "skipped", "stopping_generation")
    return Pulse(
        fraction=min(1.0, max(0.0, number(entry.get("progress")))),
        eta=max(0.0, number(entry.get("eta_relative"))),
        step=int(number(state.get("sampling_step"))),
        steps=int(number(state.get("sampling_steps"))),
        idle=not state.get("job_count") and not state.get("job"),
        interrupted=any(bool(state.get(flag)) for flag in flags),
        picture=_unfinished(entry.get("current_image")),
    )


def _unfinished(text: Any) -> bytes:
    """The live picture; nothing where there is none or it cannot be read."""
    if not isinstance(text, str) or not text:
        return b""
    try:
        return _picture(text)[0]
    except StageError:
        return b""
