"""The gate: which authenticator decides, who is let in without credentials, and what the others are told."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import OperationalError

from mcp_transport.auth.authentication import Authentication
from mcp_transport.auth.authenticator import Authenticator, bearer_token
from mcp_transport.auth.resource import Resource
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials, ProtocolError
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest

RESOURCE = Resource(
    url="https://api.example.com/mcp", authorization_servers=("https://auth.example.com",), scopes=("base",)
)
PLAIN = Resource()
METADATA = 'resource_metadata="https://api.example.com/.well-known/oauth-protected-resource/mcp"'


class Knows(Authenticator):
    """Knows one token, and says of tokens with its prefix that they are wrong."""

    def __init__(self, name: str, *scopes: str) -> None:
        self.name, self.scopes, self.calls = name, frozenset(scopes), 0

    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        self.calls += 1
        token = bearer_token(request) or ""
        if token == self.name:
            return Principal("test", self.name, scopes=self.scopes)
        if token.startswith(self.name):
            raise InvalidCredentials(f"it is not quite {self.name}")
        return None

    async def principal_without_request(self, issuer: str, subject: str) -> Principal | None:
        return Principal(issuer, subject, name="recalled", scopes=self.scopes) if subject == self.name else None


def request_with(authorization: str | None) -> HTTPRequest:
    headers = [] if authorization is None else [("authorization", authorization)]
    return HTTPRequest(method="POST", headers=Headers(headers), peer="192.0.2.7")


def gate(
    *authenticators: Authenticator, is_open: bool = False, resource: Resource = PLAIN, **options: Any
) -> Authentication:
    return Authentication(authenticators, is_open=is_open, resource=resource, **options)


async def refused(gate: Authentication, authorization: str | None) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        await gate.authenticate(request_with(authorization))
    return caught.value


def challenge(error: ProtocolError) -> str:
    [(name, value)] = error.headers
    assert name == "WWW-Authenticate"
    return value


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER  abc", "abc"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer a b", None),
        ("Basic abc", None),
        ("abc", None),
        ("Bearerabc", None),
        (None, None),
    ],
)
def test_bearer_token_is_read_from_its_header_alone(authorization: str | None, token: str | None) -> None:
    assert bearer_token(request_with(authorization)) == token


async def test_the_first_one_that_knows_the_credentials_decides() -> None:
    first, second, third = Knows("one"), Knows("two"), Knows("two-and-more")
    assert (await gate(first, second, third).authenticate(request_with("Bearer two"))).subject == "two"
    assert (first.calls, second.calls, third.calls) == (1, 1, 0)
    assert (await refused(gate(first, second, third), "Bearer two-and-more")).status == 401
    assert third.calls == 0, "wrong for one that knows its kind is wrong for all"


async def test_a_database_that_does_not_answer_is_503_and_nobodys_fault() -> None:
    class Away(Authenticator):
        async def authenticate(self, request: HTTPRequest) -> Principal | None:
            raise OperationalError("the connection was refused")

    error = await refused(gate(Away(), is_open=True), "Bearer x")
    assert (error.status, error.headers, error.message) == (
        503,
        (("Retry-After", "2"),),
        "the database does not answer; try again",
    )


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("authorization", ["Bearer unknown", "Bearer one-wrong", "Basic abc", "Bearer", "x"])
async def test_wrong_credentials_never_make_an_anonymous_caller(
    authorization: str, is_open: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    error = await refused(gate(Knows("one"), is_open=is_open), authorization)
    assert (error.status, challenge(error)) == (401, 'Bearer error="invalid_token"')
    assert "192.0.2.7" in caplog.text
    assert "unknown" not in caplog.text.replace("no authenticator knows", "")


async def test_without_credentials_an_open_gate_lets_in_and_a_closed_one_says_what_it_wants() -> None:
    assert (await gate(Knows("one"), is_open=True).authenticate(request_with(None))).binding == ""
    assert challenge(await refused(gate(Knows("one")), None)) == "Bearer"
    assert (await refused(gate(is_open=True, resource=RESOURCE), None)).status == 401, "nobody has no scopes"
    assert (await refused(gate(), None)).status == 401, "without any authenticator nobody gets in"


async def test_challenges_lead_to_the_metadata_and_name_the_scopes() -> None:
    closed = gate(Knows("one"), resource=RESOURCE)
    assert challenge(await refused(closed, None)) == f'Bearer scope="base", {METADATA}'
    assert challenge(await refused(closed, "Bearer x")) == f'Bearer error="invalid_token", scope="base", {METADATA}'
    error = await refused(closed, "Bearer one")
    assert (error.status, challenge(error)) == (403, f'Bearer error="insufficient_scope", scope="base", {METADATA}')
    error = closed.resource.forbidden(frozenset({"orders:write", "orders:read"}))
    assert challenge(error) == f'Bearer error="insufficient_scope", scope="base orders:read orders:write", {METADATA}'


def test_each_scheme_is_challenged_in_one_line_bearer_first() -> None:
    resource = Resource(schemes=("Bearer", "Session", "Token"))
    assert challenge(resource.unauthorized(refused=False)) == "Bearer, Session, Token"


async def test_broader_scopes_cover_narrower_ones_at_any_depth() -> None:
    implied = {"all": ["orders"], "orders": ["orders:read", "base"], "round": ["about"], "about": ["round"]}
    admitted = await gate(Knows("one", "all", "round"), resource=RESOURCE, implied=implied).authenticate(
        request_with("Bearer one")
    )
    assert admitted.scopes == {"all", "orders", "orders:read", "base", "round", "about"}
    narrow = gate(Knows("one", "orders:read"), resource=RESOURCE, implied=implied)
    assert (await refused(narrow, "Bearer one")).status == 403, "a narrower one does not cover a broader one"


def test_a_principal_without_limits_has_every_scope_and_an_anonymous_one_has_none() -> None:
    assert Principal("django", "1", scopes=None).has_scopes({"anything"})
    assert not Principal().has_scopes({"anything"})
    assert Principal().has_scopes(frozenset())


async def test_each_authenticator_may_restore_a_principal_which_is_refused_if_none_does() -> None:
    closed = gate(Knows("one"), Knows("two", "all"), implied={"all": ["orders"]})
    restored = await closed.principal_without_request("test\ntwo", "name")
    assert (restored.name, restored.scopes, restored.binding) == ("recalled", frozenset(), "test\ntwo")
    with pytest.raises(InvalidCredentials):
        await closed.principal_without_request("test\nthree", "name")
    assert (await closed.principal_without_request("", "")).binding == ""


@pytest.mark.parametrize(
    ("url", "metadata"),
    [
        ("https://api.example.com/mcp", "https://api.example.com{}/mcp"),
        ("https://api.example.com/mcp/", "https://api.example.com{}/mcp"),
        ("https://api.example.com", "https://api.example.com{}"),
        ("https://api.example.com:8443/a/b", "https://api.example.com:8443{}/a/b"),
    ],
)
def test_the_well_known_path_stands_before_the_endpoints_own(url: str, metadata: str) -> None:
    well_known = "/.well-known/oauth-protected-resource"
    resource = Resource(url=url, authorization_servers=("https://auth.example.com",))
    assert resource.metadata_url == metadata.format(well_known)
    assert resource.metadata_paths == (urlsplit(resource.metadata_url).path, well_known)


def test_the_document_has_what_rfc_9728_asks_for() -> None:
    resource = Resource(
        url="https://api.example.com/mcp",
        name="Shop",
        documentation="https://example.com/docs",
        authorization_servers=("https://auth.example.com",),
        scopes=("orders:read",),
    )
    assert resource.metadata() == {
        "resource": "https://api.example.com/mcp",
        "authorization_servers": ["https://auth.example.com"],
        "scopes_supported": ["orders:read"],
        "bearer_methods_supported": ["header"],
        "resource_name": "Shop",
        "resource_documentation": "https://example.com/docs",
    }
