"""The Automatic1111 client: has a picture restyled, or says in a sentence why it cannot.

One request a picture, over ``requests``. While the server works, a thread asks it for its progress;
a cancelled request interrupts the server's job if that job is ours, since closing the connection
does not.
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import requests

from . import a1111_flavours as flavours
from . import a1111_wire as wire
from . import json_text
from .a1111_errors import LostAnswer, NanFault, PassingFault
from .a1111_lists import AUTH_VARIABLE, CONNECT_SECONDS, LIST_SECONDS, Connection
from .a1111_network import listens
from .a1111_wire import Answer, Job, Pulse
from .errors import GsdError, MissingError, StageError

PULSE_SECONDS = 1.0
PICTURE_PULSES = 3  # the unfinished picture is asked for every so many pulses: it costs the server
INTERRUPT_SECONDS = 0.3  # a cancelled stage has less than a second before it is killed
SETTLE_SECONDS = 5.0  # a starting A1111 listens before it can stand a request

__all__ = ["AUTH_VARIABLE", "Answer", "Client", "Job", "addresses", "describe", "masked"]

Report = Callable[[Pulse], None]
Warn = Callable[[str], None]


def describe(address: str, timeout: float = LIST_SECONDS, verify: bool = True) -> str:
    """What answers at ``address``, in a few words for ``check``.

    Raises InputError for a bad address, MissingError if no usable server answers. Asks once: a
    server that is starting must not be polled (A1111 1.10 dies of an early request).
    """
    client = Client(address, timeout=timeout, verify=verify)
    model = client.loaded_model()
    flavour = client.flavour()
    program = "" if flavour is flavours.A1111 else f", a {flavour.name} server,"
    return f"{client.address}{program} with {model}"


def addresses(server: str) -> list[str]:
    """The addresses of ``--server``, which may be several separated by commas; never empty."""
    return [part.strip() for part in server.split(",") if part.strip()] or [""]


def masked(address: str) -> str:
    """The address as it may be shown and stored: without a user and password written into it."""
    return re.sub(r"(?<=//)[^/@]*@|^[^/@]*@", "", address.strip())


class Client(Connection):
    """A connection that has pictures restyled; made as a :class:`~.a1111_lists.Connection` is."""

    # --- the picture ----------------------------------------------------------------------------

    def img2img(self, job: Job, report: Report | None = None, warn: Warn | None = None) -> Answer:
        """Have ``job`` done; blocks. ``report`` hears the progress, from another thread.

        After NaNs the same seed is tried once more and then another one, which ``warn`` is told
        and the answer's seed shows.
        Raises StageError for whatever is not the picture asked for, MissingError if the server is
        gone. On any exception, Ctrl-C included, the server's job is interrupted if it is this
        one.
        """
        if job.width % 8 or job.height % 8:
            raise ValueError(f"{job.width}x{job.height}: servers cut sizes down to multiples of 8")
        # NaNs can be a passing fault: the same seed first, since views of one seed fit together.
        for seed, hint in ((job.seed, "with the same seed"), (job.seed + 1, "with another seed")):
            try:
                return self._once(job, report, warn)
            except NanFault as problem:
                if warn:
                    warn(f"{problem} Trying once more {hint}.")
            job = replace(job, seed=seed % 2**32)
        try:
            return self._once(job, report, warn)
        except NanFault as problem:
            raise StageError(
                f"{problem} Three times in a row: start the server with --no-half-vae, or switch "
                "on 'Upcast cross attention layer to float32' in its settings."
            ) from None

    def cancel(self) -> None:
        """Stop the job that is being waited for, if the server is at it; from another thread."""
        task = self._task
        if task:
            self.interrupt(task)

    def _once(self, job: Job, report: Report | None, warn: Warn | None) -> Answer:
        task = self._task = f"task(gsd-{uuid.uuid4().hex[:15]})"
        body = wire.img2img_body(job, task)
        with _Watch(self._new_session(), self.address, task, report) as watch:
            try:
                data = self._work(body, task)
            except (LostAnswer, MissingError) as problem:
                away = self._away()
                if isinstance(problem, MissingError) and not away:
                    raise PassingFault(str(problem)) from None
                data = self._ask_again(body, task, problem, away, warn, watch)
            finally:
                self._task = ""
        # The flag stays up until the next job begins.
        if watch.interrupted or self._interrupted():
            raise StageError(
                "Somebody interrupted the job at the server, so its picture is half finished; run "
                "the same command again."
            )
        return wire.read_answer(data, job)

    def _work(self, body: Any, task: str) -> Any:
        try:
            return self._post("/sdapi/v1/img2img", body)
        except LostAnswer:
            raise  # the job is still wanted
        except BaseException:
            self.interrupt(task)
            raise

    def _ask_again(
        self,
        body: Any,
        task: str,
        problem: GsdError,
        away: bool,
        warn: Warn | None,
        watch: _Watch,
    ) -> Any:
        """The same request once more, which gives the same picture, once nothing runs there.

        ``away``: whether the server was found gone; it may have started again since.
        """
        try:
            if away:
                begun = isinstance(problem, LostAnswer)
                watch.resting = True
                self._wait_for_return("in the middle of" if begun else "before", warn)
                watch.resting = False
            elif not self.flavour().progress:
                raise StageError(
                    f"{problem} A {self.flavour().name} server does not tell whether it still "
                    "works on the picture, so it is not asked again; run the same command later."
                )
            elif warn:
                warn(f"{problem} Waiting for the server, then asking again for the same picture.")
            self._wait_until_idle()
            return self._work(body, task)
        except MissingError:
            raise MissingError(
                f"The server at {self.address} went away in the middle of a picture. Finished ones "
                "are kept: start the server again and run the same command."
            ) from None

    def _place(self) -> tuple[str, int]:
        parts = urlsplit(self.address)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    def _away(self) -> bool:
        return not listens(*self._place())

    def _wait_for_return(self, when: str, warn: Warn | None) -> None:
        """Until a server that went away is back with its model; raises MissingError.

        Looks at the TCP port alone, and gives the server a moment after that: A1111 dies of a
        request that comes between its first port and its API.
        """
        if warn and self.patience > 0:
            warn(
                f"The server at {self.address} went away {when} a picture. Waiting up to "
                f"{self.patience:g} s for it to come back."
            )
        end = time.monotonic() + self.patience
        while self._away():
            if time.monotonic() >= end:
                raise MissingError("It did not come back.")
            time.sleep(PULSE_SECONDS)
        time.sleep(SETTLE_SECONDS)
        self._lists.clear()  # A1111 lists a model with its hash only once it was loaded
        if self._model:
            self.use_model(self._model)  # it may have started with another one

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


class _Watch:
    """Asks for the progress in a thread while a request is open; notices an interrupted job."""

    def __init__(
        self, session: requests.Session, address: str, task: str, report: Report | None
    ) -> None:
        self._address, self._task = address, task
        self._session, self._report = session, report
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.interrupted = False
        self.resting = False  # while a server starts, which a request might kill

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def _follow(self) -> None:
        count = 0
        while not self._done.wait(PULSE_SECONDS):
            count += 1
            if self.resting:
                continue
            try:
                shown = self._report and count % PICTURE_PULSES == 0 and self._is_ours()
                skip = "false" if shown else "true"
                answer = self._session.get(
                    f"{self._address}/sdapi/v1/progress?skip_current_image={skip}",
                    timeout=CONNECT_SECONDS,
                )
                if answer.status_code != 200:
                    return  # a server without progress; the picture comes all the same
                pulse = wire.read_pulse(json_text.loads(answer.content))
            except (requests.RequestException, ValueError):
                continue  # busy; the open request finds out what is wrong
            if self._done.is_set():
                return
            # Only the last word counts: before our job began, the flag was another job's.
            self.interrupted = pulse.interrupted and not pulse.idle
            if self._report:
                self._report(pulse)

    def _is_ours(self) -> bool:
        """Whether the running job is this one: nobody else's picture is to be shown."""
        ask = {"id_task": self._task, "id_live_preview": -1, "live_preview": False}
        answer = self._session.post(
            f"{self._address}/internal/progress", json=ask, timeout=CONNECT_SECONDS
        )
        found = answer.json() if answer.status_code == 200 else None
        return isinstance(found, dict) and bool(found.get("active"))
