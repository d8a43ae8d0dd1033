"""Tokens that the authorization server did issue, but not for this, and a client that no person is behind."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client

from tests.auth.oauth import web
from tests.auth.oauth.accounts import ROBOT
from tests.auth.oauth.browser import REDIRECT_URI
from tests.auth.oauth.servers import AuthorizationServer, ResourceServer
from tests.auth.oauth.visitor import Wallet

READ = "orders:read"

pytestmark = pytest.mark.servers


async def post(url: str, **options: Any) -> httpx2.Response:
    async with web.client() as http:
        return await http.post(url, **options)


async def issued(authorization: AuthorizationServer, scope: str, *resources: str) -> str:
    """Have a token issued to the robot, for these resources (RFC 8707)."""
    form = {"grant_type": "client_credentials", "scope": scope, "resource": list(resources)}
    answer = await post(f"{authorization.issuer}/token/", data=form, auth=(ROBOT.client_id, ROBOT.client_secret))
    return str(answer.json()["access_token"])


async def knock(resource: ResourceServer, token: str) -> tuple[int, str]:
    """Send a request with a token; return the status, and the challenge without what is the same in each."""
    answer = await post(resource.url, json={}, headers={"Authorization": f"Bearer {token}"})
    same = f', resource_metadata="{resource.metadata_url}"'
    return answer.status_code, answer.headers.get("www-authenticate", same).removesuffix(same)


INVALID = (401, 'Bearer error="invalid_token", scope="orders:read"')


SCOPE = (403, f'Bearer error="insufficient_scope", scope="{READ}"')
IN = (400, "")
"""What is refused is the request itself."""


@pytest.mark.parametrize(
    ("scope", "resources", "expected"),
    [
        (READ, ["https://elsewhere.example/mcp", "{origin}/mcp"], IN),
        (READ, ["https://elsewhere.example/mcp"], INVALID),
        (READ, ["{origin}"], INVALID),
        (READ, ["{origin}/mcp/more"], INVALID),
        (READ, [], INVALID),
        ("orders:write", ["{origin}/mcp"], SCOPE),
    ],
)
async def test_a_token_is_for_its_resources_and_scopes(
    authorization: AuthorizationServer,
    resource: ResourceServer,
    scope: str,
    resources: list[str],
    expected: tuple[int, str],
) -> None:
    origin = resource.url.removesuffix("/mcp")
    token = await issued(authorization, scope, *(url.format(origin=origin) for url in resources))
    assert await knock(resource, token) == expected


async def test_a_token_that_is_no_access_token_is_refused(
    authorization: AuthorizationServer, resource: ResourceServer
) -> None:
    """The introspection calls one that manages a registration active, too (RFC 7592)."""
    answer = await post(f"{authorization.issuer}/register/", json={"redirect_uris": [REDIRECT_URI]})
    for token in ("nobodys-token", answer.json()["registration_access_token"]):
        assert await knock(resource, token) == INVALID


async def test_a_robot_is_no_person(authorization: AuthorizationServer, resource: ResourceServer) -> None:
    """The SDK's client finds the authorization server in the same way, and needs nobody's consent."""
    provider = ClientCredentialsOAuthProvider(
        resource.url, Wallet(), ROBOT.client_id, ROBOT.client_secret, issuer=authorization.issuer
    )
    async with (
        web.client(auth=provider) as http,
        Client(streamable_http_client(resource.url, http_client=http)) as client,
    ):
        called = await client.call_tool("whoami", {})
    assert called.structured_content == {
        "issuer": authorization.issuer,
        "subject": "client:robot",
        "name": "robot",
        "scopes": [READ],
    }
