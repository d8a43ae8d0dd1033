"""Moto's DynamoDB as a program of its own: `python -m tests.support.dynamodb.serve PORT`."""

from __future__ import annotations

import copy
import io
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from moto.core.responses import ActionResult
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.dynamodb.responses import DynamoHandler
from moto.moto_server.werkzeug_app import create_backend_app

from tests.support.processes import LOOPBACK

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_transact = DynamoDBBackend.transact_write_items
_answer = DynamoHandler.transact_write_items
_changed = list[Any]()
_tokens: dict[Any, None] = {}
_MAX_TOKENS = 1000


def transact(self: Any, actions: list[dict[str, Any]]) -> None:
    """Run a transaction as moto does, which copies the whole table, but copy only the items that change in place."""
    _changed[:] = [action["Update"]["Key"] for action in actions if "Update" in action]
    _transact(self, actions)


def transact_once(self: Any) -> Any:
    """Answer a transaction that is sent again with its token as the first time, without running it again."""
    token = self.body.get("ClientRequestToken")
    if token is not None and token in _tokens:
        return ActionResult({})
    answer = _answer(self)
    _tokens[token] = None
    while len(_tokens) > _MAX_TOKENS:
        del _tokens[next(iter(_tokens))]
    return answer


def copy_table(table: Any, memo: dict[int, Any]) -> Any:
    """Return a copy of a table, which shares the items that no transaction changes in place."""
    copied = copy.copy(table)
    copied.items = defaultdict(dict, {key: dict(items) for key, items in table.items.items()})
    for key in _changed:
        items, range_key = copied.items.get(DynamoType(key["pk"]), {}), DynamoType(key["sk"])
        if range_key in items:
            items[range_key] = copy.deepcopy(items[range_key], memo)
    return copied


def one_at_a_time(application: Application) -> Application:
    """Run one request after the other.

    A failing transaction of moto puts back the whole table, and with it loses what other threads have written.
    """
    lock = threading.Lock()

    def locked(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with lock:
            return list(application(environ, start_response))

    return locked


class Handler(BaseHTTPRequestHandler):
    """Answers POST on connections that stay open, as DynamoDB's do; werkzeug closes each."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet for an answer
    application: Application

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in self.headers.items()}
        environ = {
            **headers,
            "REQUEST_METHOD": "POST",
            "PATH_INFO": self.path,
            "SERVER_NAME": LOOPBACK,
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
        }
        chunks = type(self).application(environ, self._start)
        answer = b"".join(chunks)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _start(self, status: str, headers: list[tuple[str, str]], error: Any = None) -> Callable[[bytes], object]:
        self.send_response(int(status.split(" ")[0]))  # with the time as Date
        for name, value in headers:
            if name.lower() not in ("content-length", "date", "server"):
                self.send_header(name, value)
        return self.wfile.write

    def log_message(self, format: str, *args: Any) -> None:
        """Log no line per request."""


class Server(ThreadingHTTPServer):
    """A thread per connection."""

    daemon_threads = True
    request_queue_size = 512


def main() -> None:
    """Serve until SIGTERM."""
    for patched, name, method in (
        (DynamoDBBackend, "transact_write_items", transact),
        (DynamoHandler, "transact_write_items", transact_once),
        (Table, "__deepcopy__", copy_table),
    ):
        setattr(patched, name, method)
    Handler.application = staticmethod(one_at_a_time(create_backend_app("dynamodb")))
    Server((LOOPBACK, int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()
