"""A connection to an Automatic1111 server, and its lists: models, samplers, ControlNet, …

Lists are read from the server and kept for the connection's life; nothing is known beforehand.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from . import a1111_flavours as flavours
from . import a1111_names, json_text
from . import a1111_wire as wire
from .a1111_control import DEFAULT_UNITS
from .a1111_errors import fault
from .a1111_flavours import Flavour
from .a1111_network import diagnosis
from .errors import MissingError, StageError

AUTH_VARIABLE = "GSD_A1111_AUTH"
CONNECT_SECONDS = 5.0
LIST_SECONDS = 30.0


@dataclass(frozen=True)
class ControlLists:
    """What a server knows of ControlNet.

    ``models``: listed names; ``defaults``: label of a kind of control -> the model the server
    would take; ``units``: how many it heeds, further ones are dropped without a word; ``style``:
    the flavour whose spelling its units want; ``masks``: how many pictures of a mask it sends back.
    """

    models: tuple[str, ...]
    defaults: dict[str, str]
    units: int
    style: Flavour
    masks: int = 0


class _Session(requests.Session):
    """A session whose ``verify`` is heeded: requests takes REQUESTS_CA_BUNDLE, where that is set,
    before a session's "no", but not before a request's own.
    """

    def request(self, *request: Any, **options: Any) -> requests.Response:
        return super().request(*request, **{"verify": self.verify, **options})


class Connection:
    """A connection to one server.

    ``address`` in any spelling (see :func:`a1111_wire.normalize_address`); user and password come
    from the environment (GSD_A1111_AUTH) and are sent with every request, because the server
    never asks for them. ``timeout``: longest wait for one picture or for a model to load, in
    seconds. ``verify``: check the TLS certificate. ``patience``: how long to wait, in seconds,
    for a server that went away in the middle of the work.
    """

    def __init__(
        self, address: str, timeout: float = 600.0, verify: bool = True, patience: float = 0.0
    ) -> None:
        self.address = wire.normalize_address(address)
        self.timeout, self.patience = timeout, patience
        self._verify = verify
        self._flavour: Flavour | None = None
        self._lists: dict[str, Any] = {}
        self._model = ""
        self._task = ""
        self._auth = wire.parse_auth(os.environ.get(AUTH_VARIABLE, ""))
        self._session = self._new_session()

    def _new_session(self) -> requests.Session:
        session = _Session()
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

    def flavour(self) -> Flavour:
        """Which program answers, with its abilities; found once."""
        if self._flavour is None:
            options = self.options()
            models = self.models() if len(options) <= 2 else []
            forge = "forge_preset" in options
            other = len(options) > 2 and not forge
            version = other and self._get("/sdapi/v1/version", optional=True) is not None
            self._flavour = flavours.detect(options, models, version)
        return self._flavour

    def models(self) -> list[dict[str, Any]]:
        """Diffusion models: title, model_name, hash, filename."""
        return self._list("/sdapi/v1/sd-models") or []

    def samplers(self) -> list[dict[str, Any]]:
        """Samplers: name, aliases, options."""
        return self._list("/sdapi/v1/samplers") or []

    def schedulers(self) -> list[dict[str, Any]] | None:
        """Noise schedules: name, label, aliases; None on servers that have no such list."""
        return self._list("/sdapi/v1/schedulers", optional=True)

    def loras(self) -> list[dict[str, Any]] | None:
        """LoRAs: name, alias; None on servers that have no such list."""
        return self._list("/sdapi/v1/loras", optional=True)

    def vaes(self) -> list[dict[str, Any]] | None:
        """VAEs: model_name, filename; None on servers that have no such list."""
        return self._list("/sdapi/v1/sd-vae", optional=True)

    def _list(self, path: str, optional: bool = False) -> list[dict[str, Any]] | None:
        """A list, asked for once a server."""
        if path not in self._lists:
            found = self._get(path, optional)
            self._lists[path] = None if found is None else _entries(found)
        known: list[dict[str, Any]] | None = self._lists[path]
        return known

    def control_lists(self) -> ControlLists:
        """What the server knows of ControlNet; raises MissingError if it has none."""
        found = self._get("/controlnet/model_list", optional=True)
        names = found.get("model_list") if isinstance(found, dict) else None
        if not isinstance(names, list):
            raise MissingError(
                f"The server at {self.address} has no ControlNet: install the extension "
                "sd-webui-controlnet, or leave --control empty."
            )
        options = self.options()
        if options.get("control_net_no_detectmap"):
            raise MissingError(
                f"The server at {self.address} keeps back what shows that ControlNet acted: switch "
                "off 'Do not append detectmap to output' in its ControlNet settings."
            )
        settings = self._get("/controlnet/settings", optional=True)
        units = settings.get("control_net_unit_count") if isinstance(settings, dict) else None
        table = self._get("/controlnet/control_types", optional=True)
        types = table.get("control_types") if isinstance(table, dict) else None
        style = self.flavour()
        if style is flavours.A1111 and settings is None:
            style = flavours.REFORGE  # ControlNet built in, as in Forge
        defaults = {
            str(label): str(entry.get("default_model", ""))
            for label, entry in (types if isinstance(types, dict) else {}).items()
            if isinstance(entry, dict)
        }
        most = units if isinstance(units, int) and units > 0 else DEFAULT_UNITS
        masks = sum(bool(options.get(n)) for n in ("return_mask", "return_mask_composite"))
        return ControlLists(tuple(map(str, names)), defaults, most, style, masks)

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
        return a1111_names.resolve_sampler(sampler, scheduler, self.samplers(), self.schedulers())

    def use_model(self, checkpoint: str) -> str:
        """Load the model called ``checkpoint`` and return its title; empty keeps the loaded one.

        Goes through the options and looks again afterwards: a request's own override is ignored for
        unknown models, and on some servers for all. Loading may take minutes.
        """
        loaded = self._model = self.loaded_model()
        if not checkpoint:
            return loaded
        title, _ = a1111_names.resolve_checkpoint(checkpoint, self.models())
        if not a1111_names.same_checkpoint(title, loaded):
            self._post("/sdapi/v1/options", {"sd_model_checkpoint": title})
            loaded = self.loaded_model()
            if not a1111_names.same_checkpoint(title, loaded):
                raise StageError(
                    f"The server at {self.address} still uses the model {loaded!r} after it was "
                    f"told to load {title!r}; see its console."
                )
            self._model = loaded
        return loaded

    def use_vae(self, vae: str) -> None:
        """Have the server use the VAE called ``vae`` from now on; empty keeps the one it uses.

        Through the options, and looked at again afterwards, as for :meth:`use_model`.
        """
        if not vae:
            return
        name = a1111_names.resolve_vae(vae, self.vaes() or [])
        if self.options().get("sd_vae") != name:
            self._post("/sdapi/v1/options", {"sd_vae": name})
            if self.options().get("sd_vae") != name:
                raise StageError(
                    f"The server at {self.address} does not use the VAE {name!r} after it was "
                    "told to; see its console."
                )

    # --- requests -------------------------------------------------------------------------------

    def _get(self, path: str, optional: bool = False) -> Any:
        return self._send("GET", path, None, min(LIST_SECONDS, self.timeout), optional)

    def _post(self, path: str, body: Any) -> Any:
        return self._send("POST", path, body, self.timeout, False)

    def _send(self, method: str, path: str, body: Any, timeout: float, optional: bool) -> Any:
        wait = (min(CONNECT_SECONDS, timeout), timeout)
        url = self.address + path
        try:
            # A redirected POST would become a GET, so redirects are named instead of followed.
            answer = self._session.request(
                method, url, json=body, timeout=wait, allow_redirects=False
            )
        except requests.RequestException as problem:
            raise diagnosis(problem, self.address, method, timeout) from None
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
            return json_text.loads(answer.content)
        except ValueError:
            raise MissingError(
                f"{self.address} answers with something else than JSON, so it is not an A1111 "
                "server; check the address and port of --server."
            ) from None


def _entries(data: Any) -> list[dict[str, Any]]:
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
