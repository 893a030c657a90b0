"""Why a server gives no answer: what the network's exceptions mean, each in a sentence."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests

from . import a1111_wire as wire
from .a1111_errors import LostAnswer
from .errors import GsdError, MissingError, StageError


def diagnosis(
    problem: requests.RequestException, address: str, method: str, timeout: float
) -> GsdError:
    """The exception that says in a sentence why no answer came."""
    causes = list(_causes(problem))
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if isinstance(problem, requests.exceptions.ProxyError):
        return MissingError(
            f"The proxy that {parts.scheme.upper()}_PROXY names does not let us through to "
            f"{address}; correct it, or add {host} to NO_PROXY."
        )
    if isinstance(problem, requests.exceptions.SSLError):
        if any("CERTIFICATE_VERIFY_FAILED" in str(c) for c in causes):
            return MissingError(
                f"The TLS certificate of {address} is not trusted; name its authority's "
                "file in the environment variable REQUESTS_CA_BUNDLE, or, if you trust the "
                "network, use --no-server-verify."
            )
        return MissingError(
            f"{address} does not speak TLS; write http:// instead of https:// in --server."
        )
    if isinstance(problem, requests.exceptions.ConnectTimeout):
        return MissingError(f"Nothing answers at {address}; check --server and firewalls.")
    if isinstance(problem, requests.exceptions.Timeout):
        return StageError(
            f"The server at {address} did not answer within {timeout:g} s; raise "
            "--server-timeout or see the server's console."
        )
    if any(isinstance(c, ConnectionRefusedError) for c in causes):
        return MissingError(_not_running(address, host, port))
    if any(isinstance(c, socket.gaierror) for c in causes):
        return MissingError(f"There is no computer called {host!r}; check --server.")
    if parts.scheme == "http" and _speaks_tls(host, port):
        return MissingError(
            f"The server at {address} wants TLS; write https:// instead of http:// in --server."
        )
    if any(words in str(c) for c in causes for words in ("IncompleteRead", "Connection broken")):
        return LostAnswer(f"The server at {address} broke off in the middle of its answer.")
    if method == "POST":
        return LostAnswer(f"The server at {address} closed the connection.")
    return MissingError(f"{address} closes the connection without an answer; check --server.")


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
    if other and listens(host, other):
        hint = f" Something listens on port {other}: try --server {host}:{other}."
    return (
        f"No server is running at {address}: start A1111 with --api and give its address to "
        f"--server (it uses port {wire.DEFAULT_PORT}, or {wire.NOWEBUI_PORT} with --nowebui).{hint}"
    )


def listens(host: str, port: int) -> bool:
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
