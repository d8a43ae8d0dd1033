"""Liveness and readiness, through the URLs and through the ASGI mount, which must not differ."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.test import AsyncClient

from mcp_transport import bootstrap
from mcp_transport.asgi import mount
from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.exceptions import BackendError

Ask = Callable[[str], Awaitable[tuple[int, dict[str, Any], str]]]


class BrokenBackend(MemoryBackend):
    """A backend whose store is gone."""

    async def ping(self) -> None:
        raise BackendError("cache 'default' did not answer: ConnectionError")


async def through_urls(path: str) -> tuple[int, dict[str, Any], str]:
    response = await AsyncClient().get(path)
    return response.status_code, json.loads(response.content), response["Cache-Control"]


async def through_mount(path: str) -> tuple[int, dict[str, Any], str]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"host", b"localhost")], "query_string": b""}
    await mount(ASGIHandler())(scope, receive, send)
    headers = dict(sent[0]["headers"])
    assert headers[b"content-type"] == b"application/json"
    return sent[0]["status"], json.loads(sent[1]["body"]), headers[b"cache-control"].decode()


both_ways = pytest.mark.parametrize("ask", [through_urls, through_mount])
every_path = pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health"])


@both_ways
@every_path
async def test_healthy_process_is_ready(ask: Ask, path: str) -> None:
    status, body, caching = await ask(path)
    assert (status, body) == (200, {"status": "ok"})
    assert "no-store" in caching


@both_ways
@pytest.mark.parametrize("path", ["/readyz", "/health"])
async def test_broken_store_is_a_reason_not_to_send_traffic_here(ask: Ask, path: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": f"{__name__}.BrokenBackend"}
    status, body, caching = await ask(path)
    assert status == 503
    assert body == {"status": "unavailable", "reason": "the session store cannot be reached"}
    assert "no-store" in caching


@both_ways
async def test_broken_store_is_no_reason_to_restart(ask: Ask, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": f"{__name__}.BrokenBackend"}
    assert (await ask("/healthz"))[0] == 200


@both_ways
async def test_what_is_wrong_with_the_store_is_for_the_log_alone(
    ask: Ask, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CACHES = {"default": {"BACKEND": "tests.support.broken_cache.BrokenCache"}}
    status, body, _ = await ask("/readyz")
    assert (status, body["reason"]) == (503, "the session store cannot be reached")
    assert "this process is not ready: cache 'default' did not answer: ConnectionError" in caplog.text


@both_ways
async def test_answer_follows_the_store(ask: Ask, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": f"{__name__}.BrokenBackend"}
    assert (await ask("/readyz"))[0] == 503
    monkeypatch.setattr(BrokenBackend, "ping", MemoryBackend.ping)
    assert (await ask("/readyz"))[0] == 200


@both_ways
async def test_draining_node_is_not_ready(ask: Ask, serve: Any) -> None:
    node = await serve().node()
    node.is_draining = True
    status, body, _ = await ask("/readyz")
    assert (status, body["reason"]) == (503, "draining")
    assert (await ask("/healthz"))[0] == 200


async def test_mount_passes_other_paths_to_django() -> None:
    sent: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        sent.append(scope["path"])

    for path in ("/healthz/", "/readyz2", "/", "/mcp2"):
        await mount(inner)({"type": "http", "path": path}, None, None)  # type: ignore[arg-type]
    assert sent == ["/healthz/", "/readyz2", "/", "/mcp2"]


def test_asking_for_health_names_the_urls() -> None:
    from django.urls import reverse

    assert [reverse(f"mcp-{name}") for name in ("healthz", "readyz", "health")] == ["/healthz", "/readyz", "/health"]


async def test_liveness_builds_nothing() -> None:
    await through_urls("/healthz")
    await through_mount("/healthz")
    assert bootstrap._endpoint is None
