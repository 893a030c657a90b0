"""Stable Diffusion on Automatic1111 servers as a stylizer: one img2img a page."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ...core.a1111 import Client, addresses
from ...core.a1111_control import Unit, parse_control, resolve_model, unit_body
from ...core.a1111_flavours import SDNEXT, Flavour
from ...core.a1111_lists import ControlLists
from ...core.a1111_names import (
    check_loras,
    lora_names,
    resolve_checkpoint,
    resolve_vae,
    same_model,
)
from ...core.a1111_wire import Answer, Job, Pulse
from ...core.errors import GsdError, InputError, MissingError, StageError
from ...core.events import Emit
from ...core.settings import Settings
from ..images import Bytes, decode_rgb, encode_png
from .backend import NO_HINTS, Hints, Report, Styled, Stylizer
from .collage import largest_side
from .pool import stoppable

ENLARGE = True
BLACK_LEVEL = 8  # of 255: what a server sends in place of NaNs and of censored pictures
RETURN_SECONDS = 120.0  # how long a lone server that went away is waited for

_T = TypeVar("_T")


def check(settings: Settings) -> None:
    """Raise GsdError for what keeps the servers from restyling with these settings.

    They are asked for their lists; nothing is loaded and nothing is drawn.
    """
    found = _on_each(settings, lambda c: (c.address, _resolve(c, settings).model), lambda _: None)
    _agree(found)


def start(settings: Settings, emit: Emit) -> Stylizer:
    """The first of :func:`start_all`."""
    return start_all(settings, emit)[0]


def start_all(settings: Settings, emit: Emit) -> list[Stylizer]:
    """Connect to every server, resolve all names and load the models, on all at once.

    Servers that are not there are left out with a warning, as long as one is. Raises GsdError.
    """
    told: set[str] = set()
    lock = threading.Lock()

    def warn(message: str) -> None:
        with lock:
            new = message not in told
            told.add(message)
        if new:
            emit("warning", message=message)

    if not settings.prompt.strip():
        warn("The prompt is empty, so the diffusion model is free to draw anything.")
    servers = _on_each(settings, lambda client: _begin(client, settings, emit, warn), warn)
    _agree([(server.client.address, server.model) for server in servers])
    if len(servers) == 1:
        servers[0].client.patience = RETURN_SECONDS
    return list(servers)


def _on_each(
    settings: Settings, work: Callable[[Client], _T], warn: Callable[[str], None]
) -> list[_T]:
    """What ``work`` gives of each server, on all at once; a missing one is left out if there is
    another. Raises the first other error.
    """
    found: dict[str, _T | GsdError] = {}

    def one(address: str) -> None:
        try:
            found[address] = work(_client(settings, address))
        except GsdError as error:
            found[address] = error

    wanted = addresses(settings.server)
    threads = [threading.Thread(target=one, args=(a,), daemon=True) for a in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made: list[_T] = []
    for address in wanted:
        outcome = found[address]
        if not isinstance(outcome, GsdError):
            made.append(outcome)
        elif isinstance(outcome, MissingError) and len(wanted) > 1:
            warn(f"{outcome} The other servers do its work.")
        else:
            raise outcome
    if not made:
        raise next(o for o in found.values() if isinstance(o, GsdError))
    return made


def _client(settings: Settings, address: str) -> Client:
    return Client(address, settings.server_timeout, settings.server_verify)


@dataclass(frozen=True)
class _Names:
    """What the settings' names are on one server."""

    flavour: Flavour
    sampler: str
    scheduler: str | None
    controls: ControlLists | None
    refiner: str
    model: str
    units: Mapping[Unit, str]


def _resolve(client: Client, settings: Settings) -> _Names:
    """Look every name up in the server's lists; nothing is changed there. Raises GsdError."""
    flavour = client.flavour()
    prompts = settings.prompt + settings.negative_prompt
    needs = {
        "--control": bool(parse_control(settings.control)),
        "--vae": bool(settings.vae),
        "--refiner": bool(settings.refiner),
        "--checkpoint": bool(settings.checkpoint),
        "<lora:…>": bool(lora_names(prompts)),
    }
    if lacking := flavour.lacks(needs):
        how = f"which does not do {lacking}"
        if flavour is SDNEXT and lacking == "--control":
            how = f"whose ControlNet has an API of its own that {lacking} does not speak"
        raise InputError(
            f"The server at {client.address} is {flavour.name}, {how}; do without it, or use an "
            "Automatic1111 server."
        )
    if flavour.most_steps and settings.diffusion_steps > flavour.most_steps:
        raise InputError(
            f"A {flavour.name} server takes {flavour.most_steps} steps at most; lower "
            "--diffusion-steps."
        )
    if flavour.longest and not settings.main_folder:
        _require_fit(largest_side(settings, ENLARGE), flavour)
    sampler, scheduler = client.resolve_sampler(settings.sampler, settings.scheduler)
    model = client.loaded_model()
    if settings.checkpoint:
        model = resolve_checkpoint(settings.checkpoint, client.models())[0]
    if settings.vae:
        resolve_vae(settings.vae, client.vaes() or [])
    if needs["<lora:…>"]:
        check_loras(prompts, client.loras() or [])
    wanted = parse_control(settings.control)
    controls = client.control_lists() if wanted else None
    if controls and len(wanted) > controls.units:
        raise InputError(
            f"The server at {client.address} heeds {controls.units} ControlNet units and drops "
            "further ones: raise their number in its ControlNet settings, or shorten --control."
        )
    units = {}
    if controls:
        units = {u: resolve_model(u, controls.models, model, controls.defaults) for u in wanted}
    refiner = resolve_checkpoint(settings.refiner, client.models())[0] if settings.refiner else ""
    if refiner and same_model(refiner, model):
        raise InputError(f"The refiner {settings.refiner!r} is the diffusion model itself.")
    return _Names(flavour, sampler, scheduler, controls, refiner, model, units)


def _require_fit(side: int, flavour: Flavour) -> None:
    if flavour.longest and side > flavour.longest:
        raise InputError(
            f"A {flavour.name} server takes pictures of {flavour.longest} pixels at most; "
            f"lower --page-size to {flavour.longest}."
        )


def _begin(client: Client, settings: Settings, emit: Emit, warn) -> _Server:
    names = _resolve(client, settings)
    emit("phase", message=f"Preparing the diffusion model at {client.address}")
    model = client.use_model(settings.checkpoint)
    client.use_vae(settings.vae)
    emit("phase", message=f"Restyling with {model} at {client.address}")
    return _Server(client, settings, names, model, warn)


def _agree(servers: Sequence[tuple[str, str]]) -> None:
    """Raise InputError if not all servers, as (address, model), have the same model."""
    address, model = servers[0]
    for other, others in servers[1:]:
        if not same_model(model, others):
            raise InputError(
                f"The servers have different models loaded ({model} at {address}, {others} at "
                f"{other}), so their pages would not fit together: name one with --checkpoint."
            )


class _Server:
    """One server with all names resolved, as a stylizer."""

    def __init__(self, client, settings, names, model, warn) -> None:
        self.client: Client = client
        self.settings: Settings = settings
        self.names: _Names = names
        self.model: str = model
        self.warn = warn

    def __call__(
        self, page: Bytes, grid: tuple[int, int], report: Report, hints: Hints = NO_HINTS
    ) -> Styled:
        job = self.job(page, hints)

        def hear(pulse: Pulse) -> None:
            if not pulse.idle:
                report(pulse.fraction, pulse.eta or None, _unfinished(pulse.picture))

        with stoppable():
            answer = self.client.img2img(job, hear, self.warn)
        for note in answer.notes:
            self.warn(note)
        return Styled(
            picture_of(answer, page, job), _text(self.settings, answer, job, self.model, self.names)
        )

    def cancel(self) -> None:
        """Stop the server's job, if it is ours."""
        self.client.cancel()

    def job(self, page: Bytes, hints: Hints) -> Job:
        """The request for ``page``, padded to the sizes that the server can do."""
        s, flavour = self.settings, self.names.flavour
        sent = padded(page, flavour.grain)
        _require_fit(max(sent.shape[:2]), flavour)
        style = self.names.controls.style if self.names.controls else flavour
        units = tuple(
            unit_body(
                unit,
                self.names.units[unit],
                encode_png(padded(picture, flavour.grain)),
                style.capital_none,
            )
            for unit, picture in hints.controls
        )
        mask = None
        if hints.mask is not None:
            mask = encode_png(padded(np.dstack([hints.mask] * 3), flavour.grain))
        return Job(
            picture=encode_png(sent),
            width=sent.shape[1],
            height=sent.shape[0],
            prompt=f"{s.prompt}, {hints.view}" if hints.view else s.prompt,
            negative_prompt=s.negative_prompt,
            seed=s.seed,  # the same for every page, so that they come out alike
            steps=s.diffusion_steps,
            cfg_scale=s.cfg_scale,
            strength=s.strength,
            sampler=self.names.sampler,
            scheduler=self.names.scheduler,
            mask=mask,
            units=units,
            masks=self.names.controls.masks if self.names.controls else 0,
            refiner=self.names.refiner,
            refiner_switch=s.refiner_switch,
            model=self.model,
        )


def _unfinished(data: bytes) -> Bytes | None:
    """The live picture; one that cannot be read is left out, since the finished one counts."""
    try:
        return decode_rgb(data) if data else None
    except InputError:
        return None


def padded(page: Bytes, grain: int) -> Bytes:
    """``page`` with its border repeated to the right and below up to multiples of ``grain``."""
    more = [-side % grain for side in page.shape[:2]]
    if not any(more):
        return page
    return np.pad(page, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge")


def picture_of(answer: Answer, page: Bytes, job: Job | None = None) -> Bytes:
    """The answer's picture (H, W, 3) uint8, cut to the page's size if the page was padded.

    Raises StageError if it is black or of another size than asked for.
    """
    width, height = (job.width, job.height) if job else (page.shape[1], page.shape[0])
    try:
        pixels = decode_rgb(answer.picture)
    except InputError as error:
        raise StageError(f"The server's picture is damaged: {error}") from None
    if pixels.shape[:2] != (height, width):
        raise StageError(
            f"The server sent {pixels.shape[1]}x{pixels.shape[0]} pixels where "
            f"{width}x{height} were asked for."
        )
    if int(pixels.max()) < BLACK_LEVEL <= int(page.max()):
        raise StageError(
            "The server sent a black picture: start it with --no-half-vae and without "
            "--disable-nan-check, or switch off its safety filter extension."
        )
    return np.ascontiguousarray(pixels[: page.shape[0], : page.shape[1]])


def _text(
    settings: Settings, answer: Answer, job: Job, model: str, names: _Names
) -> dict[str, str]:
    """``parameters`` is where A1111 itself keeps it, so its PNG Info page reads our files."""
    units = [{k: v for k, v in unit.items() if k != "image"} for unit in job.units]
    return {
        "parameters": answer.infotext,
        "prompt": job.prompt,
        "negative_prompt": settings.negative_prompt,
        "seed": str(answer.seed),
        "model": model,
        "stylizer": "a1111",
        "server": names.flavour.name,
        "control": json.dumps(units),
        "info": json.dumps(dict(answer.info)),
    }
