"""What an Automatic1111 server's error answers mean, each in a sentence with the next step.

The shapes are the real server's (v1.10.1), those of Forge (plain text), stable-diffusion.cpp and
KoboldCpp (other fields), and of proxies (a web page).
"""

from __future__ import annotations

import json
from typing import Any

from . import json_text
from .errors import GsdError, MissingError, StageError

GATEWAY = frozenset({502, 503, 504, 520, 521, 522, 523, 524})
BUSY = frozenset({429, 503})  # a full queue


class NanFault(StageError):
    """The network produced NaNs; another seed may do."""


class PassingFault(MissingError):
    """The server is there but could not do this one picture; it may well do the next."""


class LostAnswer(StageError):
    """The connection broke or a proxy gave up; the server may still be working."""


def fault(status: int, body: bytes, address: str, sent_auth: bool) -> GsdError:
    """The exception that says in a sentence what an answer other than 200 means and what to do."""
    data = _json_or_none(body)
    kind = str(data.get("error") or "") if isinstance(data, dict) else ""
    text = _message(data) if data is not None else ""
    if status == 401:
        how = (
            "did not accept the user and password in GSD_A1111_AUTH"
            if sent_auth
            else "wants a user and password: set the environment variable "
            "GSD_A1111_AUTH=user:password"
        )
        return MissingError(f"The server at {address} {how}.")
    if status == 404 and text == "Not Found":
        return MissingError(
            f"The server at {address} runs without its API: start A1111 with --api "
            "(in COMMANDLINE_ARGS)."
        )
    if status in GATEWAY and data is None:
        return LostAnswer(f"A proxy before {address} gave up waiting (status {status}).")
    if status in BUSY:
        said = text or "no reason given"
        return LostAnswer(f"The server at {address} takes no more work now ({said}).")
    if data is None and not body.startswith(b"Internal Server Error"):
        return MissingError(
            f"{address} answers with a web page (status {status}), not as an A1111 server does; "
            "check the address and port of --server."
        )
    return _server_fault(kind, text or body.decode("utf-8", "replace").strip(), status, address)


def _server_fault(kind: str, text: str, status: int, address: str) -> GsdError:
    said = f"{kind}: {text}" if kind not in ("", "HTTPException") and text else text or kind
    if kind == "NansException" or "tensor with NaNs" in text:
        return NanFault(f"The diffusion model at {address} produced NaNs instead of a picture.")
    if kind == "OutOfMemoryError" or "out of memory" in text.lower():
        return StageError(
            f"The server at {address} ran out of graphics memory: lower --page-size or --sides; "
            "if it happens again, restart the server, which may not have let go of the memory."
        )
    if kind == "FileNotFoundError" or "lowvram" in text:
        return MissingError(
            f"The server at {address} could not load a diffusion model ({said}): put one into its "
            "models/Stable-diffusion folder and see its console."
        )
    if status == 422:
        return StageError(f"The server at {address} does not accept the request: {said}.")
    said = said or "no reason given"
    return StageError(f"The server at {address} failed (status {status}): {said}.")


def _json_or_none(body: bytes) -> Any:
    try:
        return json_text.loads(body)
    except ValueError:
        return None


def _message(data: Any) -> str:
    """``errors`` or ``detail`` (text, list of loc + msg, or object) or ``message`` of an error."""
    if not isinstance(data, dict):
        return _short(str(data))
    detail = data.get("errors") or data.get("detail") or data.get("message") or ""
    if isinstance(detail, list):
        return _short("; ".join(_place(entry) for entry in detail))
    if isinstance(detail, dict):
        detail = detail.get("msg") or json.dumps(detail)
    return _short(str(detail))


def _place(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    loc = entry.get("loc")
    place = ".".join(str(part) for part in loc) if isinstance(loc, (list, tuple)) else ""
    return f"{place}: {entry.get('msg', '')}" if place else str(entry.get("msg", entry))


def _short(text: str, most: int = 300) -> str:
    flat = " ".join(text.split()).rstrip(".")
    return flat if len(flat) <= most else flat[: most - 1] + "…"
