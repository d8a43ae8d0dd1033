"""Opaque tokens (RFC 7662): what their server is asked, and what of its answers is believed."""

from __future__ import annotations

import base64
import logging
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured

from mcp_transport.auth import introspection
from mcp_transport.auth.http_client import MAX_BYTES
from mcp_transport.auth.introspection import IntrospectionAuthenticator
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials, ProtocolError
from tests.auth.issuer import ISSUER, RESOURCE, AuthServer, request, token
from tests.support.clock import FakeClock

TOKEN = "an-opaque-token"
CLIENT = {"client_id": "mcp", "client_secret": "s3cret"}

INACTIVE = "the authorization server says that the token is not active"
AUDIENCE = "the token is for another audience"
NO_AUDIENCE = "the token has no audience"
OTHER_ISSUER = "the token is from another issuer"
NO_SUBJECT = "the token has no subject"
MALFORMED = "the token is too long, or has invalid characters"
NO_USER = "no active user matches the token"


def basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


@pytest.fixture
def server(server: AuthServer) -> AuthServer:
    server.answers[TOKEN] = active()
    return server


@pytest.fixture
def authenticator(server: AuthServer, clock: FakeClock) -> IntrospectionAuthenticator:
    return build(server, now=clock.now)


def active(**changes: Any) -> dict[str, Any]:
    """Return the answer to a good token; a member that is None is left out."""
    good = {"active": True, "sub": "ann-1", "aud": RESOURCE, "scope": "read write"}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def build(server: AuthServer | None = None, **options: Any) -> IntrospectionAuthenticator:
    url = f"{server.url}/introspect" if server is not None else "https://auth.example/introspect"
    proof = {} if {"token", "client_id"} & set(options) else CLIENT
    return IntrospectionAuthenticator(**{"url": url, "issuer": ISSUER, "audience": RESOURCE, **proof, **options})


async def principal_of(authenticator: IntrospectionAuthenticator, credentials: str = TOKEN) -> Principal:
    found = await authenticator.authenticate(request(credentials))
    assert found is not None
    return found


async def reason(authenticator: IntrospectionAuthenticator, credentials: str = TOKEN) -> str:
    """Return why a token is refused; the reason does not tell it."""
    with pytest.raises(InvalidCredentials) as caught:
        await authenticator.authenticate(request(credentials))
    assert credentials not in str(caught.value)
    return str(caught.value)


async def refusal(authenticator: IntrospectionAuthenticator, credentials: str = TOKEN) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        await authenticator.authenticate(request(credentials))
    assert credentials not in caught.value.message
    return caught.value


# -- what is asked ---------------------------------------------------------------------------------------


async def test_active_token_makes_a_principal(authenticator: IntrospectionAuthenticator) -> None:
    assert await principal_of(authenticator) == Principal(
        issuer=ISSUER,
        subject="ann-1",
        user=AnonymousUser(),
        name="ann-1",
        scopes=frozenset({"read", "write"}),
    )
    assert (authenticator.authorization_servers, authenticator.scheme) == ((ISSUER,), "Bearer")


@pytest.mark.parametrize(
    ("options", "authorization"),
    [
        (CLIENT, basic("mcp:s3cret")),
        ({"token": "ours"}, "Bearer ours"),
        ({"client_id": "a:b", "client_secret": "p +/%ä"}, basic("a%3Ab:p+%2B%2F%25%C3%A4")),  # RFC 6749, 2.3.1
    ],
)
async def test_server_is_asked_as_the_rules_say(
    server: AuthServer, options: dict[str, str], authorization: str
) -> None:
    await principal_of(build(server, **options))
    [sent] = server.requests
    assert (sent["method"], sent["path"]) == ("POST", "/introspect")
    assert sent["form"] == {"token": [TOKEN], "token_type_hint": ["access_token"]}
    assert sent["headers"]["content-type"] == "application/x-www-form-urlencoded"
    assert (sent["headers"]["accept"], sent["headers"]["authorization"]) == ("application/json", authorization)


async def test_signed_token_is_asked_about_as_any(
    server: AuthServer, authenticator: IntrospectionAuthenticator
) -> None:
    signed = token(iss="https://other.example")
    server.answers[signed] = active(sub="bob-1")
    assert (await principal_of(authenticator, signed)).subject == "bob-1"


async def test_request_without_a_token_is_left_to_others(
    server: AuthServer, authenticator: IntrospectionAuthenticator
) -> None:
    assert await authenticator.authenticate(request(None)) is None
    for scheme, credentials in (("Basic", TOKEN), ("Token", TOKEN), ("Bearer", ""), ("Bearer", "a b")):
        assert await authenticator.authenticate(request(credentials, scheme=scheme)) is None
    assert server.requests == []


async def test_server_is_asked_about_tokens_alone(
    server: AuthServer, authenticator: IntrospectionAuthenticator
) -> None:
    for credentials in ("a,b", "=", "a=b", "töken", 'a"b', "a\x00b", "a" * 16_385):
        assert await reason(authenticator, credentials) == MALFORMED
    assert server.requests == []
    tokens = ["7", "a-._~+/1==", "a" * 16_384]
    for credentials in tokens:
        assert await reason(authenticator, credentials) == INACTIVE
    assert server.tokens == tokens


# -- what is believed ------------------------------------------------------------------------------------


OTHER = "https://other.example"
FOR_OTHERS: list[Any] = [OTHER, [], {"aud": RESOURCE}]
BOUND: dict[str, Any] = {}
UNBOUND = {"require_audience": False}
ANSWERS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    *((active(**changes), BOUND, "") for changes in ({}, {"aud": [RESOURCE, "x"]}, {"aud": f"{RESOURCE}/"})),
    *((active(**changes), BOUND, "") for changes in ({"iss": ISSUER}, {"exp": 9_999_999_999})),
    (active(aud="api"), {"audience": ["api"]}, ""),
    *((active(aud=audience), UNBOUND, "") for audience in (None, RESOURCE)),
    *((answer, BOUND, INACTIVE) for answer in ({"active": False}, active(active=False))),
    (active(aud=None), BOUND, NO_AUDIENCE),
    *((active(aud=audience), BOUND, AUDIENCE) for audience in FOR_OTHERS),
    *((active(aud=audience), UNBOUND, AUDIENCE) for audience in (*FOR_OTHERS[:2], "")),
    *((active(iss=issuer), BOUND, OTHER_ISSUER) for issuer in (OTHER, [ISSUER])),
    (active(sub=None), BOUND, NO_SUBJECT),
    *(
        (active(sub=subject, username="ann"), BOUND, "the token's sub is not a printable string")
        for subject in ("", 17, "a\nb")
    ),
    (active(sub=None, username=["ann"], client_id="editor"), BOUND, "the token's username is not a printable string"),
    (active(sub=None, client_id=17), BOUND, "the token's client_id is not a printable string"),
]
"""What the server says, the options, and why the token is refused, if it is."""


@pytest.mark.parametrize(("answer", "options", "why"), ANSWERS)
async def test_answer_is_believed_or_refused(
    server: AuthServer, answer: dict[str, Any], options: dict[str, Any], why: str
) -> None:
    server.answers[TOKEN] = answer
    authenticator = build(server, **options)
    if why:
        assert await reason(authenticator) == why
    else:
        assert (await principal_of(authenticator)).subject == "ann-1"


@pytest.mark.parametrize(
    ("answer", "subject", "name"),
    [
        (active(), "ann-1", "ann-1"),
        (active(username="ann", client_id="editor"), "ann-1", "ann"),
        (active(client_id="editor"), "ann-1", "editor"),
        (active(sub=None, username="ann", client_id="editor"), "username:ann", "ann"),
        (active(sub=None, client_id="editor"), "client:editor", "editor"),
        (active(sub="client:editor"), "sub:client:editor", "client:editor"),
        (active(sub="username:ann"), "sub:username:ann", "username:ann"),
        (active(sub="sub:client:editor"), "sub:sub:client:editor", "sub:client:editor"),
        (active(sub=None, username="client:editor"), "username:client:editor", "client:editor"),
    ],
)
async def test_subject_of_each_kind(server: AuthServer, answer: Any, subject: str, name: str) -> None:
    server.answers[TOKEN] = answer
    found = await principal_of(build(server))
    assert (found.subject, found.name) == (subject, name)


# -- servers that fail -----------------------------------------------------------------------------------

FAULTS: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "401": {"status": 401},
    "403": {"status": 403},
    "no word of it": {"body": b"{}"},
    "active as a text": {"body": b'{"active": "true", "sub": "ann-1"}'},
    "active as a number": {"body": b'{"active": 1, "sub": "ann-1"}'},
    "too long": {"body": b'{"active": true, "x": "' + b"x" * MAX_BYTES + b'"}'},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_callers_are_told_to_come_again(
    server: AuthServer,
    authenticator: IntrospectionAuthenticator,
    fault: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    vars(server).update(fault)
    error = await refusal(authenticator)
    assert (error.status, error.code, error.headers) == (503, -32603, (("Retry-After", "2"),))
    assert error.message == "the authorization server does not respond; try again"
    assert len(server.requests) == 1
    [record] = [record for record in caplog.records if record.name == introspection.__name__]
    assert record.levelname == ("ERROR" if fault.get("status") in (401, 403) else "WARNING")


async def test_nothing_secret_is_logged(
    server: AuthServer, authenticator: IntrospectionAuthenticator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.answers[TOKEN] = active(sub="mark-sub", aud="mark-aud")
    assert await reason(authenticator) == AUDIENCE
    for status in (401, 500):
        server.status = status
        await refusal(authenticator, f"{TOKEN}-2")
    for secret in (TOKEN, CLIENT["client_secret"], basic("mcp:s3cret").split()[1], "mark"):
        assert secret not in caplog.text


# -- users, and principals that come back ----------------------------------------------------------------


async def test_user_is_restored_by_the_claim_that_is_the_subject(transactional_db: None) -> None:
    restored = await build().principal_without_request(ISSUER, "client:editor")
    assert restored == Principal(ISSUER, "client:editor", AnonymousUser(), "client:editor", frozenset())
    ann = await User.objects.acreate_user("ann")
    client = await User.objects.acreate_user("client:ann")
    for claim, subject, user in (
        ("sub", "ann", ann),
        ("sub", "sub:client:ann", client),
        ("sub", "client:ann", None),
        ("sub", "eve", None),
        ("username", "username:ann", ann),
        ("username", "ann", None),
    ):
        restored = await build(user_claim=claim).principal_without_request(ISSUER, subject)
        assert (restored and restored.user) == user, (claim, subject)


# -- options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "http://auth.example/introspect"}, "URL must be an https URL"),
        ({"url": ""}, "URL must be an https URL"),
        ({"audience": None}, "RESOURCE_URL"),
        ({"audience": None, "require_audience": False}, "RESOURCE_URL"),
        ({"client_id": "", "client_secret": ""}, "set CLIENT_ID and CLIENT_SECRET, or TOKEN"),
        ({"client_id": "mcp"}, "set CLIENT_ID and CLIENT_SECRET, or TOKEN"),
        ({"client_id": "", "client_secret": "s3cret"}, "set CLIENT_ID and CLIENT_SECRET, or TOKEN"),
        ({**CLIENT, "token": "ours"}, "set CLIENT_ID and CLIENT_SECRET, or TOKEN"),
        ({"client_id": "mcp", "token": "ours"}, "set CLIENT_ID and CLIENT_SECRET, or TOKEN"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        build(**options)
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)
