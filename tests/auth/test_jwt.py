"""Signed tokens: which are taken, for whom, and that nothing else is."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured
from hypothesis import example, given
from hypothesis import strategies as st

from mcp_transport.auth.jwt import JWTAuthenticator
from mcp_transport.exceptions import InvalidCredentials, ProtocolError
from mcp_transport.protocol.principal import Principal
from tests.auth.issuer import (
    ISSUER,
    RESOURCE,
    AuthServer,
    auth_server,
    by_hand,
    claims,
    jwk,
    part,
    pem,
    private_key,
    request,
    token,
    unhurried,
)
from tests.support.clock import FakeClock

KEYS = {"keys": [jwk("rsa-1"), jwk("ec-1"), jwk("rsa-2")]}
SECRET = "a secret of thirty-two bytes or more"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

ALGORITHM = "the token's algorithm is not allowed"
TYPE = "the token is no access token: its typ is another"
AUDIENCE = "the token is made out for another audience"
SIGNATURE = "the token's signature is wrong"
MALFORMED = "the token is malformed"
CRITICAL = "the token needs an extension that is not known"
SUBJECT = "the token's sub is no text"
KEY = "the token's key is not known"
KEY_NAME = "the token's kid is no text"
EXPIRED = "the token has expired"
EARLY = "the token is not valid yet"
LONG = "the token is too long"
DEEP = "the token is nested too deeply"
NO_USER = "no active user belongs to the token"
BOUND = "the token is bound to a key of its client, which is not looked for here"
UNVERIFIED = "the token's address is not verified"
NO_CLAIM = "the token does not say whose it is: USER_CLAIM is missing"
REASONS = {ALGORITHM, TYPE, AUDIENCE, SIGNATURE, MALFORMED, CRITICAL, SUBJECT, KEY, KEY_NAME, EXPIRED, EARLY}
REASONS |= {LONG, DEEP, NO_USER, UNVERIFIED, NO_CLAIM, BOUND}
REASONS |= {f"the token has no {claim}" for claim in ("iss", "sub", "aud", "exp")}
"""All that an operator may read; none of them tells anything of a token."""


def build(**options: Any) -> JWTAuthenticator:
    source = {} if {"jwks_url", "keys", "secret"} & set(options) else {"keys": KEYS}
    return JWTAuthenticator(**{"issuer": ISSUER, "audience": RESOURCE, **source, **options})


async def principal_of(credentials: str, **options: Any) -> Principal:
    found = await build(**options).authenticate(request(credentials))
    assert found is not None
    return found


async def reason(credentials: str, **options: Any) -> str:
    """Return why a token is refused; the reason tells neither the token nor what it claims."""
    with pytest.raises(InvalidCredentials) as caught:
        await build(**options).authenticate(request(credentials))
    assert str(caught.value) in REASONS
    assert caught.value.__cause__ is None
    return str(caught.value)


# -- tokens that are taken -------------------------------------------------------------------------------


async def test_token_makes_a_principal() -> None:
    assert await principal_of(token()) == Principal(
        issuer=ISSUER,
        subject="ann-1",
        user=AnonymousUser(),
        name="ann-1",
        scopes=frozenset({"read", "write"}),
    )


def soon(seconds: float) -> int:
    return int(time.time() + seconds)


GOOD: dict[str, tuple[Callable[[], str], dict[str, Any]]] = {
    "EC": (lambda: token(key="ec-1"), {}),
    "PSS": (lambda: token(algorithm="PS256"), {"algorithms": ["PS256"]}),
    "Edwards": (lambda: token(key="ed-1"), {"keys": pem("ed-1"), "algorithms": "EdDSA"}),
    "PEM": (lambda: token(), {"keys": pem("rsa-1")}),
    "PEM of another name": (lambda: token(key="rsa-2"), {"keys": [pem("rsa-1"), pem("rsa-2")]}),
    "no key's name": (lambda: token(headers={"kid": None}), {"keys": {"keys": [jwk("rsa-1")]}}),
    "secret": (lambda: by_hand({"alg": "HS256"}, claims(), SECRET.encode()), {"secret": SECRET}),
    "no typ": (lambda: token(headers={"typ": None}), {}),
    "typ JWT": (lambda: token(headers={"typ": "JWT"}), {}),
    "typ jwt": (lambda: token(headers={"typ": "jwt"}), {}),
    "typ AT+JWT": (lambda: token(headers={"typ": "AT+JWT"}), {}),
    "typ with a tree": (lambda: token(headers={"typ": "application/at+jwt"}), {}),
    "audience in a list": (lambda: token(aud=["https://other.example", RESOURCE]), {}),
    "audience with a slash": (lambda: token(aud=f"{RESOURCE}/"), {}),
    "audience without a slash": (lambda: token(), {"audience": f"{RESOURCE}/"}),
    "one of our audiences": (lambda: token(aud="api"), {"audience": [RESOURCE, "api"]}),
    "expired within the leeway": (lambda: token(exp=soon(-5)), {}),
    "expired within a longer leeway": (lambda: token(exp=soon(-50)), {"leeway": 60}),
    "from the near future": (lambda: token(nbf=soon(5), iat=soon(5)), {}),
    "fractions of seconds": (lambda: token(exp=soon(60) + 0.5), {}),
    "no time of issue": (lambda: token(iat=None), {}),
    "many claims": (lambda: token(more=["x"] * 1000), {}),
}


@pytest.mark.parametrize(("credentials", "options"), GOOD.values(), ids=GOOD.keys())
async def test_good_token_is_taken(credentials: Callable[[], str], options: dict[str, Any]) -> None:
    assert (await principal_of(credentials(), **options)).subject == "ann-1"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_scheme_has_no_case(scheme: str) -> None:
    assert await build().authenticate(request(token(), scheme=scheme)) is not None


# -- tokens that are not ours ----------------------------------------------------------------------------

FOREIGN = {
    "opaque": "0123456789abcdef",
    "two parts": "e30.e30",
    "four parts": "e30.e30.e30.e30",
    "five parts": "e30.e30.e30.e30.e30",
    "padded": f"{part({})}=.{part({})}.",
    "empty header": f".{part(claims())}.AA",
    "empty payload": f"{part({'alg': 'RS256'})}..AA",
    "header of an impossible length": f"abcde.{part(claims())}.AA",
    "no JSON header": f"{part(b'RS256')}.{part(claims())}.AA",
    "header that is a list": f"{part(['RS256'])}.{part(claims())}.AA",
    "header that is no text": f"{part(bytes([0xC3, 0x28]))}.{part(claims())}.AA",
    "no JSON claims": f"{part({'alg': 'RS256'})}.{part(b'ann')}.AA",
    "claims that are a list": f"{part({'alg': 'RS256'})}.{part([ISSUER])}.AA",
    "number without end": f"{part({'alg': 'RS256'})}.{part(b'9' * 5000)}.AA",
    "another issuer": token(iss="https://other.example"),
    "another issuer's slash": token(iss=f"{ISSUER}/"),
    "several issuers": token(iss=[ISSUER]),
    "no issuer": token(iss=None),
    "other alphabet": "ä.ö.ü",
    "blank": f"{token()} {token()}",
}


@pytest.mark.parametrize("credentials", [None, *FOREIGN.values()], ids=["none", *FOREIGN.keys()])
async def test_what_is_not_ours_is_left_to_others(credentials: str | None) -> None:
    assert await build().authenticate(request(credentials)) is None


@pytest.mark.parametrize("scheme", ["Basic", "DPoP", "Token", ""])
async def test_other_scheme_is_left_to_others(scheme: str) -> None:
    assert await build().authenticate(request(token(), scheme=scheme)) is None


# -- tokens that are refused -----------------------------------------------------------------------------


def forged_with_public_key() -> str:
    return by_hand({"alg": "HS256", "kid": "rsa-1"}, claims(), pem("rsa-1").encode())


def resigned(**changes: Any) -> str:
    """Put other claims under the signature of a good token."""
    header, _, signature = token().split(".")
    return f"{header}.{part(claims(**changes))}.{signature}"


BAD: dict[str, tuple[Callable[[], str], str]] = {
    "expired": (lambda: token(exp=soon(-11)), EXPIRED),
    "expired long ago": (lambda: token(exp=1), EXPIRED),
    "not yet valid": (lambda: token(nbf=soon(15)), EARLY),
    "issued in the future": (lambda: token(iat=soon(15)), EARLY),
    "odd end": (lambda: token(exp="tomorrow"), MALFORMED),
    "endless": (lambda: token(exp=float("inf")), MALFORMED),
    "end that is no number": (lambda: token(exp=float("nan")), MALFORMED),
    "end that is a list": (lambda: token(exp=[1]), MALFORMED),
    "odd start": (lambda: token(nbf={}), MALFORMED),
    "odd id": (lambda: token(jti=7), MALFORMED),
    "another audience": (lambda: token(aud="https://other.example"), AUDIENCE),
    "part of our audience": (lambda: token(aud="https://mcp.example"), AUDIENCE),
    "more than our audience": (lambda: token(aud=f"{RESOURCE}/x"), AUDIENCE),
    "audience of another case": (lambda: token(aud=RESOURCE.upper()), AUDIENCE),
    "no audiences": (lambda: token(aud=[]), AUDIENCE),
    "empty audience": (lambda: token(aud=""), AUDIENCE),
    "odd audience": (lambda: token(aud={RESOURCE: 1}), AUDIENCE),
    "audience in a list in a list": (lambda: token(aud=[[RESOURCE]]), AUDIENCE),
    "without audience": (lambda: token(aud=None), "the token has no aud"),
    "without end": (lambda: token(exp=None), "the token has no exp"),
    "without subject": (lambda: token(sub=None), "the token has no sub"),
    "empty subject": (lambda: token(sub=""), SUBJECT),
    "number as subject": (lambda: token(sub=17), SUBJECT),
    "lines as subject": (lambda: token(sub="ann\nbob"), SUBJECT),
    "half a character as subject": (lambda: token(sub="\ud800"), SUBJECT),
    "another key": (lambda: token(key="rsa-3", headers={"kid": "rsa-1"}), SIGNATURE),
    "our other key": (lambda: token(key="rsa-2", headers={"kid": "rsa-1"}), SIGNATURE),
    "other claims": (lambda: resigned(sub="bob"), SIGNATURE),
    "no signature": (lambda: token().rpartition(".")[0] + ".", SIGNATURE),
    "signature of an impossible length": (lambda: token() + "AAA", MALFORMED),
    "unknown key": (lambda: token(key="rsa-3"), KEY),
    "two keys, and no name": (lambda: token(headers={"kid": None}), KEY),
    "key of another type": (lambda: token(headers={"kid": "ec-1"}), KEY),
    "key's name is a number": (
        lambda: by_hand({"alg": "RS256", "kid": 17}, claims(), b"x"),
        KEY_NAME,
    ),
    "key's name is null": (
        lambda: by_hand({"alg": "RS256", "kid": None}, claims(), b"x"),
        KEY_NAME,
    ),
    "unsigned": (lambda: by_hand({"alg": "none"}, claims()), ALGORITHM),
    "unsigned, in capitals": (lambda: by_hand({"alg": "NONE"}, claims()), ALGORITHM),
    "unsigned, by a key": (
        lambda: by_hand({"alg": "none", "kid": "rsa-1"}, claims(), b"x"),
        ALGORITHM,
    ),
    "public key as a secret": (forged_with_public_key, ALGORITHM),
    "algorithm not allowed": (lambda: token(algorithm="RS512"), ALGORITHM),
    "no algorithm": (lambda: by_hand({}, claims()), ALGORITHM),
    "list of algorithms": (lambda: by_hand({"alg": ["RS256"]}, claims()), ALGORITHM),
    "another type": (
        lambda: token(headers={"typ": "logout+jwt"}),
        TYPE,
    ),
    "type of a proof": (
        lambda: token(headers={"typ": "dpop+jwt"}),
        TYPE,
    ),
    "type is null": (
        lambda: by_hand({"alg": "RS256", "typ": None}, claims(), b"x"),
        TYPE,
    ),
    "critical extension": (
        lambda: by_hand({"alg": "RS256", "crit": ["exp"], "exp": 1}, claims(), b"x"),
        CRITICAL,
    ),
    "critical extension that PyJWT knows": (
        lambda: by_hand({"alg": "RS256", "crit": ["b64"], "b64": True}, claims(), b"x"),
        CRITICAL,
    ),
    "nothing critical": (
        lambda: by_hand({"alg": "RS256", "crit": []}, claims(), b"x"),
        CRITICAL,
    ),
    "claims outside": (
        lambda: by_hand({"alg": "RS256", "kid": "rsa-1", "b64": False}, claims(), b"x"),
        MALFORMED,
    ),
    "too long": (lambda: token(more="x" * 16 * 1024), LONG),
    "too long, and of nobody": (lambda: f"e30.{'A' * 17_000}.AA", LONG),
}


@pytest.mark.parametrize(("credentials", "why"), BAD.values(), ids=BAD.keys())
async def test_bad_token_is_refused(credentials: Callable[[], str], why: str) -> None:
    assert await reason(credentials()) == why


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
async def test_token_does_not_bring_its_own_key(server: AuthServer, name: str) -> None:
    server.keys = [jwk("rsa-3", kid="rsa-1")]
    own = {"jwk": jwk("rsa-3"), "jku": server.jwks_url, "x5u": server.jwks_url, "x5c": [pem("rsa-3")]}[name]
    forged = token(key="rsa-3", headers={"kid": "rsa-1", name: own})
    assert await reason(forged) == SIGNATURE
    assert server.asked == []


@pytest.mark.parametrize("algorithm", ["HS256", "none"])
async def test_public_key_in_the_settings_is_no_secret(algorithm: str) -> None:
    forged = by_hand({"alg": algorithm}, claims(), pem("rsa-1").encode())
    assert await reason(forged, keys=pem("rsa-1")) == ALGORITHM


async def test_signature_of_a_public_key_is_nothing_where_a_secret_is() -> None:
    assert await reason(token(), secret=SECRET) == ALGORITHM
    assert await reason(by_hand({"alg": "HS256"}, claims(), b"guess"), secret=SECRET) == SIGNATURE


async def test_claim_that_stands_twice_is_read_as_it_was_judged() -> None:
    inner = json.dumps(claims())[1:]
    twice = part(f'{{"sub": "bob", "iss": "https://other.example", {inner}'.encode())
    header, _, signature = token().split(".")
    assert await reason(f"{header}.{twice}.{signature}") == SIGNATURE


async def test_refusal_says_nothing_of_what_the_token_claims(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    marks: dict[str, Any] = {name: f"mark-{name}" for name in ("sub", "aud", "jti", "scope", "email")}
    faults: list[dict[str, Any]] = [{}, {"exp": 1}, {"exp": "mark"}, {"aud": RESOURCE, "jti": 1}, {"aud": None}]
    for changes in faults:
        credentials = token(**{**marks, **changes})
        assert "mark" not in await reason(credentials)
        assert credentials not in caplog.text
        assert "mark" not in caplog.text


# -- anything at all -------------------------------------------------------------------------------------

AUTHENTICATOR = build()
GOOD_TOKENS = [token(key="rsa-1", exp=2**33), token(key="ec-1", exp=2**33)]


async def judged(credentials: str) -> Principal | None:
    """Return whom a token stands for, None for nobody; nothing is raised but refusals of few words."""
    try:
        return await AUTHENTICATOR.authenticate(request(credentials))
    except InvalidCredentials as error:
        assert str(error) in REASONS
        assert len(credentials) < 20 or credentials not in str(error)
        return None


PARTS = st.text(ALPHABET, max_size=40) | st.binary(max_size=40).map(part)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="ascii")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
NOTHING = dict.fromkeys(claims())
HEADER_VALUES = ANY_JSON | st.sampled_from(["RS256", "rsa-1", "JWT"])
HEADERS = st.fixed_dictionaries({}, optional=dict.fromkeys(("alg", "kid", "typ", "b64"), HEADER_VALUES))
CLAIMS = st.fixed_dictionaries(
    {"iss": st.just(ISSUER)},
    optional=dict.fromkeys(sorted({*NOTHING, "nbf", "jti"} - {"iss"}), ANY_JSON | st.just(RESOURCE)),
)
TOKENS = st.one_of(
    st.text(st.characters(codec="latin-1")),
    st.lists(PARTS, min_size=3, max_size=3).map(".".join),
    st.builds(lambda header, payload, end: f"{part(header)}.{part(payload)}.{end}", HEADERS, CLAIMS, PARTS),
)


@unhurried
@given(TOKENS)
@example("..")
@example("\x00.\x00.\x00")
@example(f"{part('{}'.encode('utf-16'))}.{part(claims())}.AA")
def test_arbitrary_token_is_nobody(credentials: str) -> None:
    assert asyncio.run(judged(credentials)) is None


@pytest.mark.parametrize(
    "credentials",
    [
        f"{part(b'[' * 12_000)}.{part(claims())}.AA",
        f"{part({'alg': 'RS256'})}.{part(b'[' * 12_000)}.AA",
        f"{part({'alg': 'RS256'})}.{part(b'[' * 5_000 + b']' * 5_000)}.AA",
    ],
    ids=["header", "claims", "whole claims"],
)
async def test_deep_token_is_nobody(credentials: str) -> None:
    # How deep is too deep is different in each Python.
    assert await judged(credentials) is None


@unhurried
@given(CLAIMS)
def test_arbitrary_claims_break_nothing_even_when_they_are_signed(payload: dict[str, Any]) -> None:
    found = asyncio.run(judged(token(**{**NOTHING, **payload})))
    assert found is None or found.subject == payload["sub"]


@pytest.mark.parametrize("good", GOOD_TOKENS, ids=["RSA", "EC"])
async def test_no_character_of_a_token_can_be_another(good: str) -> None:
    assert (await judged(good)) is not None
    for position, character in enumerate(good):
        for other in {*"A.=", ALPHABET[(ALPHABET.find(character) + 1) % 64]} - {character}:
            assert await judged(f"{good[:position]}{other}{good[position + 1 :]}") is None


@given(st.sampled_from(GOOD_TOKENS), st.data())
@unhurried
def test_token_that_was_tampered_with_is_nobody(good: str, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.sampled_from(ALPHABET + ".=~+/ "))
    changed = data.draw(st.sampled_from([other, other + good[position], "", good[position] * 2]))
    tampered = f"{good[:position]}{changed}{good[position + 1 :]}"
    found = asyncio.run(judged(tampered))
    assert found is None or tampered.strip() == good


# -- the principal ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_claims", "scope_claim", "scopes"),
    [
        ({"scope": "read  write\tread"}, "scope", {"read", "write"}),
        ({"scope": ""}, "scope", set()),
        ({"scope": ["read", "write"]}, "scope", {"read", "write"}),
        ({"scope": ["read", 17, ["write"]]}, "scope", {"read"}),
        ({"scope": {"read": True}}, "scope", set()),
        ({"scope": 17}, "scope", set()),
        ({"scope": None}, "scope", set()),
        ({"scope": None, "scp": ["read"]}, "scope", {"read"}),
        ({"scope": None, "scp": "read write"}, "scope", {"read", "write"}),
        ({"scope": "read", "scp": ["write"]}, "scope", {"read"}),
        ({"permissions": ["read"]}, "permissions", {"read"}),
        ({"scp": ["read"]}, "permissions", set()),
    ],
)
async def test_scopes(given_claims: dict[str, Any], scope_claim: str, scopes: set[str]) -> None:
    assert (await principal_of(token(**given_claims), scope_claim=scope_claim)).scopes == scopes


@pytest.mark.parametrize(
    ("given_claims", "name"),
    [
        ({}, "ann-1"),
        ({"preferred_username": "ann", "client_id": "editor"}, "ann"),
        ({"client_id": "editor", "azp": "other"}, "editor"),
        ({"azp": "editor"}, "editor"),
        ({"preferred_username": "", "client_id": ["x"], "azp": "a\nb"}, "ann-1"),
    ],
)
async def test_name_is_what_operators_know(given_claims: dict[str, Any], name: str) -> None:
    assert (await principal_of(token(**given_claims))).name == name


async def test_refreshed_token_has_the_same_binding() -> None:
    first, second = await principal_of(token(jti="1")), await principal_of(token(key="ec-1", jti="2"))
    assert first.binding == second.binding == f"{ISSUER}\nann-1"


async def test_users_of_the_project_are_found_by_a_claim(transactional_db: None) -> None:
    ann = await User.objects.acreate_user("ann", email="ann@x.example")
    await User.objects.acreate_user("bob", is_active=False)
    found = await principal_of(token(nick="ann", preferred_username="x"), user_claim="nick")
    assert (found.user, found.name, found.subject) == (ann, "ann", "ann-1")
    assert (await principal_of(token(uid=ann.pk), user_claim="uid", user_field="pk")).user == ann
    by_mail = {"user_claim": "email", "user_field": "email"}
    assert (await principal_of(token(email="ann@x.example", email_verified=True), **by_mail)).user == ann
    for verified in ({}, {"email_verified": False}, {"email_verified": None}, {"email_verified": "no"}):
        assert await reason(token(email="ann@x.example", **verified), **by_mail) == UNVERIFIED
    for name in ("bob", "eve", "ANN"):
        assert await reason(token(nick=name), user_claim="nick") == NO_USER
    for value in (None, "", ["ann"], True, "a\x00n"):
        assert await reason(token(nick=value), user_claim="nick") == NO_CLAIM


@pytest.mark.parametrize("field", ["nothing", "username__nothing", "pk__x"])
def test_a_field_that_users_do_not_have_is_refused_at_once(field: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="USER_FIELD"):
        build(user_claim="nick", user_field=field)


@pytest.mark.parametrize("field", ["pk", "username", "email__iexact", "date_joined"])
def test_a_field_that_users_have_is_taken(field: str) -> None:
    build(user_claim="nick", user_field=field)


@pytest.mark.parametrize("bound_to", [{"jkt": "x"}, {"x5t#S256": "x"}, {}, "x"])
async def test_a_token_that_is_bound_to_a_key_is_no_bearer_token(bound_to: Any) -> None:
    assert await reason(token(cnf=bound_to)) == BOUND


def find_ann(seen: dict[str, Any]) -> Any:
    return User.objects.filter(username=seen["sub"].partition("-")[0]).first()


async def find_ann_async(seen: dict[str, Any]) -> Any:
    return await User.objects.filter(username=seen["sub"].partition("-")[0]).afirst()


class Finder:
    async def __call__(self, seen: dict[str, Any]) -> Any:
        return await find_ann_async(seen)


@pytest.mark.parametrize("user", [find_ann, find_ann_async, Finder(), f"{__name__}.find_ann"])
async def test_users_are_found_in_the_projects_own_way(transactional_db: None, user: Any) -> None:
    ann = await User.objects.acreate_user("ann")
    await User.objects.acreate_user("bob", is_active=False)
    assert (await principal_of(token(), user=user)).user == ann
    for subject in ("bob-1", "eve-1"):
        assert await reason(token(sub=subject), user=user) == NO_USER


async def test_own_way_to_a_user_sees_claims_that_were_verified() -> None:
    seen = list[dict[str, Any]]()
    await reason(token(key="rsa-3", headers={"kid": "rsa-1"}), user=seen.append)
    assert seen == []
    await reason(token(dept="x"), user=seen.append)
    assert [(item["sub"], item["dept"]) for item in seen] == [("ann-1", "x")]


# -- principals that come back ---------------------------------------------------------------------------


async def test_subject_is_recalled_without_its_scopes() -> None:
    recalled = await build().recall(ISSUER, "ann-1")
    assert recalled == Principal(ISSUER, "ann-1", AnonymousUser(), "ann-1", frozenset())
    assert await build().recall("https://other.example", "ann-1") is None
    assert await build(user_claim="nick").recall(ISSUER, "ann-1") is None
    assert await build(user=find_ann).recall(ISSUER, "ann-1") is None


async def test_user_is_recalled_by_the_subject(transactional_db: None) -> None:
    ann = await User.objects.acreate_user("ann")
    authenticator = build(user_claim="sub")
    assert await authenticator.recall(ISSUER, "ann") == Principal(ISSUER, "ann", ann, "ann", frozenset())
    assert await authenticator.recall(ISSUER, "eve") is None
    await User.objects.filter(pk=ann.pk).aupdate(is_active=False)
    assert await authenticator.recall(ISSUER, "ann") is None


# -- the issuer's server ---------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[AuthServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with auth_server() as running:
        yield running


async def test_keys_come_from_the_issuer_and_change(server: AuthServer) -> None:
    clock = FakeClock()
    authenticator = build(jwks_url=server.jwks_url, jwks_cache_seconds=60, now=clock.now)
    for key, asked in [("rsa-1", 1), ("ec-1", 1), ("rsa-1", 1)]:
        assert await authenticator.authenticate(request(token(key=key))) is not None
        assert len(server.asked) == asked
    server.keys = [jwk("rsa-2")]
    assert await authenticator.authenticate(request(token(key="rsa-2"))) is not None
    with pytest.raises(InvalidCredentials):
        await authenticator.authenticate(request(token(key="rsa-1")))
    server.keys = [jwk("ec-1")]
    await clock.advance(60)
    with pytest.raises(InvalidCredentials):
        await authenticator.authenticate(request(token(key="rsa-2")))
    assert len(server.asked) == 3


async def test_issuer_that_is_away_is_not_the_callers_fault(server: AuthServer) -> None:
    server.status = 500
    authenticator = build(jwks_url=server.jwks_url)
    with pytest.raises(ProtocolError) as caught:
        await authenticator.authenticate(request(token()))
    assert caught.value.status == 503


@pytest.mark.parametrize(
    "credentials", [*FOREIGN.values(), by_hand({"alg": "none"}, claims()), forged_with_public_key()]
)
async def test_issuer_is_not_asked_for_what_is_refused_anyhow(server: AuthServer, credentials: str) -> None:
    authenticator = build(jwks_url=server.jwks_url)
    with suppress(InvalidCredentials):
        assert await authenticator.authenticate(request(credentials)) is None
    assert server.asked == []


# -- options ---------------------------------------------------------------------------------------------


def test_issuer_is_named_in_the_metadata() -> None:
    assert build().authorization_servers == (ISSUER,)
    assert build().scheme == "Bearer"


async def test_audience_is_the_resource_of_the_settings(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"RESOURCE_URL": "https://set.example/mcp"}
    assert (await principal_of(token(aud="https://set.example/mcp"), audience=None)).subject == "ann-1"
    assert await reason(token(), audience=None) == AUDIENCE


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"issuer": ""}, "ISSUER"),
        ({"issuer": "https://auth.example\n"}, "ISSUER"),
        ({"audience": None}, "RESOURCE_URL"),
        ({"audience": ""}, "RESOURCE_URL"),
        ({"audience": []}, "RESOURCE_URL"),
        ({"audience": [""]}, "RESOURCE_URL"),
        ({"keys": ()}, "one of JWKS_URL, KEYS and SECRET; set are none"),
        ({"jwks_url": "https://auth.example/jwks", "keys": KEYS}, "set are JWKS_URL and KEYS"),
        ({"keys": pem("rsa-1"), "secret": SECRET, "algorithms": ["HS256", "RS256"]}, "set are KEYS and SECRET"),
        ({"jwks_url": "https://auth.example/jwks", "secret": SECRET}, "set are JWKS_URL and SECRET"),
        ({"jwks_url": "http://auth.example/jwks"}, "JWKS_URL must be an https URL"),
        ({"algorithms": ["none"]}, "ALGORITHMS may be"),
        ({"algorithms": ["RS256", "none"]}, "ALGORITHMS may be"),
        ({"algorithms": ["RS256", "HS256"]}, "ALGORITHMS may be"),
        ({"algorithms": "HS256"}, "ALGORITHMS may be"),
        ({"algorithms": ["RS257"]}, "ALGORITHMS may be"),
        ({"secret": SECRET, "algorithms": ["RS256"]}, "ALGORITHMS may be"),
        ({"secret": SECRET, "algorithms": ["HS256", "none"]}, "ALGORITHMS may be"),
        ({"secret": "short"}, "SECRET must have 32 bytes"),
        ({"secret": pem("rsa-1")}, "SECRET is a public key"),
        ({"keys": "no key"}, "KEYS must be public keys"),
        ({"keys": pem("ec-1"), "algorithms": ["RS256"]}, "KEYS has no public key for any of ALGORITHMS"),
        ({"user_claim": "sub", "user": find_ann}, "USER_CLAIM and USER exclude each other"),
        ({"user": "tests.auth.nowhere.find"}, "USER names nothing"),
        ({"user": 17}, "USER must be callable"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        build(**options)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


def test_private_keys_of_tests_are_different() -> None:
    assert private_key("rsa-1") is private_key("rsa-1") is not private_key("rsa-2")
