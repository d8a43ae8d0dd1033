"""An authorization server that tests command: its keys, its tokens, and what it answers, does not answer, or when."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest
from tests.support.clock import settle

ISSUER = "https://auth.example"
RESOURCE = "https://mcp.example/mcp"
TIMEOUT_SECONDS = 60.0
"""How long a test waits for what must happen; none does when all is well."""


few_and_many = pytest.mark.parametrize("number", [10, pytest.param(100, marks=pytest.mark.slow)], ids=["few", "many"])


def hold(rule: Callable[..., None], number: int, *strategies: SearchStrategy[Any]) -> None:
    """Try a rule with so many examples, without deadlines: a slow machine is no fault of a rule."""
    health = [HealthCheck.too_slow]
    settings(max_examples=number, deadline=None, database=None, suppress_health_check=health)(
        given(*strategies)(rule)
    )()


@cache
def private_key(name: str) -> Any:
    """Return a key by its name: its type, and what tells it from others of that type."""
    kind = name.partition("-")[0]
    if kind == "rsa":
        return rsa.generate_private_key(65537, 1024 if name == "rsa-weak" else 2048)
    if kind == "ed":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"ec": ec.SECP256R1(), "ec384": ec.SECP384R1()}[kind])


def jwk(name: str, **members: Any) -> dict[str, Any]:
    """Return the public key of a name as a JSON Web Key; a member that is None is left out."""
    kinds: dict[str, Any] = {"rsa": RSAAlgorithm, "ed": OKPAlgorithm}
    made = kinds.get(name.partition("-")[0], ECAlgorithm).to_jwk(private_key(name).public_key(), as_dict=True)
    made.pop("key_ops", None)
    return {key: value for key, value in {"kid": name, **made, **members}.items() if value is not None}


def pem(name: str) -> str:
    """Return the public key of a name in PEM."""
    public: bytes = private_key(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return public.decode()


def claims(**changes: Any) -> dict[str, Any]:
    """Return what a good token claims; a claim that is None is left out."""
    now = int(time.time())
    good = {"iss": ISSUER, "sub": "ann-1", "aud": RESOURCE, "iat": now, "exp": now + 300, "scope": "read write"}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def token(
    *, key: str = "rsa-1", algorithm: str | None = None, headers: dict[str, Any] | None = None, **changes: Any
) -> str:
    """Sign a token with the key of a name; a header that is None is left out."""
    algorithms = {"rsa": "RS256", "ec": "ES256", "ec384": "ES384", "ed": "EdDSA"}
    merged = {"kid": key, "typ": "at+jwt", **(headers or {})}
    typ = merged.pop("typ")
    given = {name: value for name, value in merged.items() if value is not None}
    return jwt.PyJWS().encode(  # which looks at no claim
        json.dumps(claims(**changes)).encode(),
        private_key(key),
        algorithm or algorithms[key.partition("-")[0]],
        {"typ": typ or "", **given},
    )


def part(value: Any) -> str:
    """Encode JSON, or bytes as they are, as a part of a token."""
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def by_hand(header: Any, payload: Any, secret: bytes | None = None) -> str:
    """Build a token that no library makes, unsigned or with HMAC and any secret."""
    signed = f"{part(header)}.{part(payload)}"
    return f"{signed}.{part(hmac.new(secret, signed.encode(), hashlib.sha256).digest()) if secret else ''}"


def request(credentials: str | None, *, scheme: str = "Bearer") -> HTTPRequest:
    """Build a request with a token, or without."""
    lines = [] if credentials is None else [("authorization", f"{scheme} {credentials}")]
    return HTTPRequest(method="POST", headers=Headers(lines))


class AuthServer(ThreadingHTTPServer):
    """Serves a key set and introspection on connections that stay open, and remembers who asked."""

    daemon_threads = False
    request_queue_size = 100
    block_on_close = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.keys: list[Any] = [jwk("rsa-1"), jwk("ec-1")]
        self.answers: dict[str, Any] = {}
        """What introspection says of a token; of others, that they are not active."""
        self.status = 200
        self.body: bytes | None = None
        """Instead of what would be right."""
        self.headers: dict[str, str] = {}
        self.stalls_in_body = self.hangs_up = False
        """Shall a held answer have begun already, and is each connection closed behind its answer?"""
        self.requests: list[dict[str, Any]] = []
        self.connections = self.max_open = 0
        self.open: set[socket.socket] = set()
        self._changed = threading.Condition()
        self._free = threading.Event()
        self._free.set()
        self._never_held: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def jwks_url(self) -> str:
        return f"{self.url}/jwks"

    @property
    def tokens(self) -> list[str]:
        """The tokens that introspection was asked about."""
        return [sent["form"]["token"][0] for sent in self.requests]

    def hold(self, *but: str) -> None:
        """Answer nobody from now on, except about the tokens that are named."""
        self._never_held = but
        self._free.clear()

    def release(self) -> None:
        """Answer all who wait, and who come."""
        self._free.set()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait in a thread for what a request or a connection changes."""
        with self._changed:
            assert self._changed.wait_for(condition, TIMEOUT_SECONDS)

    def wait_until_requested(self, times: int = 1) -> None:
        """Wait, in a thread, until so many requests have come."""
        self.wait_until(lambda: len(self.requests) >= times)

    async def until_requested(self, times: int = 1) -> None:
        """Wait until so many requests have come, and everybody else who wants an answer waits for one."""
        await asyncio.to_thread(self.wait_until_requested, times)
        await settle()

    @contextmanager
    def change(self) -> Iterator[None]:
        """Change something that others wait for."""
        with self._changed:
            yield
            self._changed.notify_all()

    def wait_until_free(self, form: dict[str, list[str]]) -> None:
        if form.get("token", [""])[0] not in self._never_held:
            self._free.wait(TIMEOUT_SECONDS)

    def answer(self, path: str, form: dict[str, list[str]]) -> Any:
        if path == "/jwks":
            return {"keys": self.keys}
        return self.answers.get(form.get("token", [""])[0], {"active": False})

    def cut(self) -> None:
        """Cut every connection."""
        for connection in list(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: AuthServer

    def setup(self) -> None:
        super().setup()
        with self.server.change():
            self.server.open.add(self.connection)
            self.server.connections += 1
            self.server.max_open = max(self.server.max_open, len(self.server.open))

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()
        with self.server.change():
            self.server.open.discard(self.connection)

    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        text = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        form = parse_qs(text, strict_parsing=bool(text))
        server = self.server
        headers = {name.lower(): value for name, value in self.headers.items()}
        with server.change():
            server.requests.append({"path": self.path, "method": self.command, "headers": headers, "form": form})
        body = server.body if server.body is not None else json.dumps(server.answer(self.path, form)).encode()
        try:
            if server.stalls_in_body:
                self._begin(len(body) + 1)
                self.wfile.write(body[:1])
            server.wait_until_free(form)
            if not server.stalls_in_body:
                self._begin(len(body))
                self.wfile.write(body)
        except OSError:
            self.close_connection = True  # whoever asked has left
        self.close_connection |= server.hangs_up or server.stalls_in_body

    do_POST = do_GET

    def _begin(self, length: int) -> None:
        self.send_response(self.server.status)
        for name, value in {"Content-Type": "application/json", **self.server.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@contextmanager
def auth_server() -> Iterator[AuthServer]:
    """Run a server on a free port."""
    with AuthServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.release()
            server.shutdown()
            server.cut()
            thread.join()
