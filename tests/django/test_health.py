"""Liveness and readiness, through the URLs and through the ASGI mount, which must not differ."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import AsyncClient
from django.urls import reverse

from mcp_transport import bootstrap
from mcp_transport.asgi import mount
from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.exceptions import BackendError
from tests.support.http.inprocess import Direct
from tests.support.http.request import HOST, Request
from tests.support.project import Serve

OK = (200, {"status": "ok"})
UNREACHABLE = (503, {"status": "unavailable", "reason": "the session store cannot be reached"})


class BrokenBackend(MemoryBackend):
    """A backend whose store is gone."""

    async def ping(self) -> None:
        raise BackendError("cache 'default' did not answer: ConnectionError")


async def nowhere(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("the mount has passed it on")


async def ask(path: str) -> tuple[int, dict[str, Any]]:
    """Return the answer to a path, the same through the URLs and through the mount."""
    response = await AsyncClient().get(path)
    carrier = Direct(mount(nowhere))
    mounted = await carrier.send(Request(method="GET", path=path, headers=(HOST,)))
    body = await mounted.read()
    await carrier.close()
    assert mounted.header("content-type") == "application/json"
    for caching in (response["Cache-Control"], mounted.header("cache-control") or ""):
        assert "no-store" in caching
    assert (response.status_code, json.loads(response.content)) == (mounted.status, json.loads(body))
    return mounted.status, json.loads(body)


async def test_healthy_process_is_ready() -> None:
    assert [reverse(f"mcp-{name}") for name in ("healthz", "readyz", "health")] == ["/healthz", "/readyz", "/health"]
    for path in ("/healthz", "/readyz", "/health"):
        assert await ask(path) == OK


async def test_broken_store_is_a_reason_not_to_send_traffic_here_and_none_to_restart(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": f"{__name__}.BrokenBackend"}
    assert [await ask(path) for path in ("/readyz", "/health", "/healthz")] == [UNREACHABLE, UNREACHABLE, OK]
    monkeypatch.setattr(BrokenBackend, "ping", MemoryBackend.ping)
    assert await ask("/readyz") == OK


async def test_what_is_wrong_with_the_store_is_for_the_log_alone(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CACHES = {"default": {"BACKEND": "tests.support.broken_cache.BrokenCache"}}
    assert await ask("/readyz") == UNREACHABLE
    assert "this process is not ready: cache 'default' did not answer: ConnectionError" in caplog.text


async def test_draining_node_is_not_ready(serve: Serve) -> None:
    (await serve().pool.node()).is_draining = True
    assert await ask("/readyz") == (503, {"status": "unavailable", "reason": "draining"})
    assert await ask("/healthz") == OK


async def test_mount_passes_other_paths_to_django() -> None:
    sent: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        sent.append(scope["path"])

    paths = ["/healthz/", "/readyz2", "/", "/mcp2"]
    for path in paths:
        await mount(inner)({"type": "http", "path": path}, None, None)
    assert sent == paths


async def test_liveness_builds_nothing() -> None:
    assert await ask("/healthz") == OK
    assert bootstrap._endpoint is None
