"""Opaque tokens: what their server is asked, how often, and what of its answers is believed."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured
from hypothesis import example, given
from hypothesis import strategies as st

from mcp_transport.auth import fetching, introspection
from mcp_transport.auth.introspection import IntrospectionAuthenticator
from mcp_transport.exceptions import InvalidCredentials, ProtocolError
from mcp_transport.protocol.principal import Principal
from tests.auth.issuer import ISSUER, RESOURCE, AuthServer, auth_server, request, token, unhurried
from tests.support.clock import FakeClock, settle

TOKEN = "an-opaque-token"
CLIENT = {"client_id": "mcp", "client_secret": "s3cret"}

INACTIVE = "the authorization server says that the token is not active"
AUDIENCE = "the token is made out for another audience"
NO_AUDIENCE = "the token is made out for no audience"
OTHER_ISSUER = "the token comes from another issuer"
NO_SUBJECT = "the token has no subject"
MALFORMED = "the token is too long, or has characters that no token has"
NO_USER = "no active user belongs to the token"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[AuthServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with auth_server() as running:
        running.answers[TOKEN] = active()
        yield running


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time.time())


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


def basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


# -- what is asked ---------------------------------------------------------------------------------------


async def test_active_token_makes_a_principal(authenticator: IntrospectionAuthenticator) -> None:
    assert await principal_of(authenticator) == Principal(
        issuer=ISSUER,
        subject="ann-1",
        user=AnonymousUser(),
        name="ann-1",
        scopes=frozenset({"read", "write"}),
    )


async def test_server_is_asked_as_the_rules_say(
    server: AuthServer, authenticator: IntrospectionAuthenticator
) -> None:
    await principal_of(authenticator)
    [asked] = server.asked
    assert (asked["method"], asked["path"]) == ("POST", "/introspect")
    assert asked["form"] == {"token": [TOKEN], "token_type_hint": ["access_token"]}
    headers = asked["headers"]
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert headers["accept"] == "application/json"
    assert headers["authorization"] == basic("mcp:s3cret")


@pytest.mark.parametrize(
    ("options", "authorization"),
    [
        ({"token": "ours"}, "Bearer ours"),
        ({"client_id": "a:b", "client_secret": "p +/%ä"}, basic("a%3Ab:p+%2B%2F%25%C3%A4")),  # RFC 6749, 2.3.1
    ],
)
async def test_we_prove_who_we_are(server: AuthServer, options: dict[str, str], authorization: str) -> None:
    await principal_of(build(server, **options))
    assert server.asked[0]["headers"]["authorization"] == authorization


async def test_signed_token_is_asked_about_as_any(
    server: AuthServer, authenticator: IntrospectionAuthenticator
) -> None:
    signed = token(iss="https://other.example")
    server.answers[signed] = active(sub="bob-1")
    assert (await principal_of(authenticator, signed)).subject == "bob-1"


@pytest.mark.parametrize(
    ("credentials", "scheme"),
    [(None, "Bearer"), (TOKEN, "Basic"), (TOKEN, "Token"), ("", "Bearer"), ("a b", "Bearer")],
)
async def test_request_without_a_token_is_left_to_others(
    server: AuthServer, authenticator: IntrospectionAuthenticator, credentials: str | None, scheme: str
) -> None:
    assert await authenticator.authenticate(request(credentials, scheme=scheme)) is None
    assert server.asked == []


@pytest.mark.parametrize("credentials", ["a,b", "=", "a=b", "töken", 'a"b', "a\x00b", "a" * 16_385])
async def test_server_is_not_asked_about_what_is_no_token(
    server: AuthServer, authenticator: IntrospectionAuthenticator, credentials: str
) -> None:
    assert await reason(authenticator, credentials) == MALFORMED
    assert server.asked == []


@pytest.mark.parametrize("credentials", ["7", "a-._~+/1==", "a" * 16_384])
async def test_server_is_asked_about_every_token(
    server: AuthServer, authenticator: IntrospectionAuthenticator, credentials: str
) -> None:
    assert await reason(authenticator, credentials) == INACTIVE
    assert [asked["form"]["token"] for asked in server.asked] == [[credentials]]


# -- what is believed ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        (active(), {}),
        (active(aud=[RESOURCE, "x"]), {}),
        (active(aud=f"{RESOURCE}/"), {}),
        (active(aud="api"), {"audience": ["api"]}),
        (active(aud=None), {"require_audience": False}),
        (active(aud=RESOURCE), {"require_audience": False}),
        (active(iss=ISSUER), {}),
        (active(exp=time.time() + 60), {}),
    ],
)
async def test_good_answer_is_believed(server: AuthServer, answer: Any, options: dict[str, Any]) -> None:
    server.answers[TOKEN] = answer
    assert (await principal_of(build(server, **options))).subject == "ann-1"


@pytest.mark.parametrize(
    ("answer", "options", "why"),
    [
        ({"active": False}, {}, INACTIVE),
        (active(active=False), {}, INACTIVE),
        (active(aud=None), {}, NO_AUDIENCE),
        (active(aud="https://other.example"), {}, AUDIENCE),
        (active(aud="https://other.example"), {"require_audience": False}, AUDIENCE),
        (active(aud=[]), {}, AUDIENCE),
        (active(aud=[]), {"require_audience": False}, AUDIENCE),
        (active(aud=""), {"require_audience": False}, AUDIENCE),
        (active(aud={"aud": RESOURCE}), {}, AUDIENCE),
        (active(iss="https://other.example"), {}, OTHER_ISSUER),
        (active(iss=[ISSUER]), {}, OTHER_ISSUER),
        (active(sub=None), {}, NO_SUBJECT),
        (active(sub=""), {}, "the token's sub is no text"),
        (active(sub=17, username="ann"), {}, "the token's sub is no text"),
        (active(sub="a\nb"), {}, "the token's sub is no text"),
        (active(sub=None, username=["ann"], client_id="editor"), {}, "the token's username is no text"),
        (active(sub=None, client_id=17), {}, "the token's client_id is no text"),
    ],
)
async def test_bad_answer_is_refused(server: AuthServer, answer: Any, options: dict[str, Any], why: str) -> None:
    server.answers[TOKEN] = answer
    assert await reason(build(server, **options)) == why


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


WORDS = st.sampled_from(["", "sub", "client", "username", "ann", ":"])
IDS = st.lists(WORDS).map("".join).filter(bool)
ONE = st.tuples(st.sampled_from(["sub", "username", "client_id"]), IDS)


@unhurried
@given(ONE, ONE)
@example(("sub", "client:a"), ("client_id", "a"))
@example(("sub", "username:a"), ("username", "a"))
def test_no_two_callers_have_one_subject(one: tuple[str, str], other: tuple[str, str]) -> None:
    subjects = [introspection._subject(dict([item])) for item in (one, other)]
    assert (subjects[0] == subjects[1]) is (one == other)
    assert introspection._claims_of(subjects[0]) == dict([one])


# -- how often -------------------------------------------------------------------------------------------


async def test_answer_is_kept_for_a_while(
    server: AuthServer, authenticator: IntrospectionAuthenticator, clock: FakeClock
) -> None:
    for seconds, asked in [(0, 1), (0, 1), (29, 1), (2, 2), (29, 2)]:
        await clock.advance(seconds)
        await principal_of(authenticator)
        assert len(server.asked) == asked
    server.answers[TOKEN] = {"active": False}
    await clock.advance(2)
    assert await reason(authenticator) == INACTIVE


async def test_inactive_token_is_asked_about_again_soon(
    server: AuthServer, authenticator: IntrospectionAuthenticator, clock: FakeClock
) -> None:
    server.answers[TOKEN] = {"active": False}
    for seconds, asked in [(0, 1), (4, 1), (2, 2)]:
        await clock.advance(seconds)
        assert await reason(authenticator) == INACTIVE
        assert len(server.asked) == asked
    server.answers[TOKEN] = active()
    await clock.advance(6)
    await principal_of(authenticator)


@pytest.mark.parametrize(("cache_seconds", "pause", "asked"), [(0, 0, 2), (1, 0.5, 1), (1, 1.5, 2), (100, 99, 1)])
async def test_how_long_may_be_set(
    server: AuthServer, clock: FakeClock, cache_seconds: float, pause: float, asked: int
) -> None:
    authenticator = build(server, cache_seconds=cache_seconds, now=clock.now)
    await principal_of(authenticator)
    await clock.advance(pause)
    await principal_of(authenticator)
    assert len(server.asked) == asked


@pytest.mark.parametrize("cache_seconds", [0, 2])
async def test_inactive_token_is_kept_no_longer_than_others(
    server: AuthServer, clock: FakeClock, cache_seconds: float
) -> None:
    authenticator = build(server, cache_seconds=cache_seconds, now=clock.now)
    server.answers[TOKEN] = {"active": False}
    await reason(authenticator)
    await clock.advance(cache_seconds + 0.5)
    await reason(authenticator)
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("lives", "pause", "asked"), [(10, 9, 1), (10, 11, 2), (100, 29, 1), (100, 31, 2), (-5, 0, 2), (None, 29, 1)]
)
async def test_answer_is_not_kept_when_the_token_has_expired(
    server: AuthServer,
    authenticator: IntrospectionAuthenticator,
    clock: FakeClock,
    lives: float | None,
    pause: float,
    asked: int,
) -> None:
    server.answers[TOKEN] = active(exp=None if lives is None else clock.now() + lives)
    await principal_of(authenticator)
    await clock.advance(pause)
    await principal_of(authenticator)
    assert len(server.asked) == asked


@pytest.mark.parametrize("expires", ["soon", [9e9], {}])
async def test_answer_with_an_odd_end_is_not_kept(
    server: AuthServer, authenticator: IntrospectionAuthenticator, expires: Any
) -> None:
    server.answers[TOKEN] = active(exp=expires)
    await principal_of(authenticator)
    await principal_of(authenticator)
    assert len(server.asked) == 2


async def test_tokens_are_not_mistaken_for_each_other(
    server: AuthServer, authenticator: IntrospectionAuthenticator
) -> None:
    server.answers["other"] = active(sub="bob-1")
    for _ in range(2):
        assert (await principal_of(authenticator)).subject == "ann-1"
        assert (await principal_of(authenticator, "other")).subject == "bob-1"
    assert len(server.asked) == 2


async def test_tokens_themselves_are_not_kept(authenticator: IntrospectionAuthenticator) -> None:
    await principal_of(authenticator)
    assert list(authenticator._answers) == [hashlib.sha256(TOKEN.encode()).digest()]
    assert TOKEN not in repr(vars(authenticator)) + repr(list(authenticator._answers.items()))


async def test_no_more_than_so_many_answers_are_kept(
    server: AuthServer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert introspection._MAX_ANSWERS == 10_000
    monkeypatch.setattr(introspection, "_MAX_ANSWERS", 3)
    authenticator = build(server, now=clock.now)
    for number in range(5):
        assert await reason(authenticator, f"token-{number}") == INACTIVE
    assert len(authenticator._answers) == 3


async def test_users_own_claims_do_not_change_what_is_kept(server: AuthServer, clock: FakeClock) -> None:
    seen = list[str]()

    def spoil(claims: dict[str, Any]) -> None:
        seen.append(claims.pop("sub"))

    authenticator = build(server, user=spoil, now=clock.now)
    for _ in range(2):
        assert await reason(authenticator) == NO_USER
    assert seen == ["ann-1", "ann-1"]
    assert len(server.asked) == 1


async def wait_and_release(server: AuthServer, asked: int) -> None:
    """Let those who wait be answered when all of them wait."""
    await asyncio.to_thread(server.wait_until_asked, asked)
    await settle()
    server.release()


@pytest.mark.parametrize("cache_seconds", [30, 0])
async def test_requests_with_one_token_ask_together(server: AuthServer, cache_seconds: float) -> None:
    authenticator = build(server, cache_seconds=cache_seconds)
    server.hold()
    waiting = [asyncio.create_task(principal_of(authenticator)) for _ in range(50)]
    await wait_and_release(server, 1)
    assert {found.subject for found in await asyncio.gather(*waiting)} == {"ann-1"}
    assert len(server.asked) == 1


async def test_requests_with_two_tokens_do_not(server: AuthServer, authenticator: IntrospectionAuthenticator) -> None:
    server.answers["other"] = active(sub="bob-1")
    server.hold()
    waiting = [asyncio.create_task(principal_of(authenticator, name)) for name in (TOKEN, "other") * 5]
    await wait_and_release(server, 2)
    assert [found.subject for found in await asyncio.gather(*waiting)] == ["ann-1", "bob-1"] * 5
    assert len(server.asked) == 2


async def test_request_that_began_to_ask_may_leave_the_others(
    server: AuthServer, authenticator: IntrospectionAuthenticator
) -> None:
    server.hold()
    first, second = [asyncio.create_task(principal_of(authenticator)) for _ in range(2)]
    await asyncio.to_thread(server.wait_until_asked)
    await settle()
    first.cancel()
    await settle()
    assert first.cancelled()
    server.release()
    assert (await second).subject == "ann-1"
    assert len(server.asked) == 1


async def test_failure_is_everybodys_who_waits(server: AuthServer, authenticator: IntrospectionAuthenticator) -> None:
    server.status = 500
    server.hold()
    waiting = [asyncio.create_task(refusal(authenticator)) for _ in range(5)]
    await wait_and_release(server, 1)
    assert [error.status for error in await asyncio.gather(*waiting)] == [503] * 5
    assert len(server.asked) == 1


async def test_failure_that_nobody_waits_for_is_nobodys(
    server: AuthServer, authenticator: IntrospectionAuthenticator
) -> None:
    server.status = 500
    server.hold()
    waiting = asyncio.create_task(principal_of(authenticator))
    await asyncio.to_thread(server.wait_until_asked)
    waiting.cancel()
    await settle()
    [asking] = authenticator._asking._under_way[asyncio.get_running_loop()].values()
    server.release()
    await asyncio.wait([asking])
    del asking
    gc.collect()  # an exception that was never looked at would be reported now
    server.status = 200
    await principal_of(authenticator)


def test_event_loops_of_a_process_share_answers_but_no_waiting(server: AuthServer) -> None:
    authenticator, found = build(server), list[Principal]()
    server.hold()
    threads = [
        threading.Thread(target=lambda: found.append(asyncio.run(principal_of(authenticator)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    server.wait_until_asked(4)
    server.release()
    for thread in threads:
        thread.join()
    found.append(asyncio.run(principal_of(authenticator)))
    assert [item.subject for item in found] == ["ann-1"] * 5
    assert len(server.asked) == 4
    gc.collect()
    assert not authenticator._asking._under_way


# -- servers that fail -----------------------------------------------------------------------------------

FAULTS: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "502": {"status": 502, "body": b"<html>"},
    "429": {"status": 429},
    "400": {"status": 400},
    "401": {"status": 401},
    "403": {"status": 403},
    "redirect": {"status": 307, "headers": {"Location": "/introspect"}},
    "no JSON": {"body": b"active"},
    "nothing": {"body": b""},
    "no object": {"body": b"true"},
    "no word of it": {"body": b"{}"},
    "active as a text": {"body": b'{"active": "true", "sub": "ann-1"}'},
    "active as a number": {"body": b'{"active": 1, "sub": "ann-1"}'},
    "half a character": {"body": b'{"active": true, "sub": "\\ud800"}'},
    "too long": {"body": b'{"active": true, "x": "' + b"x" * fetching.MAX_BYTES + b'"}'},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_callers_are_told_to_come_again(
    server: AuthServer,
    authenticator: IntrospectionAuthenticator,
    fault: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in fault.items():
        setattr(server, name, value)
    error = await refusal(authenticator)
    assert (error.status, error.code, error.headers) == (503, -32603, (("Retry-After", "2"),))
    assert error.message == "the authorization server does not answer; try again"
    assert len(server.asked) == 1
    [record] = [record for record in caplog.records if record.name == introspection.__name__]
    assert record.levelname == ("ERROR" if fault.get("status") in (401, 403) else "WARNING")


async def test_failure_is_not_kept(server: AuthServer, authenticator: IntrospectionAuthenticator) -> None:
    server.status = 500
    await refusal(authenticator)
    server.status = 200
    assert (await principal_of(authenticator)).subject == "ann-1"


async def test_answer_that_is_kept_is_used_while_the_server_is_away(
    server: AuthServer, authenticator: IntrospectionAuthenticator, clock: FakeClock
) -> None:
    await principal_of(authenticator)
    server.status = 500
    await clock.advance(29)
    await principal_of(authenticator)
    await clock.advance(2)
    await refusal(authenticator)


@pytest.mark.parametrize("in_body", [False, True])
async def test_server_that_hangs_is_given_up(
    server: AuthServer, authenticator: IntrospectionAuthenticator, monkeypatch: pytest.MonkeyPatch, in_body: bool
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT_SECONDS", 0.05)
    server.stalls_in_body = in_body
    server.hold()
    assert (await refusal(authenticator)).status == 503


async def test_nobody_who_listens_is_no_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        authenticator = build(url=f"http://127.0.0.1:{unused.getsockname()[1]}/introspect")
        assert (await refusal(authenticator)).status == 503


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


# -- anything at all -------------------------------------------------------------------------------------


@unhurried
@given(st.text(st.characters(codec="latin-1")))
@example("==")
@example("\x00")
def test_arbitrary_token_is_nobody(credentials: str) -> None:
    async def judge() -> Principal | None:
        authenticator = build()
        authenticator._ask = nobody  # type: ignore[method-assign, assignment]
        try:
            return await authenticator.authenticate(request(credentials))
        except InvalidCredentials as error:
            assert str(error) in (INACTIVE, MALFORMED)
            return None

    async def nobody(_key: bytes, _token: str) -> dict[str, Any]:
        return {"active": False}

    assert asyncio.run(judge()) is None


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
MEMBERS = ("sub", "username", "client_id", "aud", "exp", "iss", "scope", "scp", "preferred_username")


@unhurried
@given(
    st.fixed_dictionaries({"active": st.just(True)}, optional=dict.fromkeys(MEMBERS, ANY_JSON | st.just(RESOURCE)))
)
def test_arbitrary_answer_breaks_nothing(answer: dict[str, Any]) -> None:
    async def judge() -> None:
        authenticator = build(require_audience=False)
        authenticator._asking.run = said  # type: ignore[method-assign, assignment]
        authenticator._ends(b"", answer, 0.0)
        try:
            found = await authenticator.authenticate(request(TOKEN))
        except InvalidCredentials:
            return
        assert found is not None and found.subject.isprintable() and found.name.isprintable()

    async def said(_key: Any, _work: Any) -> dict[str, Any]:
        return answer

    asyncio.run(judge())


# -- users, and principals that come back ----------------------------------------------------------------


async def test_users_of_the_project_are_found(server: AuthServer, transactional_db: None) -> None:
    ann = await User.objects.acreate_user("ann")
    server.answers[TOKEN] = active(username="ann")
    found = await principal_of(build(server, user_claim="username"))
    assert (found.user, found.name, found.subject) == (ann, "ann", "ann-1")
    server.answers[TOKEN] = active(username="eve")
    assert await reason(build(server, user_claim="username")) == NO_USER
    assert (await principal_of(build(server, user=lambda claims: ann))).user == ann


async def test_user_who_was_barred_is_refused_although_the_answer_is_kept(
    server: AuthServer, transactional_db: None
) -> None:
    ann = await User.objects.acreate_user("ann-1")
    authenticator = build(server, user_claim="sub")
    assert (await principal_of(authenticator)).user == ann
    await User.objects.filter(pk=ann.pk).aupdate(is_active=False)
    assert await reason(authenticator) == NO_USER
    assert len(server.asked) == 1


async def test_subject_is_recalled_without_its_scopes() -> None:
    recalled = await build().recall(ISSUER, "client:editor")
    assert recalled == Principal(ISSUER, "client:editor", AnonymousUser(), "client:editor", frozenset())
    assert await build().recall("https://other.example", "ann-1") is None
    assert await build(user_claim="nick").recall(ISSUER, "ann-1") is None


async def test_user_is_recalled_by_the_claim_that_is_the_subject(transactional_db: None) -> None:
    ann = await User.objects.acreate_user("ann")
    client = await User.objects.acreate_user("client:ann")
    by_sub, by_name = build(user_claim="sub"), build(user_claim="username")
    assert await by_sub.recall(ISSUER, "ann") == Principal(ISSUER, "ann", ann, "ann", frozenset())
    recalled = await by_sub.recall(ISSUER, "sub:client:ann")
    assert recalled is not None and recalled.user == client
    assert await by_sub.recall(ISSUER, "client:ann") is None
    assert await by_sub.recall(ISSUER, "eve") is None
    recalled = await by_name.recall(ISSUER, "username:ann")
    assert recalled is not None and recalled.user == ann
    assert await by_name.recall(ISSUER, "ann") is None


# -- options ---------------------------------------------------------------------------------------------


def test_issuer_is_named_in_the_metadata() -> None:
    assert build().authorization_servers == (ISSUER,)
    assert build().scheme == "Bearer"


async def test_audience_is_the_resource_of_the_settings(server: AuthServer, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"RESOURCE_URL": "https://set.example/mcp"}
    assert await reason(build(server, audience=None)) == AUDIENCE
    server.answers[TOKEN] = active(aud="https://set.example/mcp")
    assert (await principal_of(build(server, audience=None))).subject == "ann-1"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "http://auth.example/introspect"}, "URL must be an https URL"),
        ({"url": ""}, "URL must be an https URL"),
        ({"issuer": ""}, "ISSUER"),
        ({"audience": None}, "RESOURCE_URL"),
        ({"audience": None, "require_audience": False}, "RESOURCE_URL"),
        ({"client_id": "", "client_secret": ""}, "set CLIENT_ID and CLIENT_SECRET, or TOKEN"),
        ({"client_id": "mcp"}, "set CLIENT_ID and CLIENT_SECRET, or TOKEN"),
        ({"client_id": "", "client_secret": "s3cret"}, "set CLIENT_ID and CLIENT_SECRET, or TOKEN"),
        ({**CLIENT, "token": "ours"}, "set CLIENT_ID and CLIENT_SECRET, or TOKEN"),
        ({"client_id": "mcp", "token": "ours"}, "set CLIENT_ID and CLIENT_SECRET, or TOKEN"),
        ({"user_claim": "sub", "user": len}, "USER_CLAIM and USER exclude each other"),
        ({"user": "tests.auth.nowhere.find"}, "USER names nothing"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        build(**options)
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)
