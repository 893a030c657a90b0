"""A real HTTP server that behaves as AUTOMATIC1111 1.10.1 does, its silent failures included.

Its pictures are a cheap but true transform of what it is sent: colors by the prompt, grain by the
seed, as strong as the denoising strength. Written from recorded answers of the real server; needs
only numpy (with Pillow it also reads every PNG and can answer JPEG and WebP).

In tests: ``with A1111Server(faults=["nan"]) as server: … server.address``. By hand:
``python -m tests.servers.a1111_server --port 7860 --faults ok,oom --seconds-per-step 0.2``.
"""

from __future__ import annotations

import argparse
import base64
import json
import socket
import ssl
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from tests.servers.pictures import decode, encode, fit, restyle

FAULTS = {
    "ok": "no fault",
    "oom": "500 OutOfMemoryError",
    "nan": "500 NansException",
    "lowvram": "500 AttributeError, as when no model could be loaded",
    "plain500": "Forge's plain text 'Internal Server Error'",
    "html502": "a proxy's web page at once, nothing is done",
    "html504": "a proxy's web page while the job goes on",
    "reset": "the connection breaks before the answer, the job is done",
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
    "webp": "200, encoded as WebP",
    "grid": "200, a grid before the picture (index_of_first_image 1)",
}

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


class A1111Server:
    """The server and its knobs; start it with ``with`` or ``start()``.

    ``faults``: names out of FAULTS, one used up by each img2img request in order. ``auth``
    "user:password" guards /sdapi; ``api`` False is a server without --api; ``webui`` False one
    with --nowebui; ``models`` the checkpoints; ``schedulers`` False a server before 1.9, whose
    sampler names are combined. ``requests`` records (method, path, body) of everything asked;
    ``jobs`` the img2img bodies that were worked on.
    """

    def __init__(
        self,
        faults: Iterable[str] = (),
        *,
        auth: str = "",
        api: bool = True,
        webui: bool = True,
        schedulers: bool = True,
        models: Iterable[str] = ("tiny-sd15", "tiny-random"),
        seconds_per_step: float = 0.0,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.faults = deque(faults)
        assert set(self.faults) <= set(FAULTS), self.faults
        self.auth, self.api, self.webui, self.schedulers = auth, api, webui, schedulers
        self.models = list(models)
        self.loaded = self.models[0] if self.models else None
        self.stuck_model = False
        self.seconds_per_step = seconds_per_step
        self.requests: list[tuple[str, str, Any]] = []
        self.jobs: list[dict[str, Any]] = []
        self.queue = threading.Lock()
        self.state = idle_state()
        self.active = ""
        self.waiting: list[str] = []
        self.finished: deque[str] = deque(maxlen=16)
        self._port, self._tls = port, tls
        self._http: ThreadingHTTPServer | None = None

    def start(self) -> A1111Server:
        """Listen on the loopback; ``address`` says where."""
        owner = self

        class Handler(_Handler):
            server_owner = owner

        self._http = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._http.daemon_threads = True
        if self._tls:
            self._http.socket = self._tls.wrap_socket(self._http.socket, server_side=True)
        self._port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop listening; open connections end with their request."""
        http, self._http = self._http, None
        if http:
            http.shutdown()
            http.server_close()

    __enter__ = start

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def paths(self) -> list[str]:
        """Paths of everything asked so far, without queries."""
        return [path.partition("?")[0] for _, path, _ in self.requests]

    # --- routes ---------------------------------------------------------------------------------

    def answer(self, method: str, path: str, body: Any) -> Any:
        """What a request is answered with; raises HTTPError."""
        if path.startswith("/internal/") and not self.webui:
            raise HTTPError(404, {"detail": "Not Found"})
        if path.startswith("/sdapi/") and not self.api:
            raise HTTPError(404, {"detail": "Not Found"})
        routes: dict[str, dict[str, Callable[[Any], Any]]] = {
            "/sdapi/v1/options": {"GET": self.get_options, "POST": self.set_options},
            "/sdapi/v1/sd-models": {"GET": lambda _: [model_entry(m) for m in self.models]},
            "/sdapi/v1/samplers": {"GET": lambda _: self.sampler_list()},
            "/sdapi/v1/progress": {"GET": lambda _: self.progress()},
            "/sdapi/v1/interrupt": {"POST": self.interrupt},
            "/sdapi/v1/img2img": {"POST": self.img2img},
            "/internal/progress": {"POST": self.task_progress},
            "/internal/ping": {"GET": lambda _: {}},
        }
        if self.schedulers:
            routes["/sdapi/v1/schedulers"] = {"GET": lambda _: scheduler_list()}
        verbs = routes.get(path.partition("?")[0])
        if verbs is None:
            raise HTTPError(404, {"detail": "Not Found"})
        if method not in verbs:
            raise HTTPError(405, {"detail": "Method Not Allowed"})
        return verbs[method](body)

    def get_options(self, _: Any) -> Any:
        title = model_entry(self.loaded)["title"] if self.loaded else None
        return {"samples_format": "png", "sd_model_checkpoint": title, "return_grid": True}

    def set_options(self, body: Any) -> Any:
        wanted = body.get("sd_model_checkpoint")
        if wanted is not None:
            stems = {model_entry(m)["title"].partition(" [")[0]: m for m in self.models}
            stems |= {m: m for m in self.models}
            found = stems.get(wanted.partition(" [")[0])
            if found is None:
                raise server_exception("RuntimeError", f"model {wanted!r} not found")
            self.loaded = self.loaded if self.stuck_model else found

    def sampler_list(self) -> Any:
        names = dict(SAMPLERS)
        if not self.schedulers:
            names |= {"DPM++ 2M Karras": "k_dpmpp_2m_ka"}
        return [{"name": n, "aliases": a.split(), "options": {}} for n, a in names.items()]

    def progress(self) -> Any:
        steps, step = self.state["sampling_steps"], self.state["sampling_step"]
        running = bool(self.state["job_count"])
        return {
            "progress": max(0.01, step / steps) if running and steps else 0.0,
            "eta_relative": (steps - step) * self.seconds_per_step if running else 0.0,
            "state": dict(self.state),
            "current_image": None,
            "textinfo": None,
        }

    def interrupt(self, _: Any) -> Any:
        self.state["interrupted"] = True
        return {}

    def task_progress(self, body: Any) -> Any:
        task = body["id_task"]
        active, queued = task == self.active, task in self.waiting
        done = task in self.finished
        text = f"In queue: {self.waiting.index(task) + 1}/{len(self.waiting)}" if queued else None
        return {"active": active, "queued": queued, "completed": done, "textinfo": text}

    # --- img2img --------------------------------------------------------------------------------

    def img2img(self, body: Any) -> Any:
        """Validate, wait in the queue, work, answer — with the next fault of the plan."""
        validate(body)
        if not body.get("init_images"):
            raise http_exception(404, "Init image not found")
        try:
            picture = decode(body["init_images"][0])
        except ValueError:
            raise http_exception(500, "Invalid encoded image") from None
        task = body.get("force_task_id") or "task(anonymous)"
        self.waiting.append(task)
        with self.queue:
            self.waiting.remove(task)
            self.active = task
            fault = self.faults.popleft() if self.faults else "ok"
            self.jobs.append(body)
            try:
                return self.work(body, picture, fault)
            finally:
                self.active = ""
                self.finished.append(task)
                self.state.update(job="", job_count=0)  # 'interrupted' stays, as on the real one

    def work(self, body: Any, picture: np.ndarray, fault: str) -> Any:
        """One job with one fault."""
        before = {
            "oom": server_exception(
                "OutOfMemoryError", "CUDA out of memory. Tried to allocate 9.00 GiB (GPU 0; 8 GiB)"
            ),
            "nan": server_exception(
                "NansException",
                "A tensor with NaNs was produced in Unet. Use --disable-nan-check commandline "
                "argument to disable this check.",
            ),
            "lowvram": server_exception(
                "AttributeError", "'NoneType' object has no attribute 'lowvram'"
            ),
            "plain500": HTTPError(500, "Internal Server Error"),
            "html502": HTTPError(502, "<html><h1>502 Bad Gateway</h1></html>"),
        }
        if fault in before:
            raise before[fault]
        if self.loaded is None:
            raise server_exception("FileNotFoundError", "No checkpoints found.")
        share = self.run_steps(body, fault)
        if fault == "die":
            self.stop()
            raise ConnectionAbortedError
        if fault == "reset":
            raise ConnectionAbortedError
        if fault == "html504":
            raise HTTPError(504, "<html><h1>504 Gateway Time-out</h1></html>")
        if fault == "not_json":
            raise HTTPError(200, "<html>welcome</html>")
        return self.result(body, picture, fault, share)

    def run_steps(self, body: Any, fault: str) -> float:
        """Sleep through the steps; returns the share that was done before an interrupt."""
        steps = int(body.get("steps", 50) * body.get("denoising_strength", 0.75)) + 1
        self.state = idle_state() | {
            "job": "scripts_img2img", "job_count": 1, "sampling_steps": steps,
        }  # fmt: skip
        for step in range(steps):
            if fault == "interrupted" and step == steps // 2:
                self.state["interrupted"] = True
            if self.state["interrupted"]:
                return step / steps
            self.state["sampling_step"] = step
            time.sleep(self.seconds_per_step)
        if fault == "html504":
            time.sleep(0.1)
        return 1.0

    def result(self, body: Any, picture: np.ndarray, fault: str, share: float) -> Any:
        """The answer of a finished (or interrupted) job."""
        seed = int(body.get("seed", -1)) + (fault == "other_seed")
        sampler = self.sampler_used(body) if fault != "other_sampler" else "Euler a"
        schedule = schedule_used(body) if fault != "other_schedule" else "Exponential"
        size = [int(body.get(side, 512)) // 8 * 8 for side in ("width", "height")]
        size = [side // 2 for side in size] if fault == "wrong_size" else size
        strength = float(body.get("denoising_strength", 0.75)) * share
        out = restyle(fit(picture, *size), body.get("prompt", ""), seed, strength)
        out = np.zeros_like(out) if fault == "black" else out
        asked = f"{body.get('width', 512)}x{body.get('height', 512)}"
        text = (
            f"{body.get('prompt', '')}\nSteps: {body.get('steps', 50)}, Sampler: {sampler}, "
            + (f"Schedule type: {schedule}, " if self.schedulers else "")
            + f"CFG scale: {body.get('cfg_scale', 7.0)}, Seed: {seed}, Size: {asked}, "
            f"Model: {self.loaded}, Version: 1.10.1"
        )
        info = {
            "prompt": body.get("prompt", ""), "negative_prompt": body.get("negative_prompt", ""),
            "seed": seed, "all_seeds": [seed], "width": body.get("width", 512),
            "height": body.get("height", 512), "sampler_name": sampler,
            "cfg_scale": body.get("cfg_scale", 7.0), "steps": body.get("steps", 50),
            "sd_model_name": self.loaded, "denoising_strength": strength,
            "index_of_first_image": int(fault == "grid"), "infotexts": [text], "version": "1.10.1",
        }  # fmt: skip
        encoded = encode(out, fault if fault in ("jpeg", "webp") else "png", text)
        images = [base64.b64encode(encoded).decode()]
        if fault == "grid":
            grid = encode(np.full((8, 8, 3), 99, np.uint8), "png", "")
            images.insert(0, base64.b64encode(grid).decode())
        images = {"no_image": [], "bad_base64": ["%%%"]}.get(fault, images)
        echo = {key: value for key, value in body.items() if key != "init_images"}
        return {"images": images, "parameters": echo, "info": json.dumps(info)}

    def sampler_used(self, body: Any) -> str:
        """The real server's choice: an unknown name becomes DPM++ 2M, without a word."""
        name = body.get("sampler_name") or body.get("sampler_index") or "Euler"
        return name if name in {s["name"] for s in self.sampler_list()} else "DPM++ 2M"


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


def validate(body: Any) -> None:
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
        raise http_exception(422, f"Script {script!r} not found")


def number(value: Any, whole: bool) -> bool:
    """Whether pydantic would take it."""
    return isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)


# --- HTTP ---------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for the client's ACK
    server_owner: A1111Server

    def do_GET(self) -> None:
        self.respond("GET", None)

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = None
        self.respond("POST", body)

    def respond(self, method: str, body: Any) -> None:
        owner = self.server_owner
        owner.requests.append((method, self.path, body))
        try:
            self.check_auth(owner)
            self.send(200, owner.answer(method, self.path, body))
        except HTTPError as error:
            self.send(error.status, error.body)
        except ConnectionAbortedError:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def check_auth(self, owner: A1111Server) -> None:
        """401 without WWW-Authenticate, as the real one; only /sdapi is guarded."""
        if not owner.auth or not self.path.startswith("/sdapi/"):
            return
        sent = self.headers.get("Authorization")
        if not sent:
            raise http_exception(401, "Not authenticated")
        if sent != "Basic " + base64.b64encode(owner.auth.encode()).decode():
            raise http_exception(401, "Incorrect username or password")

    def send(self, status: int, body: Any) -> None:
        text = isinstance(body, str)
        data = body.encode() if text else json.dumps(body).encode()
        kind = "application/json"
        if text:
            kind = "text/html" if body.startswith("<") else "text/plain; charset=utf-8"
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            self.close_connection = True  # the client is gone; the job was done all the same

    def log_message(self, *_: object) -> None:
        """Quiet; ``requests`` has everything."""


def main() -> None:
    """Run it by hand until Ctrl-C."""
    lines = "\n".join(f"  {name}: {text}" for name, text in FAULTS.items())
    parser = argparse.ArgumentParser(
        description="An A1111 lookalike.", epilog=f"faults:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--faults", default="", help="comma-separated, one for each picture")
    parser.add_argument("--auth", default="", help="user:password")
    parser.add_argument("--seconds-per-step", type=float, default=0.05)
    parser.add_argument("--nowebui", action="store_true")
    parsed = parser.parse_args()
    with A1111Server(
        [f for f in parsed.faults.split(",") if f],
        auth=parsed.auth, webui=not parsed.nowebui, port=parsed.port,
        seconds_per_step=parsed.seconds_per_step,
    ) as server:  # fmt: skip
        print(f"Listening at {server.address}; Ctrl-C ends.", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
