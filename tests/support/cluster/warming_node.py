"""A node that warms up as a test wants, and what the test asks of it."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support.http.answer import last_message
from tests.support.http.messages import META, SESSIONLESS
from tests.support.http.request import BOTH
from tests.support.node import Node
from tests.support.processes import LOOPBACK, START_SECONDS, TICK_SECONDS
from tests.support.redis.server import RedisServer

SITE = "tests.support.cluster.site"
MOUNTED, VIEW = f"{SITE}.asgi:application", f"{SITE}.asgi:django_application"
OK = (200, {"status": "ok"})

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


_worker: Any = import_module("uvicorn_worker").UvicornWorker  # which has no types
WorkerWithoutLifespan = type(
    "WorkerWithoutLifespan", (_worker,), {"CONFIG_KWARGS": {**_worker.CONFIG_KWARGS, "lifespan": "off"}}
)


class Warming(Node):
    """A node of daphne, uvicorn, or gunicorn with uvicorn's worker; with the site's PREWARM it waits for `open`."""

    def __init__(
        self,
        server: str,
        application: str,
        redis: RedisServer,
        folder: Path,
        *,
        functions: Sequence[str] = ("hold", "hold_async"),
        lifespan: bool = True,
    ) -> None:
        super().__init__("uvicorn" if server == "gunicorn" else server, name=server, folder=folder)
        self.kind, self.application, self.settings = server, application, f"{SITE}.settings"
        self.lifespan = lifespan
        functions = [f"{SITE}.warming.{name}" for name in functions]
        self.variables = {
            "REDIS_URL": redis.url,
            "SITE_FOLDER": str(folder),
            "SITE_MCP": json.dumps({"PREWARM": functions, "DRAIN_SECONDS": 1.0}),
        }

    def command(self) -> list[str]:
        if self.kind != "gunicorn":
            options = [] if self.lifespan or self.kind != "uvicorn" else ["--lifespan", "off"]
            return [*super().command(), *options]
        worker = "uvicorn_worker.UvicornWorker" if self.lifespan else f"{__name__}.WorkerWithoutLifespan"
        options = ["--bind", f"{LOOPBACK}:{self.port}", "--worker-class", worker]
        return [sys.executable, "-m", "gunicorn", *options, self.application]

    def is_ready(self) -> bool:
        if self.kind != "gunicorn":
            return super().is_ready()
        return "Listening at" in self.fresh_log and self.get("/healthz") == OK

    def open(self) -> None:
        (self.folder / "prewarm.open").touch()

    def get(self, path: str) -> tuple[int, Any]:
        try:
            with _opener.open(f"http://{LOOPBACK}:{self.port}{path}", timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def call(self, tool: str) -> Any:
        """Call a tool without a session; return its structured result."""
        meta = {f"{META}/protocolVersion": SESSIONLESS, f"{META}/clientCapabilities": {}}
        params = {"name": tool, "arguments": {}, "_meta": meta}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        headers = {
            "Content-Type": "application/json",
            "Accept": BOTH,
            "MCP-Protocol-Version": SESSIONLESS,
            "Mcp-Method": "tools/call",
            "Mcp-Name": tool,
        }
        request = urllib.request.Request(f"http://{LOOPBACK}:{self.port}/mcp", body, headers)
        with _opener.open(request, timeout=60) as answer:
            return last_message(answer.read().decode())["result"]["structuredContent"]["result"]

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(int(START_SECONDS / TICK_SECONDS)):
            if condition():
                return
            assert self.alive, self.fresh_log
            self.wait(TICK_SECONDS)
        raise AssertionError(self.fresh_log)
