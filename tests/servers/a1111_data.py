"""The test server's lists, faults, checks and error shapes, as the recorded server has them."""

from __future__ import annotations

import zlib
from typing import Any

FAULTS = {
    "ok": "no fault",
    "oom": "500 OutOfMemoryError",
    "nan": "500 NansException",
    "lowvram": "500 AttributeError, as when no model could be loaded",
    "plain500": "Forge's plain text 'Internal Server Error'",
    "html502": "a proxy's web page at once, nothing is done",
    "html504": "a proxy's web page while the job goes on",
    "reset": "the connection breaks before the answer, the job is done",
    "torn": "the connection breaks in the middle of the answer",
    "rst": "the network resets the connection in the middle of the answer",
    "refuse": "200, then the server takes no connections for a while",
    "die": "the server stops for good in the middle of the job",
    "not_json": "200 with a web page",
    "black": "200, all pixels black",
    "wrong_size": "200, a picture of another size",
    "other_sampler": "200, but made with Euler a",
    "other_schedule": "200, but made with another noise schedule",
    "other_seed": "200, but made with another seed",
    "no_image": "200 without any picture",
    "bad_base64": "200 with a picture that is no base64",
    "interrupted": "200 with the half-finished picture of an interrupted job",
    "jpeg": "200, encoded as JPEG",
    "webp": "200, encoded as lossless WebP",
    "grid": "200, a grid before the picture (index_of_first_image 1)",
    "queue_full": "503, the queue takes no more",
    "slow": "a second late",
    "die_back": "the server stops in the middle of the job and is back a little later",
    "control_off": "200, but no ControlNet unit acted",
    "other_model": "200, but made with another diffusion model",
    "refiner_off": "200, but the refiner was not used",
}

FLAVOURS = ("a1111", "forge", "reforge", "sdnext", "sdcpp", "kobold")

SAMPLERS = {
    "DPM++ 2M": "k_dpmpp_2m",
    "DPM++ SDE": "k_dpmpp_sde",
    "DPM++ 2M SDE": "k_dpmpp_2m_sde",
    "Euler a": "k_euler_a k_euler_ancestral",
    "Euler": "k_euler",
    "LMS": "k_lms",
    "Heun": "k_heun",
    "DDIM": "ddim",
    "UniPC": "unipc",
    "LCM": "k_lcm",
}
SCHEDULERS = {
    "automatic": "Automatic",
    "uniform": "Uniform",
    "karras": "Karras",
    "exponential": "Exponential",
    "sgm_uniform": "SGM Uniform",
    "ddim": "DDIM",
    "beta": "Beta",
}
INTEGERS = ["width", "height", "steps", "seed", "batch_size", "n_iter", "resize_mode"]
NUMBERS = ["denoising_strength", "cfg_scale"]


class HTTPError(Exception):
    """An answer with an error status."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status, self.body = status, body


def http_exception(status: int, detail: str) -> HTTPError:
    """As the real server's middleware writes an HTTPException."""
    return HTTPError(status, {"error": "HTTPException", "detail": detail, "body": "", "errors": ""})


def server_exception(kind: str, text: str) -> HTTPError:
    """As the real server's middleware writes any other exception."""
    return HTTPError(500, {"error": kind, "detail": "", "body": "", "errors": text})


def idle_state() -> dict[str, Any]:
    """The state of GET progress when nothing runs."""
    return {
        "skipped": False, "interrupted": False, "stopping_generation": False, "job": "",
        "job_count": 0, "job_timestamp": "0", "job_no": 0, "sampling_step": 0, "sampling_steps": 0,
    }  # fmt: skip


def model_entry(name: str) -> dict[str, Any]:
    """An entry of sd-models."""
    short = f"{zlib.crc32(name.encode()):010x}"
    return {
        "title": f"{name}.safetensors [{short}]", "model_name": name, "hash": short, "sha256": None,
        "filename": f"/opt/webui/models/Stable-diffusion/{name}.safetensors", "config": None,
    }  # fmt: skip


def scheduler_list() -> Any:
    """The answer of GET schedulers."""
    return [
        {"name": n, "label": label, "aliases": None, "default_rho": -1.0, "need_inner_model": False}
        for n, label in SCHEDULERS.items()
    ]


def schedule_used(body: Any) -> str:
    """An unknown schedule becomes Automatic, without a word."""
    wanted = body.get("scheduler") or "automatic"
    return SCHEDULERS.get(wanted, wanted if wanted in SCHEDULERS.values() else "Automatic")


def validate(body: Any, scripts: tuple[str, ...] = ()) -> None:
    """The 422 of wrong types and the 500 of values that the real server trips over."""
    if not isinstance(body, dict):
        raise HTTPError(422, {"detail": [{"loc": ["body"], "msg": "field required", "type": "m"}]})
    wrong = [("integer", n) for n in INTEGERS if not number(body.get(n, 0), whole=True)]
    wrong += [("float", n) for n in NUMBERS if not number(body.get(n, 0), whole=False)]
    if wrong:
        kind, name = wrong[0]
        message = f"value is not a valid {kind}"
        entry = {"loc": ["body", name], "msg": message, "type": f"type_error.{kind}"}
        raise HTTPError(422, {"detail": [entry]})
    if body.get("prompt", "") is None:
        raise server_exception("AssertionError", "")
    if body.get("steps", 50) == 0:
        raise server_exception("ZeroDivisionError", "division by zero")
    for script in body.get("alwayson_scripts") or {}:
        if script not in scripts:
            raise http_exception(422, f"Script {script!r} not found")


def number(value: Any, whole: bool) -> bool:
    """Whether pydantic would take it."""
    return isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
