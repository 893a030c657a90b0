"""Stable Diffusion on an Automatic1111 server as a stylizer: one img2img a page."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Iterator

from ...core.a1111 import Client
from ...core.a1111_wire import Answer, Job, Pulse
from ...core.errors import GsdError, InputError, Interrupted, StageError
from ...core.events import Emit
from ...core.settings import Settings
from ..images import Bytes, decode_rgb, encode_png
from .backend import Report, Styled, Stylizer

ENLARGE = True
BLACK_LEVEL = 8  # of 255: what a server sends in place of NaNs and of censored pictures


def check(settings: Settings) -> str | None:
    """What keeps the server from restyling with these settings, in a sentence, or None."""
    try:
        client = Client(settings.server, settings.server_timeout)
        client.loaded_model()
        client.resolve_sampler(settings.sampler, settings.scheduler)
    except GsdError as error:
        return str(error)
    return None


def start(settings: Settings, emit: Emit) -> Stylizer:
    """Connect, resolve the sampler's names and load the model. Raises GsdError."""
    client = Client(settings.server, settings.server_timeout)
    sampler, scheduler = client.resolve_sampler(settings.sampler, settings.scheduler)
    emit("phase", message=f"Preparing the diffusion model at {client.address}")
    model = client.use_model(settings.checkpoint)
    emit("phase", message=f"Restyling with {model} at {client.address}")
    told: set[str] = set()

    def warn(message: str) -> None:
        if message not in told:
            told.add(message)
            emit("warning", message=message)

    if not settings.prompt.strip():
        warn("The prompt is empty, so the diffusion model is free to draw anything.")

    def stylize(page: Bytes, grid: tuple[int, int], report: Report) -> Styled:
        job = _job(settings, page, sampler, scheduler)

        def hear(pulse: Pulse) -> None:
            if not pulse.idle:
                report(pulse.fraction, pulse.eta or None)

        with _stoppable():
            answer = client.img2img(job, hear, warn)
        for note in answer.notes:
            warn(note)
        return Styled(picture_of(answer, page), _text(settings, answer, model))

    return stylize


def picture_of(answer: Answer, page: Bytes) -> Bytes:
    """The answer's picture (H, W, 3) uint8; raises StageError if it is black or of another size."""
    try:
        pixels = decode_rgb(answer.picture)
    except InputError as error:
        raise StageError(f"The server's picture is damaged: {error}") from None
    if pixels.shape != page.shape:
        raise StageError(
            f"The server sent {pixels.shape[1]}x{pixels.shape[0]} pixels where "
            f"{page.shape[1]}x{page.shape[0]} were asked for."
        )
    if int(pixels.max()) < BLACK_LEVEL <= int(page.max()):
        raise StageError(
            "The server sent a black picture: start it with --no-half-vae and without "
            "--disable-nan-check, or switch off its safety filter extension."
        )
    return pixels


def _job(settings: Settings, page: Bytes, sampler: str, scheduler: str | None) -> Job:
    return Job(
        picture=encode_png(page),
        width=page.shape[1],
        height=page.shape[0],
        prompt=settings.prompt,
        negative_prompt=settings.negative_prompt,
        seed=settings.seed,  # the same for every page, so that they come out alike
        steps=settings.diffusion_steps,
        cfg_scale=settings.cfg_scale,
        strength=settings.strength,
        sampler=sampler,
        scheduler=scheduler,
    )


def _text(settings: Settings, answer: Answer, model: str) -> dict[str, str]:
    """``parameters`` is where A1111 itself keeps it, so its PNG Info page reads our files."""
    return {
        "parameters": answer.infotext,
        "prompt": settings.prompt,
        "negative_prompt": settings.negative_prompt,
        "seed": str(answer.seed),
        "model": model,
        "stylizer": "a1111",
        "info": json.dumps(dict(answer.info)),
    }


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM raise Interrupted meanwhile, so that the server's job stops before we do."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        raise Interrupted("Stopped while the server was working.")

    names = [n for n in ("SIGTERM", "SIGBREAK") if hasattr(signal, n)]
    before = {n: signal.signal(getattr(signal, n), stop) for n in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
