"""The official SDK's client with its OAuth provider, as one person uses it."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from tests.auth.oauth import web
from tests.auth.oauth.browser import REDIRECT_URI, Browser
from tests.auth.oauth.servers import AuthorizationServer, ResourceServer


class Wallet:
    """What the client keeps of its registration and its tokens (`TokenStorage`)."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.secrets: list[str] = []
        """All tokens that ever were in here."""
        self.client_info: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens
        self.secrets += filter(None, (tokens.access_token, tokens.refresh_token))

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client_info

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client_info = client_info


class Visitor:
    """A person's connection to the resource server, and all that went over it."""

    def __init__(self, user: str, issuer: str, endpoint: str) -> None:
        self.issuer, self.endpoint = issuer, endpoint
        self.browser, self.wallet = Browser(user), Wallet()
        self.journal: list[httpx2.Response] = []
        """Every answer to the client, but not to the browser."""
        metadata = OAuthClientMetadata(
            redirect_uris=[AnyUrl(REDIRECT_URI)], client_name="the tests", token_endpoint_auth_method="none"
        )
        self.provider = OAuthClientProvider(
            endpoint,
            metadata,
            self.wallet,
            redirect_handler=self.browser.open,
            callback_handler=self.browser.come_back,
        )
        self.client: Client

    async def note(self, response: httpx2.Response) -> None:
        """Write an answer down; its body is read by the client."""
        self.journal.append(response)

    # -- what was said

    @property
    def token(self) -> str:
        """The access token."""
        assert self.wallet.tokens is not None
        return self.wallet.tokens.access_token

    def steps(self, since: int = 0) -> list[tuple[str, str, int]]:
        """Return method, address and status of each exchange; the addresses without the servers' own.

        Notifications and the session's own stream are left out: the client waits for neither.
        """
        names = {self.endpoint: "MCP", self.endpoint.removesuffix("/mcp"): "", self.issuer: ""}
        messages: list[tuple[str, str, int]] = []
        for answer in self.journal[since:]:
            address = str(answer.request.url)
            start = next(start for start in names if address.startswith(start))
            messages.append((answer.request.method, address.replace(start, names[start], 1), answer.status_code))
        return [step for step in messages if step[:2] != ("GET", "MCP") and step[2] != 202]

    def sessions(self) -> set[str | None]:
        """Return the sessions that calls of tools named."""
        return {call.headers.get("mcp-session-id") for call in self.calls()}

    def calls(self) -> list[httpx2.Request]:
        """Return the requests that called tools."""
        return [answer.request for answer in self.journal if b'"tools/call"' in answer.request.content]

    def form(self, path: str) -> dict[str, str]:
        """Return what was last posted to the authorization server."""
        sent = [answer.request for answer in self.journal if str(answer.request.url) == f"{self.issuer}{path}"]
        return dict(parse_qsl(sent[-1].content.decode()))

    # -- what to do

    async def call(self, tool: str, **arguments: Any) -> Any:
        """Call a tool; return its result, which must be none of an error."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result
        return (result.structured_content or {}).get("result", result.structured_content)

    def let_time_pass(self) -> None:
        """Let the client believe that its token has expired: it refreshes by its own clock alone (mcp 2.3.0)."""
        self.provider.context.token_expiry_time = time.time() - 1

    async def expire(self) -> None:
        """Let the access token expire at the authorization server."""
        await self._tell("/tests/expire", token=self.token)

    async def revoke(self) -> None:
        """Revoke the access token (RFC 7009)."""
        assert self.wallet.client_info is not None
        await self._tell("/revoke_token/", token=self.token, client_id=self.wallet.client_info.client_id)

    async def _tell(self, path: str, **form: str) -> None:
        async with web.client() as http:
            answer = await http.post(f"{self.issuer}{path}", data=form)
        assert answer.status_code in (200, 204), answer.text

    async def repeat(self, token: str, session: str | None = None, method: str = "POST") -> httpx2.Response:
        """Send the last call of a tool once more, but with another token, session or method, and nobody's help."""
        last = self.calls()[-1]
        headers = {**last.headers, "authorization": f"Bearer {token}"}
        if session is not None:
            headers["mcp-session-id"] = session
        if method != "POST":
            del headers["content-length"]
        async with web.client() as http:
            content = last.content if method == "POST" else None
            return await http.request(method, self.endpoint, headers=headers, content=content)


@asynccontextmanager
async def visit(
    user: str, mode: str, authorization: AuthorizationServer, resource: ResourceServer
) -> AsyncIterator[Visitor]:
    """Connect as a user, in the era of a mode."""
    visitor = Visitor(user, authorization.issuer, resource.url)
    async with (
        web.client(auth=visitor.provider, event_hooks={"response": [visitor.note]}) as http,
        Client(streamable_http_client(resource.url, http_client=http), mode=mode) as visitor.client,
    ):
        yield visitor


def essence(answer: httpx2.Response) -> tuple[int, Any, dict[str, str]]:
    """Return all of an answer that may tell its reader anything."""
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    return answer.status_code, json.loads(answer.content or b"null"), headers
