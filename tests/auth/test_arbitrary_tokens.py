"""Tokens made of anything: none of them breaks the authenticator, and none stands for anybody."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import strategies as st

from mcp_transport.auth.introspection import IntrospectionAuthenticator, _claims_of, _subject
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from tests.auth.issuer import ISSUER, RESOURCE, claims, few_and_many, hold, part, request, token
from tests.auth.test_jwt import REASONS, build

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
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


@few_and_many
def test_arbitrary_token_is_nobody(number: int) -> None:
    def rule(credentials: str) -> None:
        assert asyncio.run(judged(credentials)) is None

    hold(rule, number, TOKENS)
    for credentials in ("..", "\x00.\x00.\x00", f"{part('{}'.encode('utf-16'))}.{part(claims())}.AA"):
        rule(credentials)


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


@few_and_many
def test_arbitrary_claims_break_nothing_even_when_they_are_signed(number: int) -> None:
    def rule(payload: dict[str, Any]) -> None:
        outcome = asyncio.run(judged(token(**{**NOTHING, **payload})))
        assert outcome is None or outcome.subject == payload["sub"]

    hold(rule, number, CLAIMS)


@pytest.mark.parametrize("good", GOOD_TOKENS, ids=["RSA", "EC"])
async def test_no_character_of_a_token_can_be_another(good: str) -> None:
    assert (await judged(good)) is not None
    for position, character in enumerate(good):
        for other in {*"A.=", ALPHABET[(ALPHABET.find(character) + 1) % 64]} - {character}:
            assert await judged(f"{good[:position]}{other}{good[position + 1 :]}") is None


@few_and_many
def test_token_that_was_tampered_with_is_nobody(number: int) -> None:
    def rule(good: str, data: st.DataObject) -> None:
        position = data.draw(st.integers(0, len(good) - 1))
        other = data.draw(st.sampled_from(ALPHABET + ".=~+/ "))
        changed = data.draw(st.sampled_from([other, other + good[position], "", good[position] * 2]))
        tampered = f"{good[:position]}{changed}{good[position + 1 :]}"
        outcome = asyncio.run(judged(tampered))
        assert outcome is None or tampered.strip() == good

    hold(rule, number, st.sampled_from(GOOD_TOKENS), st.data())


# -- introspection ---------------------------------------------------------------------------------------


def introspecting(answer: dict[str, Any], **options: Any) -> IntrospectionAuthenticator:
    """Build an authenticator whose server always gives one answer."""
    url = "https://auth.example/introspect"
    made = IntrospectionAuthenticator(url=url, issuer=ISSUER, audience=RESOURCE, token="ours", **options)

    async def reason(_key: Any, _work: Any) -> dict[str, Any]:
        return answer

    made._single_flight.run = reason  # type: ignore[method-assign, assignment]
    return made


@few_and_many
def test_arbitrary_opaque_token_is_nobody(number: int) -> None:
    authenticator = introspecting({"active": False})

    def rule(credentials: str) -> None:
        try:
            assert asyncio.run(authenticator.authenticate(request(credentials))) is None
        except InvalidCredentials as error:
            assert "is not active" in str(error) or "has invalid characters" in str(error)

    hold(rule, number, st.text(st.characters(codec="latin-1")))
    for credentials in ("==", "\x00"):
        rule(credentials)


MEMBERS = ("sub", "username", "client_id", "aud", "exp", "iss", "scope", "scp", "preferred_username")


@few_and_many
def test_arbitrary_answer_breaks_nothing(number: int) -> None:
    def rule(answer: dict[str, Any]) -> None:
        authenticator = introspecting(answer, require_audience=False)
        authenticator._expiry(b"", answer, 0.0)
        try:
            outcome = asyncio.run(authenticator.authenticate(request("a-token")))
        except InvalidCredentials:
            return
        assert outcome is not None and outcome.subject.isprintable() and outcome.name.isprintable()

    members = dict.fromkeys(MEMBERS, ANY_JSON | st.just(RESOURCE))
    hold(rule, number, st.fixed_dictionaries({"active": st.just(True)}, optional=members))


SUBJECT_PARTS = st.sampled_from(["", "sub", "client", "username", "ann", ":"])
IDS = st.lists(SUBJECT_PARTS).map("".join).filter(bool)
ONE = st.tuples(st.sampled_from(["sub", "username", "client_id"]), IDS)


@few_and_many
def test_no_two_callers_have_one_subject(number: int) -> None:
    def rule(one: tuple[str, str], other: tuple[str, str]) -> None:
        subjects = [_subject(dict([item])) for item in (one, other)]
        assert (subjects[0] == subjects[1]) is (one == other)
        assert _claims_of(subjects[0]) == dict([one])

    hold(rule, number, ONE, ONE)
    for kind, claim in (("client", "client_id"), ("username", "username")):
        rule(("sub", f"{kind}:a"), (claim, "a"))
