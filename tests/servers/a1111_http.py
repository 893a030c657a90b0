"""The test server's HTTP side: verbs, Basic auth, JSON or not, connections that break."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.servers.a1111_data import HTTPError, http_exception


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for the client's ACK
    server_owner: Any  # the A1111Server
    hang_up = ""  # close the connection after an answer ("refuse") or amid it ("torn", "rst")

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
            found = owner.answer(method, self.path, body)
            if self.path.endswith("img2img") and owner.hang_up:
                self.hang_up, owner.hang_up = owner.hang_up, ""
            empty = owner.flavour == "sdnext" and found is None
            self.send(204 if empty else 200, "" if empty else found)
        except HTTPError as error:
            self.send(error.status, error.body)
        except ConnectionAbortedError:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def check_auth(self, owner: Any) -> None:
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
            if self.hang_up:
                self.send_header("Connection", "close")
            self.end_headers()
            if self.hang_up == "torn":
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if self.hang_up == "rst":
                self.reset(data[: len(data) // 2])
                return
            self.wfile.write(data)
        except OSError:
            self.close_connection = True  # the client is gone; the job was done all the same

    def reset(self, data: bytes) -> None:
        """Send ``data``, and when it has arrived a TCP reset instead of an end."""
        self.wfile.write(data)
        time.sleep(0.1)
        at_once = struct.pack("HH" if os.name == "nt" else "ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self.close_connection = True
        socket.socket(fileno=self.connection.detach()).close()

    def log_message(self, *_: object) -> None:
        """Quiet; ``requests`` has everything."""
