"""Signed tokens (RFC 7519, RFC 9068): which are taken, which are left to others, and which are refused why."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured

from mcp_transport.auth.jwt import JWTAuthenticator
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from tests.auth.issuer import ISSUER, RESOURCE, AuthServer, by_hand, claims, jwk, part, pem, request, token
from tests.support.clock import FakeClock

KEYS = {"keys": [jwk("rsa-1"), jwk("ec-1"), jwk("rsa-2")]}
SECRET = "a secret of thirty-two bytes or more"

ALGORITHM = "the token's algorithm is not allowed"
TYPE = "the token's typ is not that of an access token"
AUDIENCE = "the token is for another audience"
SIGNATURE = "the token's signature is invalid"
MALFORMED = "the token is malformed"
CRITICAL = "the token requires an unsupported extension"
SUBJECT = "the token's sub is not a printable string"
KEY = "the token's key is unknown"
KEY_NAME = "the token's kid is not a string"
EXPIRED = "the token has expired"
EARLY = "the token is not valid yet"
LONG = "the token is too long"
DEEP = "the token is nested too deeply"
NO_USER = "no active user matches the token"
BOUND = "the token is bound to a key of its client, which is not supported"
REASONS = {ALGORITHM, TYPE, AUDIENCE, SIGNATURE, MALFORMED, CRITICAL, SUBJECT, KEY, KEY_NAME, EXPIRED, EARLY}
REASONS |= {LONG, DEEP, NO_USER, BOUND}
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
        issuer=ISSUER, subject="ann-1", user=AnonymousUser(), name="ann-1", scopes=frozenset({"read", "write"})
    )
    assert (build().authorization_servers, build().scheme) == ((ISSUER,), "Bearer")


async def test_refreshed_token_has_the_same_binding() -> None:
    first, second = await principal_of(token(jti="1")), await principal_of(token(key="ec-1", jti="2"))
    assert first.binding == second.binding == f"{ISSUER}\nann-1"


async def test_claims_are_read_as_the_options_say(transactional_db: None) -> None:
    ann = await User.objects.acreate_user("ann", email="ann@x.example")
    found = await principal_of(
        token(nick="ann@x.example", may=["read"]), scope_claim="may", user_claim="nick", user_field="email"
    )
    assert (found.user, found.scopes, found.subject) == (ann, {"read"}, "ann-1")
    assert await reason(token(nick="eve"), user_claim="nick") == NO_USER
    restored = await build(user_claim="sub").principal_without_request(ISSUER, "ann")
    assert restored == Principal(ISSUER, "ann", ann, "ann", frozenset())


async def test_own_way_to_a_user_sees_claims_that_were_verified() -> None:
    verified = list[dict[str, Any]]()
    await reason(token(key="rsa-3", headers={"kid": "rsa-1"}), user=verified.append)
    assert verified == []
    await reason(token(dept="x"), user=verified.append)
    assert [(item["sub"], item["dept"]) for item in verified] == [("ann-1", "x")]


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


@pytest.mark.parametrize(
    ("scheme", "is_taken"),
    [
        ("Bearer", True),
        ("bearer", True),
        ("BEARER", True),
        ("Basic", False),
        ("DPoP", False),
        ("Token", False),
        ("", False),
    ],
)
async def test_scheme_is_bearer_in_any_case(scheme: str, is_taken: bool) -> None:
    assert (await build().authenticate(request(token(), scheme=scheme)) is not None) is is_taken


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


# -- tokens that are refused -----------------------------------------------------------------------------


def forged_with_public_key() -> str:
    return by_hand({"alg": "HS256", "kid": "rsa-1"}, claims(), pem("rsa-1").encode())


def resigned(**changes: Any) -> str:
    """Put other claims under the signature of a good token."""
    header, _, signature = token().split(".")
    return f"{header}.{part(claims(**changes))}.{signature}"


RS256 = {"alg": "RS256"}
BAD_HEADERS: dict[str, list[dict[str, Any]]] = {
    ALGORITHM: [{}, {"alg": "none"}, {"alg": "NONE"}, {"alg": "none", "kid": "rsa-1"}, {"alg": ["RS256"]}],
    KEY_NAME: [{**RS256, "kid": 17}, {**RS256, "kid": None}],
    TYPE: [{**RS256, "typ": "logout+jwt"}, {**RS256, "typ": "dpop+jwt"}, {**RS256, "typ": None}],
    # Nothing critical is known, not even what PyJWT knows (RFC 7515, 4.1.11).
    CRITICAL: [{**RS256, "crit": ["exp"], "exp": 1}, {**RS256, "crit": ["b64"], "b64": True}, {**RS256, "crit": []}],
    MALFORMED: [{**RS256, "kid": "rsa-1", "b64": False}],
}
BAD_CLAIMS: dict[str, list[dict[str, Any]]] = {
    EXPIRED: [{"exp": 1}],
    MALFORMED: [{"exp": value} for value in ("tomorrow", float("inf"), float("nan"), [1])]
    + [{"nbf": {}}, {"jti": 7}],
    AUDIENCE: [
        *({"aud": f"https://{name}.example"} for name in ("other", "mcp")),
        *({"aud": value} for value in (f"{RESOURCE}/x", RESOURCE.upper(), [], "", {RESOURCE: 1}, [[RESOURCE]])),
    ],
    **{f"the token has no {claim}": [{claim: None}] for claim in ("aud", "exp", "sub")},
    SUBJECT: [{"sub": value} for value in ("", 17, "ann\nbob", "\ud800")],
    BOUND: [{"cnf": value} for value in ({"jkt": "x"}, {"x5t#S256": "x"}, {}, "x")],
}
BAD_TOKENS: dict[str, tuple[Callable[[], str], str]] = {
    "expired": (lambda: token(exp=soon(-11)), EXPIRED),
    "not yet valid": (lambda: token(nbf=soon(15)), EARLY),
    "issued in the future": (lambda: token(iat=soon(15)), EARLY),
    "another key": (lambda: token(key="rsa-3", headers={"kid": "rsa-1"}), SIGNATURE),
    "our other key": (lambda: token(key="rsa-2", headers={"kid": "rsa-1"}), SIGNATURE),
    "other claims": (lambda: resigned(sub="bob"), SIGNATURE),
    "no signature": (lambda: token().rpartition(".")[0] + ".", SIGNATURE),
    "signature of an impossible length": (lambda: token() + "AAA", MALFORMED),
    "unknown key": (lambda: token(key="rsa-3"), KEY),
    "two keys, and no name": (lambda: token(headers={"kid": None}), KEY),
    "key of another type": (lambda: token(headers={"kid": "ec-1"}), KEY),
    "unsigned": (lambda: by_hand({"alg": "none"}, claims()), ALGORITHM),
    "public key as a secret": (forged_with_public_key, ALGORITHM),
    "algorithm not allowed": (lambda: token(algorithm="RS512"), ALGORITHM),
    "too long": (lambda: token(more="x" * 16 * 1024), LONG),
    "too long, and of nobody": (lambda: f"e30.{'A' * 17_000}.AA", LONG),
}
BAD: dict[str, tuple[Callable[[], str], str]] = {
    **{
        f"{header}": (partial(by_hand, header, claims(), b"x"), why)
        for why in BAD_HEADERS
        for header in BAD_HEADERS[why]
    },
    **{f"{changes!a}": (partial(token, **changes), why) for why in BAD_CLAIMS for changes in BAD_CLAIMS[why]},
    **BAD_TOKENS,
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
    assert server.requests == []


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


# -- the issuer's server ---------------------------------------------------------------------------------


async def test_keys_come_from_the_issuer_and_change(server: AuthServer) -> None:
    clock = FakeClock()
    authenticator = build(jwks_url=server.jwks_url, jwks_cache_seconds=60, now=clock.now)
    for key, count in [("rsa-1", 1), ("ec-1", 1), ("rsa-1", 1)]:
        assert await authenticator.authenticate(request(token(key=key))) is not None
        assert len(server.requests) == count
    server.keys = [jwk("rsa-2")]
    assert await authenticator.authenticate(request(token(key="rsa-2"))) is not None
    with pytest.raises(InvalidCredentials):
        await authenticator.authenticate(request(token(key="rsa-1")))
    server.keys = [jwk("ec-1")]
    await clock.advance(60)
    with pytest.raises(InvalidCredentials):
        await authenticator.authenticate(request(token(key="rsa-2")))
    assert len(server.requests) == 3


async def test_issuer_is_not_asked_for_what_is_refused_anyhow(server: AuthServer) -> None:
    authenticator = build(jwks_url=server.jwks_url)
    for credentials in (*FOREIGN.values(), by_hand({"alg": "none"}, claims()), forged_with_public_key()):
        with suppress(InvalidCredentials):
            assert await authenticator.authenticate(request(credentials)) is None
    assert server.requests == []


# -- options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": ()}, "one of JWKS_URL, KEYS and SECRET, got none"),
        ({"jwks_url": "https://auth.example/jwks", "keys": KEYS}, "got JWKS_URL and KEYS"),
        ({"keys": pem("rsa-1"), "secret": SECRET, "algorithms": ["HS256", "RS256"]}, "got KEYS and SECRET"),
        ({"jwks_url": "https://auth.example/jwks", "secret": SECRET}, "got JWKS_URL and SECRET"),
        ({"jwks_url": "http://auth.example/jwks"}, "JWKS_URL must be an https URL"),
        ({"algorithms": ["none"]}, "ALGORITHMS must be some of"),
        ({"algorithms": ["RS256", "none"]}, "ALGORITHMS must be some of"),
        ({"algorithms": ["RS256", "HS256"]}, "ALGORITHMS must be some of"),
        ({"algorithms": "HS256"}, "ALGORITHMS must be some of"),
        ({"algorithms": ["RS257"]}, "ALGORITHMS must be some of"),
        ({"secret": SECRET, "algorithms": ["RS256"]}, "ALGORITHMS must be some of"),
        ({"secret": SECRET, "algorithms": ["HS256", "none"]}, "ALGORITHMS must be some of"),
        ({"secret": "short"}, "SECRET must have at least 32 bytes"),
        ({"secret": pem("rsa-1")}, "SECRET must not be a public key"),
        ({"keys": "no key"}, "KEYS must be public keys"),
        ({"keys": pem("ec-1"), "algorithms": ["RS256"]}, "KEYS has no public key for any of ALGORITHMS"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        build(**options)
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)
