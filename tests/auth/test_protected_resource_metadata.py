"""The metadata of RFC 9728 at the root of the site, by the view and by the mount."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import AsyncClient
from django.urls import include, path

from mcp_transport.asgi import mount

PATH = "/.well-known/oauth-protected-resource"
SETTINGS = {
    "TITLE": "Shop",
    "RESOURCE_URL": "https://api.example.com/mcp",
    "AUTHORIZATION_SERVERS": ["https://auth.example.com"],
    "REQUIRED_SCOPES": ["orders:read"],
    "AUTHENTICATORS": ["user"],
}

Get = Callable[..., Awaitable[tuple[int, dict[str, str], bytes]]]


async def by_view(path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    response: HttpResponse = await AsyncClient().generic(method, path)
    return response.status_code, {name.lower(): value for name, value in response.items()}, response.content


async def by_mount(path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    sent: list[dict[str, Any]] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [], "root_path": ""}
    await mount(inner)(scope, lambda: None, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, sent[1].get("body", b"")


@pytest.fixture(params=[by_view, by_mount])
def get(request: pytest.FixtureRequest, settings: Any) -> Get:
    settings.MCP_TRANSPORT = SETTINGS
    settings.ROOT_URLCONF = (
        path("mcp", include("mcp_transport.urls")),
        path("", include("mcp_transport.well_known")),
    )
    found: Get = request.param
    return found


@pytest.mark.parametrize("place", [f"{PATH}/mcp", PATH])
async def test_the_document_is_at_both_paths_for_pages_of_any_origin(get: Get, place: str) -> None:
    status, headers, body = await get(place)
    assert (status, headers["content-type"], headers["access-control-allow-origin"]) == (200, "application/json", "*")
    assert b'"resource": "https://api.example.com/mcp"' in body
    assert b'"scopes_supported": ["orders:read"]' in body


@pytest.mark.parametrize("place", [f"{PATH}/other", f"{PATH}/mcp/more", "/.well-known/oauth-authorization-server"])
async def test_other_paths_have_none(get: Get, place: str) -> None:
    assert (await get(place))[0] == 404


async def test_methods(get: Get) -> None:
    assert (await get(PATH, "HEAD"))[0] == 200
    status, headers, _ = await get(PATH, "OPTIONS")
    assert (status, headers["access-control-allow-headers"]) == (204, "*")
    status, headers, _ = await get(PATH, "POST")
    assert (status, headers["allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_without_an_authorization_server_there_is_nothing_to_find(get: Get, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"RESOURCE_URL": "https://api.example.com/mcp"}
    assert (await get(PATH))[0] == 404
