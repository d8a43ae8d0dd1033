"""An MCP endpoint on loopback whose answers a test writes, byte for byte; a thread serves it."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

HANG: Final = None
"""No answer, as long as the test runs."""
_TOOLS: Final = {
    "look": {"readOnlyHint": True},
    "set": {"readOnlyHint": False, "idempotentHint": True},
    "sell": {},
}
"""The tools that it lists, with their annotations."""


def answer(status: str, *headers: str, body: str = "") -> bytes:
    """Write an answer of HTTP, whose body ends with the connection."""
    lines = [f"HTTP/1.1 {status}", *([] if body else ["content-length: 0"]), "connection: close", *headers]
    return ("\r\n".join(lines) + f"\r\n\r\n{body}").encode()


def stream(*events: Mapping[str, Any] | str) -> bytes:
    """Write an answer that is a stream, and is cut after the events."""
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    texts = [event if isinstance(event, str) else f"data: {json.dumps(event)}\n\n" for event in events]
    return (head + "".join(texts)).encode()


class ScriptedEndpoint(ThreadingHTTPServer):
    """Serves 2025-11-25 in JSON; `script` has other answers by method, `*` for all: the first, then the next ones.

    The last answer of a method is given again; an empty one closes the connection. `ID` in an answer stands for the
    id of its request. `GET` has the answer to one with Last-Event-ID.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, script: Mapping[str, Sequence[bytes | None]] | None = None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = {method: list(answers) for method, answers in (script or {}).items()}
        self.requests: list[str] = []
        """The methods of all requests."""
        self.headers: list[dict[str, str]] = []
        """The headers of all POSTs, by lower-case names."""
        self.call_id = b""
        """The id of the last call of a tool."""
        self.released = threading.Event()
        self._scheme = "https" if tls else "http"
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.server_port}/mcp"

    @property
    def calls(self) -> int:
        """How many calls of a tool have come."""
        return self.requests.count("tools/call")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that leave."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedEndpoint

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        method = message.get("method", "")
        self.server.requests.append(method)
        if method == "tools/call":
            self.server.call_id = json.dumps(message.get("id")).encode()
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        answers = self.server.script.get(method) or self.server.script.get("*")
        if answers is None:
            self.wfile.write(_usual(message))
        else:
            scripted = answers.pop(0) if len(answers) > 1 else answers[0]
            if scripted is HANG:
                self.server.released.wait()
            else:
                self.wfile.write(scripted.replace(b"ID", json.dumps(message.get("id")).encode()))
        self.close_connection = True

    def do_GET(self) -> None:
        self.server.requests.append("GET")
        resumed = self.server.script.get("GET", [None])[0] if "last-event-id" in self.headers else None
        self.wfile.write((resumed or answer("405 Method Not Allowed")).replace(b"ID", self.server.call_id))
        self.close_connection = True

    def do_DELETE(self) -> None:
        self.server.requests.append("DELETE")
        self.wfile.write(answer("204 No Content"))
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def _usual(message: dict[str, Any]) -> bytes:
    if "id" not in message or "method" not in message:
        return answer("202 Accepted")
    known: dict[str, Any] = {
        "initialize": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "scripted", "version": "1"},
        },
        "tools/list": {
            "tools": [
                {"name": name, "inputSchema": {"type": "object"}, "annotations": hints}
                for name, hints in _TOOLS.items()
            ]
        },
        "tools/call": {"content": [{"type": "text", "text": "done"}]},
    }
    error = {"code": -32601, "message": "Method not found"}
    outcome = {"result": known[message["method"]]} if message["method"] in known else {"error": error}
    body = json.dumps({"jsonrpc": "2.0", "id": message["id"], **outcome})
    return answer("200 OK", "content-type: application/json", "mcp-session-id: scripted", body=body)
