"""The metadata of RFC 9728 at the root of the site, by the view and by the mount."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from tests.support.http.answer import Answer
from tests.support.http.inprocess import Direct
from tests.support.http.request import HOST, Request
from tests.support.served import application

PATH = "/.well-known/oauth-protected-resource"
SETTINGS = {
    "TITLE": "Shop",
    "RESOURCE_URL": "https://api.example.com/mcp",
    "AUTHORIZATION_SERVERS": ["https://auth.example.com"],
    "REQUIRED_SCOPES": ["orders:read"],
    "AUTHENTICATORS": ["user"],
}

Get = Callable[..., Awaitable[Answer]]


@pytest.fixture(params=["view", "mounted"])
def get(request: pytest.FixtureRequest, settings: Any) -> Get:
    settings.MCP_TRANSPORT = SETTINGS
    settings.ROOT_URLCONF = (
        path("mcp", include("mcp_transport.urls")),
        path("", include("mcp_transport.well_known")) if request.param == "view" else path("other", no_page),
    )

    async def send(place: str, method: str = "GET") -> Answer:
        return await Direct(application(request.param)).send(Request(method=method, path=place, headers=(HOST,)))

    return send


def no_page(request: HttpRequest) -> HttpResponse:
    raise AssertionError("nobody asks for it")


@pytest.mark.parametrize("place", [f"{PATH}/mcp", PATH])
async def test_the_document_is_at_both_paths_for_pages_of_any_origin(get: Get, place: str) -> None:
    answer = await get(place)
    assert (answer.status, answer.header("content-type")) == (200, "application/json")
    assert answer.header("access-control-allow-origin") == "*"
    document = await answer.json()
    assert (document["resource"], document["scopes_supported"]) == ("https://api.example.com/mcp", ["orders:read"])


async def test_methods_and_other_paths(get: Get, settings: Any) -> None:
    for place in (f"{PATH}/other", f"{PATH}/mcp/more", "/.well-known/oauth-authorization-server"):
        assert (await get(place)).status == 404
    assert (await get(PATH, "HEAD")).status == 200
    answer = await get(PATH, "OPTIONS")
    assert (answer.status, answer.header("access-control-allow-headers")) == (204, "*")
    answer = await get(PATH, "POST")
    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD, OPTIONS")
    settings.MCP_TRANSPORT = {"RESOURCE_URL": "https://api.example.com/mcp"}
    assert (await get(PATH)).status == 404, "without an authorization server there is nothing to find"
