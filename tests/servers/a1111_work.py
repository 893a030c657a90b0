"""What the test server makes of an img2img request: a picture, or one of its faults."""

from __future__ import annotations

import base64
import json
import threading
import time
from typing import Any

import numpy as np

from tests.servers import a1111_control as control
from tests.servers.a1111_data import (
    HTTPError,
    idle_state,
    schedule_used,
    server_exception,
)
from tests.servers.pictures import decode, encode, fit

BEFORE = {
    "oom": server_exception(
        "OutOfMemoryError", "CUDA out of memory. Tried to allocate 9.00 GiB (GPU 0; 8 GiB)"
    ),
    "nan": server_exception(
        "NansException",
        "A tensor with NaNs was produced in Unet. Use --disable-nan-check commandline "
        "argument to disable this check.",
    ),
    "lowvram": server_exception("AttributeError", "'NoneType' object has no attribute 'lowvram'"),
    "plain500": HTTPError(500, "Internal Server Error"),
    "html502": HTTPError(502, "<html><h1>502 Bad Gateway</h1></html>"),
    "queue_full": HTTPError(503, {"detail": "Queue is full"}),
}


def work(server: Any, body: Any, picture: np.ndarray, fault: str) -> Any:
    """One job of ``server`` (an A1111Server) with one fault."""
    if fault in BEFORE:
        raise BEFORE[fault]
    if server.loaded is None:
        raise server_exception("FileNotFoundError", "No checkpoints found.")
    refiner = body.get("refiner_checkpoint")
    if refiner and not server.find_model(refiner):
        raise server_exception("Exception", f"Could not find checkpoint with name {refiner}")
    share = run_steps(server, body, fault)
    if fault in ("die", "die_back", "refuse"):
        server.stop()
        if fault != "die":
            threading.Thread(target=server.come_back, daemon=True).start()
        if fault != "refuse":
            raise ConnectionAbortedError
    if fault == "reset":
        raise ConnectionAbortedError
    if fault == "html504":
        raise HTTPError(504, "<html><h1>504 Gateway Time-out</h1></html>")
    if fault == "not_json":
        raise HTTPError(200, "<html>welcome</html>")
    return result(server, body, picture, fault, share)


def run_steps(server: Any, body: Any, fault: str) -> float:
    """Sleep through the steps; returns the share that was done before an interrupt."""
    steps = int(body.get("steps", 50) * body.get("denoising_strength", 0.75)) + 1
    server.state = idle_state() | {
        "job": "scripts_img2img", "job_count": 1, "sampling_steps": steps,
    }  # fmt: skip
    time.sleep(server.seconds_per_page)
    for step in range(steps):
        if fault == "interrupted" and step == steps // 2:
            server.state["interrupted"] = True
        if server.state["interrupted"]:
            return step / steps
        server.state["sampling_step"] = step
        server.pause()
    time.sleep({"html504": 0.1, "slow": 1.0}.get(fault, 0))
    return 1.0


def paint(
    server: Any, body: Any, picture: np.ndarray, units: list, seed: int, strength: float
) -> np.ndarray:
    """The picture as the prompt, seed, strength, mask, ControlNet, VAE and refiner make it."""
    grain = server.grain
    size = [int(body.get(side, 512)) // grain * grain for side in ("width", "height")]
    source = fit(picture, *size)
    out = server.artist(source, body.get("prompt", ""), seed, strength)
    out = control.apply(out, units)
    if body.get("refiner_checkpoint"):
        out = 255 - (255 - out) // 2
    if body.get("mask"):
        keep = fit(decode(body["mask"]), *size)[..., :1] < 128
        if body.get("inpainting_fill", 0) == 1 and not body.get("inpaint_full_res", True):
            out = np.where(keep, source, out)
    return out


def result(server: Any, body: Any, picture: np.ndarray, fault: str, share: float) -> Any:
    """The answer of a finished (or interrupted) job."""
    seed = int(body.get("seed", -1)) + (fault == "other_seed")
    sampler = sampler_used(server, body) if fault != "other_sampler" else "Euler a"
    schedule = schedule_used(body) if fault != "other_schedule" else "Exponential"
    strength = float(body.get("denoising_strength", 0.75)) * share
    asked_units = (body.get("alwayson_scripts") or {}).get("ControlNet", {}).get("args", [])
    units = server.acting_units(asked_units) if fault != "control_off" else []
    out = paint(server, body, picture, units, seed, strength)
    if fault == "refiner_off":
        body = {**body, "refiner_checkpoint": None}
    out = out[: out.shape[0] // 2] if fault == "wrong_size" else out
    out = np.zeros_like(out) if fault == "black" else out
    refiner = body.get("refiner_checkpoint")
    text = (
        f"{body.get('prompt', '')}\nSteps: {body.get('steps', 50)}, Sampler: {sampler}, "
        + (f"Schedule type: {schedule}, " if server.schedulers else "")
        + f"CFG scale: {body.get('cfg_scale', 7.0)}, Seed: {seed}, "
        f"Size: {body.get('width', 512)}x{body.get('height', 512)}, Model: {server.loaded}, "
        + control.infotext(asked_units)
        + (f"Refiner: {refiner}, " if refiner else "")
        + "Version: 1.10.1"
    )
    info = {
        "prompt": body.get("prompt", ""), "negative_prompt": body.get("negative_prompt", ""),
        "seed": seed, "all_seeds": [seed], "width": body.get("width", 512),
        "height": body.get("height", 512), "sampler_name": sampler,
        "cfg_scale": body.get("cfg_scale", 7.0), "steps": body.get("steps", 50),
        "sd_model_name": "somebody-elses" if fault == "other_model" else server.loaded,
        "denoising_strength": strength, "index_of_first_image": int(fault == "grid"),
        "infotexts": [text], "version": "1.10.1",
    }  # fmt: skip
    kind = fault if fault in ("jpeg", "webp") else "png"
    images = [base64.b64encode(encode(out, kind, text)).decode()]
    if fault == "grid":
        grid = encode(np.full((8, 8, 3), 99, np.uint8), "png", "")
        images.insert(0, base64.b64encode(grid).decode())
    images = {"no_image": [], "bad_base64": ["%%%"]}.get(fault, images)
    if server.return_mask and images and body.get("mask"):
        images = [*images, body["mask"]]
    if not server.no_detectmap and images:
        maps = [encode(p, "png", "") for u, p in units if u.get("save_detected_map", True)]
        images = images + [base64.b64encode(m).decode() for m in maps]
    echo = {key: value for key, value in body.items() if key != "init_images"}
    told = "" if server.flavour == "sdcpp" else json.dumps(info)
    return {"images": images, "parameters": echo, "info": told}


def sampler_used(server: Any, body: Any) -> str:
    """The real server's choice: an unknown name becomes DPM++ 2M, without a word."""
    name = body.get("sampler_name") or body.get("sampler_index") or "Euler"
    return name if name in {s["name"] for s in server.sampler_list()} else "DPM++ 2M"
