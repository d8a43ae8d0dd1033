"""The whole OAuth dance of the MCP specification (authorization), by the official SDK's client.

What this client (mcp 2.3.0) does not do: it refreshes by its own clock, and answers any 401 with a new authorization,
even while it holds a good refresh token. Client ID Metadata Documents need https, which nobody speaks here: it
registers itself (RFC 7591).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx2
import pytest

from tests.auth.oauth.servers import AuthorizationServer, ResourceServer
from tests.auth.oauth.visitor import Visitor, essence, visit

pytestmark = pytest.mark.servers

Enter = Callable[[str], AbstractAsyncContextManager[Visitor]]

PROTECTED_RESOURCE = ("GET", "/.well-known/oauth-protected-resource/mcp", 200)
AUTHORIZATION_SERVER = ("GET", "/.well-known/oauth-authorization-server", 200)
REGISTRATION = ("POST", "/register/", 201)
TOKEN = ("POST", "/token/", 200)
BOTH = "orders:read orders:write"


def mcp(status: int) -> tuple[str, str, int]:
    return ("POST", "MCP", status)


def challenge_of(answer: httpx2.Response) -> str:
    return answer.headers["www-authenticate"]


class Dance:
    """What is the same in both eras."""

    mode: str
    protocol: str

    @pytest.fixture
    def enter(self, authorization: AuthorizationServer, resource: ResourceServer) -> Enter:
        """Connect a user."""
        return lambda user: visit(user, self.mode, authorization, resource)

    async def test_discovers_registers_and_authorizes(
        self, enter: Enter, authorization: AuthorizationServer, resource: ResourceServer
    ) -> None:
        async with enter("ann") as ann:
            assert ann.client.protocol_version == self.protocol
            assert await ann.call("whoami") == {
                "issuer": authorization.issuer,
                "subject": "username:ann",
                "name": "ann",
                "scopes": ["orders:read"],
            }
        refused, described, issuer, _, _, admitted, *_ = ann.journal
        steps = [mcp(401), PROTECTED_RESOURCE, AUTHORIZATION_SERVER, REGISTRATION, TOKEN, mcp(200)]
        assert ann.steps()[:6] == steps
        assert refused.request.content == admitted.request.content
        assert challenge_of(refused) == f'Bearer scope="orders:read", resource_metadata="{resource.metadata_url}"'
        assert described.json() == {
            "resource": resource.url,
            "authorization_servers": [authorization.issuer],
            "scopes_supported": ["orders:read"],
            "bearer_methods_supported": ["header"],
            "resource_name": "Orders",
        }
        assert issuer.json()["issuer"] == authorization.issuer
        assert issuer.json()["code_challenge_methods_supported"] == ["S256"]
        assert issuer.json()["authorization_response_iss_parameter_supported"]

    async def test_asks_for_a_token_of_this_resource(self, enter: Enter, resource: ResourceServer) -> None:
        async with enter("ann") as ann:
            assert await ann.call("read_orders") == ["SO-1", "SO-2"]
        (asked,) = ann.browser.prompts
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert asked["resource"] == resource.url
        assert asked["scope"] == "orders:read"
        form = ann.form("/token/")
        assert form["grant_type"] == "authorization_code"
        assert form["resource"] == resource.url
        assert form["code_verifier"]
        assert "client_secret" not in form

    async def test_goes_on_when_its_tokens_end(self, enter: Enter, resource: ResourceServer) -> None:
        async with enter("ann") as ann:
            await self.begin(ann)
            await self.refreshes(ann, resource)
            await self.recollects(ann)
            await self.steps_up(ann, resource)
            await self.recollects(ann)
            await self.authorizes_again(ann, resource)
            await self.recollects(ann)
        assert len(ann.sessions()) == 1
        log = resource.log
        assert "credentials from 127.0.0.1 rejected" in log
        assert len(ann.wallet.secrets) == 8  # two for each of four times
        assert not [secret for secret in ann.wallet.secrets if secret in log]

    async def refreshes(self, ann: Visitor, resource: ResourceServer) -> None:
        """The access token expires; the refresh token, which is good for once, brings another one."""
        before = ann.wallet.tokens
        await ann.expire()
        await self.is_refused(ann, resource)
        ann.let_time_pass()
        mark = len(ann.journal)
        assert await ann.call("read_orders") == ["SO-1", "SO-2"]
        assert ann.steps(mark) == [TOKEN, mcp(200)]
        form = ann.form("/token/")
        assert form["grant_type"] == "refresh_token"
        assert form["resource"] == resource.url
        after = ann.wallet.tokens
        assert before and after
        assert (before.access_token, before.refresh_token) != (after.access_token, after.refresh_token)
        assert before.refresh_token != after.refresh_token

    async def steps_up(self, ann: Visitor, resource: ResourceServer) -> None:
        """A tool needs more than every request does; the challenge names both (2025-11-25, "Scope Challenge")."""
        mark = len(ann.journal)
        assert await ann.call("write_order", sku="mug-blue") == "ordered mug-blue"
        assert ann.steps(mark) == [mcp(403), TOKEN, mcp(200)]
        challenge = f'Bearer error="insufficient_scope", scope="{BOTH}", resource_metadata="{resource.metadata_url}"'
        assert challenge_of(ann.journal[mark]) == challenge
        assert ann.browser.prompts[-1]["scope"] == BOTH
        assert (await ann.call("whoami"))["scopes"] == BOTH.split()

    async def authorizes_again(self, ann: Visitor, resource: ResourceServer) -> None:
        """The token is revoked, which the client learns from 401."""
        await ann.revoke()
        await self.is_refused(ann, resource)
        mark = len(ann.journal)
        assert (await ann.call("whoami"))["scopes"] == ["orders:read"]
        assert ann.steps(mark) == [mcp(401), PROTECTED_RESOURCE, AUTHORIZATION_SERVER, TOKEN, mcp(200)]

    async def is_refused(self, ann: Visitor, resource: ResourceServer) -> None:
        """The token is not valid any more."""
        refused = await ann.repeat(ann.token)
        assert refused.status_code == 401
        assert challenge_of(refused) == (
            f'Bearer error="invalid_token", scope="orders:read", resource_metadata="{resource.metadata_url}"'
        )

    async def begin(self, ann: Visitor) -> None:
        """Leave something behind."""
        raise NotImplementedError

    async def recollects(self, ann: Visitor) -> None:
        """Find it, with another token."""
        raise NotImplementedError


class TestSessions(Dance):
    """2025-11-25: a session belongs to whom its tokens stand for, not to one of them."""

    mode, protocol = "legacy", "2025-11-25"

    async def begin(self, ann: Visitor) -> None:
        assert await ann.call("remember", value="a blue mug") == "kept"

    async def recollects(self, ann: Visitor) -> None:
        assert await ann.call("recall") == "a blue mug"
        assert ann.sessions() != {None}

    async def test_are_their_owners_alone(self, enter: Enter) -> None:
        async with enter("ann") as ann, enter("bob") as bob:
            await self.begin(ann)
            assert (await bob.call("whoami"))["name"] == "bob"  # there is nothing wrong with this token
            for method in "POST", "GET", "DELETE":
                foreign = await ann.repeat(bob.token, method=method)
                unknown = await ann.repeat(bob.token, "unknown", method)
                assert essence(foreign) == essence(unknown)
                assert essence(foreign) == essence(await ann.repeat(ann.token, "unknown", method))
                assert foreign.status_code == 404
            await self.recollects(ann)


class TestWithoutSessions(Dance):
    """2026-07-28: every request stands alone, and has to bring a token that is good enough for it."""

    mode, protocol = "auto", "2026-07-28"

    async def begin(self, ann: Visitor) -> None:
        await self.recollects(ann)

    async def recollects(self, ann: Visitor) -> None:
        assert (await ann.call("whoami"))["name"] == "ann"
        assert ann.sessions() == {None}

    async def test_takes_whom_each_token_stands_for(self, enter: Enter) -> None:
        async with enter("ann") as ann, enter("bob") as bob:
            await self.recollects(ann)
            answer = await ann.repeat(bob.token)
            assert answer.json()["result"]["structuredContent"]["name"] == "bob"
