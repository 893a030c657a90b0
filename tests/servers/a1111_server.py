"""A real HTTP server that behaves as AUTOMATIC1111 1.10.1 does, its silent failures included.

Its pictures are a cheap but true transform of what it is sent: colors by the prompt, grain by the
seed, as strong as the denoising strength, inside the mask; with ``artist=networks()`` they come
from small real style networks instead. Written from recorded answers of the real server; needs
only numpy (with Pillow it also reads every PNG and can answer JPEG and WebP). Other flavours
(Forge, reForge, SD.Next, stable-diffusion.cpp, KoboldCpp) differ as their sources say.

In tests: ``with A1111Server(faults=["nan"]) as server: … server.address``. By hand:
``python -m tests.servers.a1111_server --port 7860 --faults ok,oom --seconds-per-step 0.2``.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from tests.processes import wait_for
from tests.servers import a1111_control as control
from tests.servers.a1111_data import (
    FAULTS,
    FLAVOURS,
    SAMPLERS,
    HTTPError,
    http_exception,
    idle_state,
    model_entry,
    scheduler_list,
    server_exception,
    validate,
)
from tests.servers.a1111_http import Handler
from tests.servers.a1111_work import work
from tests.servers.pictures import decode, encode, restyle

GOOD = ("ok", "slow", "jpeg", "webp", "grid", "refuse")  # faults whose picture is good all the same

Artist = Callable[[np.ndarray, str, int, float], np.ndarray]
Routes = dict[str, dict[str, Callable[[Any], Any]]]


class A1111Server:
    """The server and its knobs; start it with ``with`` or ``start()``.

    ``faults``: names out of FAULTS, one used up by each img2img request in order. ``flavour`` one
    of FLAVOURS. ``auth`` "user:password" guards /sdapi; ``api`` False is a server without --api;
    ``webui`` False one with --nowebui; ``models`` the checkpoints; ``schedulers`` False a server
    before 1.9, whose sampler names are combined; ``controlnet`` its ControlNet models or None
    without the extension; ``units`` how many units it heeds; ``away`` the seconds after which a
    server that went is back, or sooner, as soon as ``missed`` is set; ``record`` a file that gets
    one JSON line a delivered page. ``pause`` is called in each step, and sleeps.
    ``requests`` records (method, path, body) of everything asked; ``jobs`` the img2img bodies that
    were worked on; ``delivered`` the init images whose good picture was sent.
    """

    def __init__(
        self,
        faults: Iterable[str] = (),
        *,
        flavour: str = "a1111",
        auth: str = "",
        api: bool = True,
        webui: bool = True,
        schedulers: bool = True,
        models: Iterable[str] = ("tiny-sd15", "tiny-random"),
        controlnet: Iterable[str] | None = tuple(control.MODELS),
        units: int = 3,
        loras: Iterable[str] = ("bronze",),
        vaes: Iterable[str] = ("ft-mse.safetensors",),
        seconds_per_step: float = 0.0,
        seconds_per_page: float = 0.0,
        away: float = 0.4,
        record: Path | None = None,
        artist: Artist = restyle,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.faults = deque(faults)
        assert set(self.faults) <= set(FAULTS) and flavour in FLAVOURS, (faults, flavour)
        self.flavour, self.auth, self.api = flavour, auth, api
        self.webui = webui and flavour in ("a1111", "forge", "reforge")
        self.schedulers = schedulers and flavour != "kobold"
        self.models, self.loras, self.vaes = list(models), list(loras), list(vaes)
        self.controlnet = None if controlnet is None else list(controlnet)
        self.units, self.no_detectmap, self.return_mask = units, False, False
        self.loaded = self.models[0] if self.models else None
        self.vae = "Automatic"
        self.stuck_model = False
        self.seconds_per_step, self.seconds_per_page = seconds_per_step, seconds_per_page
        self.away, self.hang_up, self.record = away, "", record
        self.missed = threading.Event()
        self.pause: Callable[[], object] = lambda: time.sleep(self.seconds_per_step)
        self.artist = artist
        self.requests: list[tuple[str, str, Any]] = []
        self.jobs: list[dict[str, Any]] = []
        self.delivered: list[str] = []
        self.queue = threading.Lock()
        self.state, self.live = idle_state(), ""
        self.active = ""
        self.waiting: list[str] = []
        self.finished: deque[str] = deque(maxlen=16)
        self._port, self._tls = port, tls
        self._http: ThreadingHTTPServer | None = None

    def start(self) -> A1111Server:
        """Listen on the loopback; ``address`` says where."""
        owner = self

        class Ours(Handler):
            server_owner = owner

        self._http = ThreadingHTTPServer(("127.0.0.1", self._port), Ours)
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

    def come_back(self) -> None:
        """Start again after a while, or when somebody who noticed it sets ``missed``."""
        self.missed.wait(self.away)
        self.missed.clear()
        self.start()

    def until_asked(self, times: int = 1) -> Callable[[], None]:
        """A ``pause`` that ends when the progress was asked for so often since the step began."""

        def asked() -> int:
            return self.paths().count("/sdapi/v1/progress")

        def pause() -> None:
            before = asked()
            wait_for(lambda: asked() >= before + times)

        return pause

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def grain(self) -> int:
        """Pixels that sizes are floored to."""
        return 64 if self.flavour == "kobold" else 8

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
        verbs = self.routes().get(path.partition("?")[0])
        if verbs is None:
            raise HTTPError(404, {"detail": "Not Found"})
        if method not in verbs:
            raise HTTPError(405, {"detail": "Method Not Allowed"})
        try:
            found = verbs[method](body)
            if "skip_current_image=true" in path:
                found["current_image"] = None
            return found
        except HTTPError as error:
            raise self.as_flavour(error) from None

    def routes(self) -> Routes:
        """Path -> verb -> what answers; other flavours lack some."""
        routes: Routes = {
            "/sdapi/v1/options": {"GET": self.get_options, "POST": self.set_options},
            "/sdapi/v1/sd-models": {"GET": lambda _: self.model_list()},
            "/sdapi/v1/samplers": {"GET": lambda _: self.sampler_list()},
            "/sdapi/v1/img2img": {"POST": self.img2img},
        }
        if self.schedulers:
            routes["/sdapi/v1/schedulers"] = {"GET": lambda _: scheduler_list()}
        if self.flavour == "kobold":
            return routes
        routes["/sdapi/v1/loras"] = {"GET": lambda _: [{"name": n, "alias": n} for n in self.loras]}
        if self.flavour == "sdcpp":
            return routes
        routes["/sdapi/v1/progress"] = {"GET": lambda _: self.progress()}
        routes["/sdapi/v1/interrupt"] = {"POST": self.interrupt}
        routes["/internal/progress"] = {"POST": self.task_progress}
        routes["/internal/ping"] = {"GET": lambda _: {}}
        if self.flavour != "forge":
            routes["/sdapi/v1/sd-vae"] = {"GET": lambda _: [{"model_name": v} for v in self.vaes]}
        if self.flavour == "sdnext":
            routes["/sdapi/v1/version"] = {"GET": lambda _: {"app": "sd.next"}}
        elif self.controlnet is not None:
            models = self.controlnet
            routes["/controlnet/model_list"] = {"GET": lambda _: {"model_list": models}}
            routes["/controlnet/control_types"] = {"GET": lambda _: control.types(models)}
            if self.flavour == "a1111":
                count = {"control_net_unit_count": self.units}
                routes["/controlnet/settings"] = {"GET": lambda _: count}
                routes["/controlnet/version"] = {"GET": lambda _: {"version": 3}}
        return routes

    def as_flavour(self, error: HTTPError) -> HTTPError:
        """An error as the flavour writes it."""
        body = error.body
        if not isinstance(body, dict) or "errors" not in body:
            return error
        text = body["errors"] or body["detail"]
        if self.flavour == "forge":
            plain = body["error"] != "HTTPException"
            return HTTPError(error.status, "Internal Server Error" if plain else {"detail": text})
        if self.flavour == "sdcpp":
            return HTTPError(error.status, {"error": "server_error", "message": text})
        if self.flavour == "kobold":
            return HTTPError(error.status, {"detail": {"msg": text, "type": "service_unavailable"}})
        if self.flavour == "sdnext":
            return HTTPError(error.status, {"error": text, "code": error.status})
        return error

    def model_list(self) -> Any:
        if self.flavour == "sdcpp":
            return [{**model_entry(self.models[0]), "hash": "8888888888"}]
        return [model_entry(m) for m in self.models]

    def get_options(self, _: Any) -> Any:
        title = model_entry(self.loaded)["title"] if self.loaded else None
        if self.flavour in ("sdcpp", "kobold"):
            return {"samples_format": "png", "sd_model_checkpoint": title}
        options = {
            "samples_format": "png", "sd_model_checkpoint": title, "return_grid": True,
            "sd_vae": self.vae, "control_net_no_detectmap": self.no_detectmap,
            "return_mask": self.return_mask,
        }  # fmt: skip
        return options | ({"forge_preset": "sd"} if self.flavour == "forge" else {})

    def find_model(self, name: str) -> str | None:
        """A checkpoint by title, with or without hash, or by name."""
        stems = {model_entry(m)["title"].partition(" [")[0]: m for m in self.models}
        stems |= {m: m for m in self.models}
        return stems.get(name.partition(" [")[0])

    def set_options(self, body: Any) -> Any:
        wanted = body.get("sd_model_checkpoint")
        if wanted is not None:
            found = self.find_model(wanted)
            if found is None:
                raise server_exception("RuntimeError", f"model {wanted!r} not found")
            self.loaded = self.loaded if self.stuck_model else found
        self.vae = body.get("sd_vae", self.vae)

    def sampler_list(self) -> Any:
        names = dict(SAMPLERS)
        if self.flavour == "kobold":
            names = {n: names[n] for n in list(names)[:6]}
        elif not self.schedulers:
            names |= {"DPM++ 2M Karras": "k_dpmpp_2m_ka"}
        return [{"name": n, "aliases": a.split(), "options": {}} for n, a in names.items()]

    def progress(self) -> Any:
        steps, step = self.state["sampling_steps"], self.state["sampling_step"]
        running = bool(self.state["job_count"])
        return {
            "progress": max(0.01, step / steps) if running and steps else 0.0,
            "eta_relative": (steps - step) * self.seconds_per_step if running else 0.0,
            "state": dict(self.state),
            "current_image": self.live if running else None,
            "textinfo": None,
        }

    def interrupt(self, _: Any) -> Any:
        self.state["interrupted"] = True
        return None if self.flavour == "sdnext" else {}

    def task_progress(self, body: Any) -> Any:
        task = body["id_task"]
        active, queued = task == self.active, task in self.waiting
        done = task in self.finished
        text = f"In queue: {self.waiting.index(task) + 1}/{len(self.waiting)}" if queued else None
        return {"active": active, "queued": queued, "completed": done, "textinfo": text}

    # --- img2img --------------------------------------------------------------------------------

    def img2img(self, body: Any) -> Any:
        """Validate, wait in the queue, work, answer — with the next fault of the plan."""
        self.validate(body)
        try:
            picture = decode(body["init_images"][0])
        except ValueError:
            raise http_exception(500, "Invalid encoded image") from None
        task = body.get("force_task_id") or "task(anonymous)"
        self.waiting.append(task)
        with self.queue:
            self.waiting.remove(task)
            self.active = task
            self.live = base64.b64encode(encode(255 - picture, "png", "")).decode()
            fault = self.faults.popleft() if self.faults else "ok"
            self.jobs.append(body)
            try:
                found = work(self, body, picture, fault)
                if fault in GOOD:
                    self.delivered.append(body["init_images"][0])
                    self.write_down(fault, body)
                self.hang_up = fault if fault in ("refuse", "torn", "rst") else ""
                return found
            finally:
                self.active = ""
                self.finished.append(task)
                self.state.update(job="", job_count=0)  # 'interrupted' stays, as on the real one

    def write_down(self, fault: str, body: Any) -> None:
        """One line about a delivered page, for those who started this program as a child."""
        if self.record:
            page = hashlib.sha256(body["init_images"][0].encode()).hexdigest()
            with self.record.open("a", encoding="utf-8") as file:
                units = body["alwayson_scripts"].get("ControlNet", {}).get("args", [])
                models = [unit["model"] for unit in units]
                file.write(json.dumps({"page": page, "fault": fault, "models": models}) + "\n")

    def validate(self, body: Any) -> None:
        """What the flavour refuses at once."""
        controlnet = self.controlnet is not None and self.flavour in ("a1111", "forge", "reforge")
        validate(body, ("ControlNet",) if controlnet else ())
        images = body.get("init_images")
        if not images:
            raise http_exception(404, "Init image not found")
        if len(images) > body.get("batch_size", 1):
            expected = f"expecting {body.get('batch_size', 1)} or less"
            text = f"bad number of images passed: {len(images)}; {expected}"
            raise server_exception("RuntimeError", text)
        if self.flavour == "sdcpp" and not body.get("prompt"):
            raise HTTPError(400, {"error": "prompt required"})
        if self.flavour == "sdnext" and body.get("sampler_name") not in SAMPLERS:
            raise http_exception(404, "Sampler not found")
        args = (body.get("alwayson_scripts") or {}).get("ControlNet", {}).get("args", [])
        control.check_units(args, self.flavour in ("forge", "reforge"))

    def acting_units(self, args: list[dict[str, Any]]) -> Any:
        """The ControlNet units that act."""
        forge = self.flavour in ("forge", "reforge")
        return control.acting(args, self.controlnet or [], self.units, self.loaded or "", forge)


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
    parser.add_argument("--away", type=float, default=0.4, help="seconds for die_back and refuse")
    parser.add_argument("--record", type=Path, help="file that gets one JSON line a page")
    parsed = parser.parse_args()
    with A1111Server(
        [f for f in parsed.faults.split(",") if f],
        auth=parsed.auth, webui=not parsed.nowebui, port=parsed.port,
        seconds_per_step=parsed.seconds_per_step, away=parsed.away, record=parsed.record,
    ) as server:  # fmt: skip
        print(f"Listening at {server.address}; Ctrl-C ends.", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
