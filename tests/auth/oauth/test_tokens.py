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


async def test_a_token_for_this_resource_among_others_comes_in(
    authorization: AuthorizationServer, resource: ResourceServer
) -> None:
    token = await issued(authorization, READ, "https://elsewhere.example/mcp", resource.url)
    assert await knock(resource, token) == (400, "")  # what is refused now is the request itself


@pytest.mark.parametrize("elsewhere", ["https://elsewhere.example/mcp", "{origin}", "{origin}/mcp/more"])
async def test_a_token_for_another_resource_is_refused(
    authorization: AuthorizationServer, resource: ResourceServer, elsewhere: str
) -> None:
    token = await issued(authorization, READ, elsewhere.format(origin=resource.url.removesuffix("/mcp")))
    assert await knock(resource, token) == INVALID


async def test_a_token_for_no_resource_is_refused(
    authorization: AuthorizationServer, resource: ResourceServer
) -> None:
    assert await knock(resource, await issued(authorization, READ)) == INVALID


async def test_a_token_of_nobody_is_refused(resource: ResourceServer) -> None:
    assert await knock(resource, "nobodys-token") == INVALID


async def test_a_token_that_manages_a_registration_is_refused(
    authorization: AuthorizationServer, resource: ResourceServer
) -> None:
    """The introspection calls it active, too (RFC 7592)."""
    answer = await post(f"{authorization.issuer}/register/", json={"redirect_uris": [REDIRECT_URI]})
    assert await knock(resource, answer.json()["registration_access_token"]) == INVALID


async def test_a_token_without_the_scope_that_all_need_is_sent_for_it(
    authorization: AuthorizationServer, resource: ResourceServer
) -> None:
    token = await issued(authorization, "orders:write", resource.url)
    assert await knock(resource, token) == (403, f'Bearer error="insufficient_scope", scope="{READ}"')


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
