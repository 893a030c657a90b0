"""The Automatic1111 client: has a picture restyled, or says in a sentence why it cannot.

One request a picture, over ``requests``. While the server works, a thread asks it for its progress;
a cancelled request interrupts the server's job if that job is ours, since closing the connection
does not.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import requests

from . import a1111_wire as wire
from .a1111_errors import LostAnswer, NanFault, fault
from .a1111_wire import Answer, Job, Pulse
from .errors import GsdError, MissingError, StageError

AUTH_VARIABLE = "GSD_A1111_AUTH"
CONNECT_SECONDS = 5.0
LIST_SECONDS = 30.0
PULSE_SECONDS = 1.0
INTERRUPT_SECONDS = 0.3  # a cancelled stage has less than a second before it is killed

Report = Callable[[Pulse], None]
Warn = Callable[[str], None]


def describe(address: str, timeout: float = LIST_SECONDS) -> str:
    """What answers at ``address``, in a few words for ``check``.

    Raises InputError for a bad address, MissingError if no usable server answers. Asks once: a
    server that is starting must not be polled (A1111 1.10 dies of an early request).
    """
    client = Client(address, timeout=timeout)
    model = client.loaded_model()
    return f"{client.address} with {model}"


def masked(address: str) -> str:
    """The address as it may be shown and stored: without a user and password written into it."""
    return re.sub(r"(?<=//)[^/@]*@|^[^/@]*@", "", address.strip())


class Client:
    """A connection to one server.

    ``address`` in any spelling (see :func:`a1111_wire.normalize_address`); user and password come
    from the environment (GSD_A1111_AUTH) and are sent with every request, because the server
    never asks for them. ``timeout``: longest wait for one picture or for a model to load, in
    seconds. ``verify``: check the TLS certificate.
    """

    def __init__(self, address: str, timeout: float = 600.0, verify: bool = True) -> None:
        self.address = wire.normalize_address(address)
        self.timeout = timeout
        self._verify = verify
        self._auth = wire.parse_auth(os.environ.get(AUTH_VARIABLE, ""))
        self._session = self._new_session()

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.auth = self._auth  # type: ignore[assignment]  # bytes keep UTF-8 as it is
        session.verify = self._verify
        host = urlsplit(self.address).hostname or ""
        if host in ("localhost", "::1") or host.startswith("127."):
            session.trust_env = False  # a company's proxy cannot reach this machine's own server
        return session

    # --- lists ----------------------------------------------------------------------------------

    def options(self) -> dict[str, Any]:
        """The server's options; the first thing asked, so that faults of the address show here."""
        found = self._get("/sdapi/v1/options")
        if not isinstance(found, dict):
            raise MissingError(
                f"{self.address} answers, but not as an A1111 server does; check --server."
            )
        return found

    def models(self) -> list[dict[str, Any]]:
        """Diffusion models: title, model_name, hash, filename."""
        return _entries(self._get("/sdapi/v1/sd-models"))

    def samplers(self) -> list[dict[str, Any]]:
        """Samplers: name, aliases, options."""
        return _entries(self._get("/sdapi/v1/samplers"))

    def schedulers(self) -> list[dict[str, Any]] | None:
        """Noise schedules: name, label, aliases; None on servers that have no such list."""
        found = self._get("/sdapi/v1/schedulers", optional=True)
        return None if found is None else _entries(found)

    def loaded_model(self) -> str:
        """Title of the loaded model; raises MissingError if the server has none at all."""
        title = self.options().get("sd_model_checkpoint")
        if not title:
            names = [str(m.get("model_name") or m.get("title")) for m in self.models()]
            if not names:
                raise MissingError(
                    f"The server at {self.address} has no diffusion model: put one into its "
                    "models/Stable-diffusion folder."
                )
            title = names[0]
        return str(title)

    def resolve_sampler(self, sampler: str, scheduler: str) -> tuple[str, str | None]:
        """The server's names of both; raises InputError for one it does not have."""
        return wire.resolve_sampler(sampler, scheduler, self.samplers(), self.schedulers())

    def use_model(self, checkpoint: str) -> str:
        """Load the model called ``checkpoint`` and return its title; empty keeps the loaded one.

        Goes through the options and looks again afterwards: a request's own override is ignored for
        unknown models, and on some servers for all. Loading may take minutes.
        """
        loaded = self.loaded_model()
        if not checkpoint:
            return loaded
        title, _ = wire.resolve_checkpoint(checkpoint, self.models())
        if not wire.same_checkpoint(title, loaded):
            self._post("/sdapi/v1/options", {"sd_model_checkpoint": title}, self.timeout)
            loaded = self.loaded_model()
            if not wire.same_checkpoint(title, loaded):
                raise StageError(
                    f"The server at {self.address} still uses the model {loaded!r} after it was "
                    f"told to load {title!r}; see its console."
                )
        return loaded

    # --- the picture ----------------------------------------------------------------------------

    def img2img(self, job: Job, report: Report | None = None, warn: Warn | None = None) -> Answer:
        """Have ``job`` done; blocks. ``report`` hears the progress, from another thread.

        After NaNs another seed is tried once, which ``warn`` is told and the answer's seed shows.
        Raises StageError for whatever is not the picture asked for, MissingError if the server is
        gone. On any exception, Ctrl-C included, the server's job is interrupted if it is this
        one.
        """
        if job.width % 8 or job.height % 8:
            raise ValueError(f"{job.width}x{job.height}: servers cut sizes down to multiples of 8")
        try:
            return self._once(job, report, warn)
        except NanFault as problem:
            if warn:
                warn(f"{problem} Trying once more with another seed.")
        try:
            return self._once(replace(job, seed=(job.seed + 1) % 2**32), report, warn)
        except NanFault as problem:
            raise StageError(
                f"{problem} Twice in a row: start the server with --no-half-vae, or switch on "
                "'Upcast cross attention layer to float32' in its settings."
            ) from None

    def _once(self, job: Job, report: Report | None, warn: Warn | None) -> Answer:
        task = f"task(gsd-{uuid.uuid4().hex[:15]})"
        body = wire.img2img_body(job, task)
        with _Watch(self._new_session(), self.address, report) as watch:
            try:
                data = self._post("/sdapi/v1/img2img", body, self.timeout, task)
            except LostAnswer as problem:
                data = self._ask_again(body, task, problem, warn)
        # The flag stays up until the next job begins.
        if watch.interrupted or self._interrupted():
            raise StageError(
                "Somebody interrupted the job at the server, so its picture is half finished; run "
                "the same command again."
            )
        return wire.read_answer(data, job)

    def _ask_again(self, body: Any, task: str, problem: LostAnswer, warn: Warn | None) -> Any:
        if warn:
            warn(f"{problem} Waiting for the server, then asking again for the same picture.")
        try:
            self._wait_until_idle()
            return self._post("/sdapi/v1/img2img", body, self.timeout, task)
        except MissingError:
            raise MissingError(
                f"The server at {self.address} went away in the middle of a picture. Finished ones "
                "are kept: start the server again and run the same command."
            ) from None

    def _interrupted(self) -> bool:
        try:
            found = self._get("/sdapi/v1/progress?skip_current_image=true", optional=True)
        except GsdError:
            return False  # gone since; what it sent is here
        return wire.read_pulse(found).interrupted

    def _wait_until_idle(self) -> None:
        """Until no job runs; asking earlier would queue the same picture twice."""
        end = time.monotonic() + self.timeout
        while time.monotonic() < end:
            found = self._get("/sdapi/v1/progress?skip_current_image=true", optional=True)
            if wire.read_pulse(found).idle:
                return
            time.sleep(PULSE_SECONDS)
        raise StageError(
            f"The server at {self.address} was still busy after {self.timeout:g} s; raise "
            "--server-timeout or lower --diffusion-steps."
        )

    def interrupt(self, task: str) -> bool:
        """Stop the server's running job if it is ``task``; returns whether that was so.

        A server in --nowebui mode does not tell whose job runs; then nothing is done, because it
        might be somebody else's.
        """
        session = self._new_session()
        wait = (INTERRUPT_SECONDS, INTERRUPT_SECONDS)
        try:
            ask = {"id_task": task, "id_live_preview": -1, "live_preview": False}
            answer = session.post(f"{self.address}/internal/progress", json=ask, timeout=wait)
            ours = answer.status_code == 200 and bool(answer.json().get("active"))
            if ours:
                session.post(f"{self.address}/sdapi/v1/interrupt", json={}, timeout=wait)
        except (requests.RequestException, ValueError, AttributeError):
            return False
        return ours

    # --- requests -------------------------------------------------------------------------------

    def _get(self, path: str, optional: bool = False) -> Any:
        return self._send("GET", path, None, min(LIST_SECONDS, self.timeout), optional)

    def _post(self, path: str, body: Any, timeout: float, task: str | None = None) -> Any:
        try:
            return self._send("POST", path, body, timeout, False)
        except LostAnswer:
            raise  # the job is still wanted
        except BaseException:
            if task is not None:
                self.interrupt(task)
            raise

    def _send(self, method: str, path: str, body: Any, timeout: float, optional: bool) -> Any:
        wait = (min(CONNECT_SECONDS, timeout), timeout)
        url = self.address + path
        try:
            # A redirected POST would become a GET, so redirects are named instead of followed.
            answer = self._session.request(
                method, url, json=body, timeout=wait, allow_redirects=False
            )
        except requests.RequestException as problem:
            raise self._diagnosis(problem, method, timeout) from None
        if answer.is_redirect:
            raise MissingError(
                f"{self.address} sends us on to {answer.headers['location']}; give that address, "
                "without its page, to --server."
            )
        if optional and answer.status_code in (404, 405, 501):
            return None
        if not answer.ok:
            sent = self._auth is not None
            raise fault(answer.status_code, answer.content, self.address, sent)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError:
            raise MissingError(
                f"{self.address} answers with something else than JSON, so it is not an A1111 "
                "server; check the address and port of --server."
            ) from None

    def _diagnosis(
        self, problem: requests.RequestException, method: str, timeout: float
    ) -> GsdError:
        causes = list(_causes(problem))
        parts = urlsplit(self.address)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        if isinstance(problem, requests.exceptions.SSLError):
            if any("CERTIFICATE_VERIFY_FAILED" in str(c) for c in causes):
                return MissingError(
                    f"The TLS certificate of {self.address} is not trusted; name its authority's "
                    "file in the environment variable REQUESTS_CA_BUNDLE."
                )
            return MissingError(
                f"{self.address} does not speak TLS; write http:// instead of https:// in --server."
            )
        if isinstance(problem, requests.exceptions.ConnectTimeout):
            return MissingError(f"Nothing answers at {self.address}; check --server and firewalls.")
        if isinstance(problem, requests.exceptions.Timeout):
            return StageError(
                f"The server at {self.address} did not answer within {timeout:g} s; raise "
                "--server-timeout or see the server's console."
            )
        if any(isinstance(c, ConnectionRefusedError) for c in causes):
            return MissingError(_not_running(self.address, host, port))
        if any(isinstance(c, socket.gaierror) for c in causes):
            return MissingError(f"There is no computer called {host!r}; check --server.")
        if parts.scheme == "http" and _speaks_tls(host, port):
            return MissingError(
                f"The server at {self.address} wants TLS; write https:// instead of http:// "
                "in --server."
            )
        if method == "POST":
            return LostAnswer(f"The server at {self.address} closed the connection.")
        return MissingError(
            f"{self.address} closes the connection without an answer; check --server."
        )


class _Watch:
    """Asks for the progress in a thread while a request is open; notices an interrupted job."""

    def __init__(self, session: requests.Session, address: str, report: Report | None) -> None:
        self._url = f"{address}/sdapi/v1/progress?skip_current_image=true"
        self._session, self._report = session, report
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.interrupted = False

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def _follow(self) -> None:
        while not self._done.wait(PULSE_SECONDS):
            try:
                answer = self._session.get(self._url, timeout=CONNECT_SECONDS)
                if answer.status_code != 200:
                    return  # a server without progress; the picture comes all the same
                pulse = wire.read_pulse(answer.json())
            except (requests.RequestException, ValueError):
                continue  # busy; the open request finds out what is wrong
            if self._done.is_set():
                return
            # Only the last word counts: before our job began, the flag was another job's.
            self.interrupted = pulse.interrupted and not pulse.idle
            if self._report:
                self._report(pulse)


def _entries(data: Any) -> list[dict[str, Any]]:
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []


def _causes(problem: BaseException) -> Iterator[BaseException]:
    """The exception and all that stand behind it; urllib3 hides them in arguments and reasons."""
    todo, seen = [problem], set()
    while todo:
        current = todo.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        behind = [*current.args, getattr(current, "reason", None)]
        behind += [current.__cause__, current.__context__]
        todo += [b for b in behind if isinstance(b, BaseException)]


def _not_running(address: str, host: str, port: int) -> str:
    other = {wire.DEFAULT_PORT: wire.NOWEBUI_PORT, wire.NOWEBUI_PORT: wire.DEFAULT_PORT}.get(port)
    hint = ""
    if other and _listens(host, other):
        hint = f" Something listens on port {other}: try --server {host}:{other}."
    return (
        f"No server is running at {address}: start A1111 with --api and give its address to "
        f"--server (it uses port {wire.DEFAULT_PORT}, or {wire.NOWEBUI_PORT} with --nowebui).{hint}"
    )


def _listens(host: str, port: int) -> bool:
    """Whether a TCP port is open; no HTTP, which a starting A1111 would not survive."""
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return True
    except OSError:
        return False


def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=2.0) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return True
    except OSError:
        return False
