"""The keys that tokens are verified with: which are taken, when they are read again, and what a bad server does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from django.core.exceptions import ImproperlyConfigured
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from mcp_transport.auth import jwks
from mcp_transport.auth.jwks import FetchedKeys, SharedSecret, StaticKeys
from mcp_transport.exceptions import ProtocolError
from tests.auth.issuer import AuthServer, few_and_many, hold, jwk, pem, private_key
from tests.support.clock import FakeClock

DAY = 24 * 3600.0


@pytest.fixture
def keys(server: AuthServer, clock: FakeClock) -> FetchedKeys:
    return FetchedKeys(server.jwks_url, now=clock.now)


async def has(keys: Any, kid: str | None, algorithm: str = "RS256") -> bool:
    return bool(await keys.candidates(kid, algorithm))


def numbers(found: Any) -> list[Any]:
    return [key.public_numbers() for key in found]


async def refusal(keys: FetchedKeys) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        await keys.candidates("rsa-1", "RS256")
    return caught.value


# -- which key -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kid", "fits", "does_not"),
    [("rsa-1", ("RS256", "PS512"), ("ES256", "HS256", "none")), ("ec-1", ("ES256",), ("RS256", "ES384"))],
)
async def test_key_is_found_by_its_name_for_its_own_algorithms(
    keys: FetchedKeys, kid: str, fits: tuple[str, ...], does_not: tuple[str, ...]
) -> None:
    for algorithm in fits:
        found = await keys.candidates(kid, algorithm)
        assert numbers(found) == [private_key(kid).public_key().public_numbers()]
    assert not any([await has(keys, kid, algorithm) for algorithm in does_not])
    assert not await has(keys, "", fits[0])


@pytest.mark.parametrize(
    ("names", "algorithm", "found"),
    [
        (["rsa-1", "ec-1"], "RS256", ["rsa-1"]),
        (["rsa-1", "ec-1"], "ES256", ["ec-1"]),
        (["rsa-1", "rsa-2"], "RS256", []),
        (["rsa-1"], "ES256", []),
        ([], "RS256", []),
    ],
)
async def test_token_without_a_name_means_the_only_key_that_fits(
    server: AuthServer, keys: FetchedKeys, names: list[str], algorithm: str, found: list[str]
) -> None:
    server.keys = [jwk(name) for name in names]
    expected = [private_key(name).public_key().public_numbers() for name in found]
    assert numbers(await keys.candidates(None, algorithm)) == expected


async def test_keys_of_one_name_are_told_apart_by_their_types(server: AuthServer, keys: FetchedKeys) -> None:
    server.keys = [jwk("rsa-1", kid="k"), jwk("ec-1", kid="k")]  # RFC 7517, 4.5
    assert numbers(await keys.candidates("k", "ES256")) == numbers([private_key("ec-1").public_key()])


PRIVATE = {
    "EC": {"kid": "ec-1", **ECAlgorithm.to_jwk(private_key("ec-1"), as_dict=True)},
    "RSA": {"kid": "rsa-1", **RSAAlgorithm.to_jwk(private_key("rsa-1"), as_dict=True), "key_ops": ["verify"]},
}
OCT = {"kty": "oct", "k": "c2VjcmV0" * 8, "kid": "rsa-1"}
ED448 = {"kid": "ed448-1", **OKPAlgorithm.to_jwk(Ed448PrivateKey.generate().public_key(), as_dict=True)}
ACCEPTED = {
    "plain": (jwk("rsa-1"), "RS256"),
    "for signatures": (jwk("rsa-1", use="sig"), "RS256"),
    "for one algorithm": (jwk("rsa-1", alg="RS512"), "RS512"),
    "to verify": (jwk("ec-1", key_ops=["verify"]), "ES256"),
    "a longer curve": (jwk("ec384-1"), "ES384"),
    "Edwards": (jwk("ed-1"), "EdDSA"),
    "Edwards, the longer curve": (ED448, "EdDSA"),
    "with members nobody knows": (jwk("rsa-1", x5t="AQ", exp=1), "RS256"),
}
LEFT_OUT = {
    "for encryption": (jwk("rsa-1", use="enc"), "RS256"),
    "for another algorithm": (jwk("rsa-1", alg="RS512"), "RS256"),
    "for an algorithm of encryption": (jwk("rsa-1", alg="RSA-OAEP"), "RS256"),
    "for an algorithm of another type": (jwk("rsa-1", alg="ES256"), "ES256"),
    "for an algorithm of another curve": (jwk("ec384-1", alg="ES256"), "ES256"),
    "for no algorithm": (jwk("rsa-1", alg="none"), "none"),
    "for a list of algorithms": (jwk("rsa-1", alg=["RS256"]), "RS256"),
    "to sign": (jwk("rsa-1", key_ops=["sign"]), "RS256"),
    "with odd operations": (jwk("rsa-1", key_ops="verify"), "RS256"),
    "a secret": (OCT, "HS256"),
    "a secret that calls itself RSA's": ({**OCT, "alg": "RS256"}, "RS256"),
    "private": (PRIVATE["EC"], "ES256"),
    "private, of RSA": (PRIVATE["RSA"], "RS256"),
    "half private": (jwk("ec-1", d="AQ"), "ES256"),
    "weak": (jwk("rsa-weak"), "RS256"),
    "of no type": (jwk("rsa-1", kty=None), "RS256"),
    "of an unknown type": (jwk("rsa-1", kty="LATTICE"), "RS256"),
    "of a list of types": (jwk("rsa-1", kty=["RSA"]), "RS256"),
    "of an unknown curve": (jwk("ec-1", crv="P-1"), "ES256"),
    "beside its curve": (jwk("ec-1", x=jwk("ec-1")["y"], y=jwk("ec-1")["x"]), "ES256"),
    "without numbers": (jwk("rsa-1", n=None), "RS256"),
    "with odd numbers": (jwk("rsa-1", n=17), "RS256"),
    "without sense": (17, "RS256"),
}


@pytest.mark.parametrize(("key", "algorithm"), ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_public_key_is_taken(server: AuthServer, keys: FetchedKeys, key: Any, algorithm: str) -> None:
    server.keys = [*(item for item, _ in LEFT_OUT.values()), key]
    assert await has(keys, key["kid"], algorithm)


@pytest.mark.parametrize(("key", "algorithm"), LEFT_OUT.values(), ids=LEFT_OUT.keys())
async def test_key_of_no_use_is_left_out_and_takes_no_other_away(
    server: AuthServer, keys: FetchedKeys, key: Any, algorithm: str
) -> None:
    server.keys = [key, jwk("rsa-2")]
    assert not await has(keys, key["kid"] if isinstance(key, dict) else "rsa-1", algorithm)
    assert await has(keys, "rsa-2")


async def test_key_whose_name_is_no_text_has_none(server: AuthServer, keys: FetchedKeys) -> None:
    server.keys = [jwk("rsa-1", kid=17)]
    assert await has(keys, None)
    assert not await has(keys, "17")


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=9), st.lists)
NAMES = ["kty", "use", "alg", "kid", "n", "e", "x", "y", "crv", "d", "key_ops"]
MEMBERS = st.dictionaries(st.sampled_from(NAMES), JSON)


@few_and_many
def test_odd_key_never_breaks_the_set(number: int) -> None:
    def rule(good: dict[str, Any], odd: dict[str, Any]) -> None:
        found = jwks._from_document({"keys": [{**good, **odd}, jwk("rsa-2")]})
        assert found is not None and found[-1].kid == "rsa-2"

    hold(rule, number, st.sampled_from([jwk("rsa-1"), jwk("ec-1"), jwk("ed-1"), {}]), MEMBERS)


# -- when they are read ----------------------------------------------------------------------------------


@dataclass
class Step:
    """A pause, then a key that is looked for: whether it is found (None: 503), and how often the server was asked."""

    seconds: float
    found: bool | None
    count: int
    kid: str = "rsa-1"
    keys: tuple[str, ...] | None = None
    """Which keys the server has from now on."""
    status: int = 200


SCHEDULES = {
    "when they are needed, and again when they are old": [
        *(Step(seconds, True, count) for seconds, count in [(0, 1), (0, 1), (3599, 1), (1, 2), (3599, 2), (1, 3)])
    ],
    "a withdrawn key is gone with the next reading": [
        Step(0, True, 1),
        Step(0, True, 1, keys=()),
        Step(3600, False, 2),
    ],
    "a new key is found at once": [
        Step(0, True, 1),
        Step(0, True, 2, "rsa-2", keys=("rsa-2",)),
        Step(0, False, 2),
    ],
    "made-up names have them read once in half a minute": [
        Step(0, False, 1, "made-up"),  # they had just been read
        *(
            Step(seconds, False, count, f"made-up-{count}")
            for seconds, count in [(0, 2), (0, 2), (29, 2), (1, 3), (0, 3), (29.9, 3), (30, 4)]
        ),
        Step(0, False, 4, "rsa-2", keys=("rsa-2",)),
        Step(30, True, 5, "rsa-2"),
    ],
    "a server that fails is left alone for a moment": [
        *(Step(seconds, None, count, status=500) for seconds, count in [(0, 1), (0, 1), (1.9, 1), (0.2, 2), (1, 2)]),
        Step(2, True, 3),
    ],
    "a failure is forgotten with the next answer": [
        Step(0, None, 1, status=500),
        *(Step(seconds, True, count) for seconds, count in [(2, 2), (3599, 2), (1, 3)]),
    ],
    "keys that cannot be read again are used for a day": [
        Step(0, True, 1),
        *(Step(seconds, True, count, status=500) for seconds, count in [(3600, 2), (29, 2), (1, 3), (DAY - 3631, 4)]),
        Step(1, None, 4, status=500),
        Step(2, True, 5),
    ],
    "an unknown key of a server that fails is unknown": [
        Step(0, True, 1),
        Step(0, False, 2, "rsa-2", status=500),
        Step(0, True, 2, status=500),
    ],
}


@pytest.mark.parametrize("steps", SCHEDULES.values(), ids=SCHEDULES.keys())
async def test_keys_are_read(server: AuthServer, keys: FetchedKeys, clock: FakeClock, steps: list[Step]) -> None:
    assert server.requests == []
    for number, step in enumerate(steps):
        server.status = step.status
        if step.keys is not None:
            server.keys = [jwk(name) for name in step.keys]
        await clock.advance(step.seconds)
        if step.found is None:
            assert (await refusal(keys)).status == 503
        else:
            assert await has(keys, step.kid) is step.found, number
        assert len(server.requests) == step.count, number


async def test_age_may_be_set(server: AuthServer, clock: FakeClock) -> None:
    keys = FetchedKeys(server.jwks_url, cache_seconds=10, now=clock.now)
    for seconds, count in [(0, 1), (9, 1), (1, 2)]:
        await clock.advance(seconds)
        assert await has(keys, "rsa-1")
        assert len(server.requests) == count


async def test_many_requests_read_the_keys_together(server: AuthServer, keys: FetchedKeys) -> None:
    for name in ("rsa-1", "rsa-2"):  # the second is a new key, which they search for
        server.keys = [jwk(name)]
        server.hold()
        waiting = [asyncio.create_task(has(keys, name)) for _ in range(50)]
        await server.until_requested(len(server.requests) + 1)
        server.release()
        assert await asyncio.gather(*waiting) == [True] * 50
    assert len(server.requests) == 2


def test_event_loops_of_a_process_share_keys(server: AuthServer) -> None:
    keys = FetchedKeys(server.jwks_url)
    for _ in range(3):
        assert asyncio.run(has(keys, "rsa-1"))
    assert len(server.requests) == 1


# -- servers that fail -----------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [None, b"{}", b'{"keys": {}}'], ids=["500", "no keys", "keys by name"])
async def test_without_an_answer_known_keys_go_on_and_without_keys_callers_are_told_to_come_again(
    server: AuthServer, keys: FetchedKeys, clock: FakeClock, caplog: pytest.LogCaptureFixture, body: bytes | None
) -> None:
    fresh = FetchedKeys(server.jwks_url, now=clock.now)
    assert await has(keys, "rsa-1")
    server.status, server.body = 200 if body else 500, body
    error = await refusal(fresh)
    assert (error.status, error.code, error.headers) == (503, -32603, (("Retry-After", "2"),))
    assert error.message == "the authorization server does not respond; try again"
    await clock.advance(3600)
    assert await has(keys, "rsa-1")
    messages = [record.getMessage() for record in caplog.records if record.name == jwks.__name__]
    assert ["no token can be verified" in messages[0], "stay in use" in messages[1]] == [True, True]
    assert {record.levelname for record in caplog.records if record.name == jwks.__name__} == {"WARNING"}


# -- keys in the settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_keys", "kid", "algorithm", "found"),
    [
        (pem("rsa-1"), None, "RS256", ["rsa-1"]),
        (pem("rsa-1"), "any", "RS256", ["rsa-1"]),
        (pem("rsa-1"), None, "ES256", []),
        ([pem("ec-1")], "any", "ES256", ["ec-1"]),
        ((pem("rsa-1"), pem("ec-1"), pem("rsa-2")), "any", "RS256", ["rsa-1", "rsa-2"]),
        ({"keys": [jwk("rsa-1"), jwk("rsa-2")]}, "rsa-2", "RS256", ["rsa-2"]),
        ({"keys": [jwk("rsa-1"), jwk("rsa-2")]}, "rsa-3", "RS256", []),
        ({"keys": [jwk("rsa-1"), jwk("rsa-2")]}, None, "RS256", []),
        ({"keys": [jwk("rsa-1"), jwk("ec-1")]}, None, "RS256", ["rsa-1"]),
    ],
)
async def test_keys_of_the_settings(given_keys: Any, kid: str | None, algorithm: str, found: list[str]) -> None:
    keys = StaticKeys(given_keys, ["RS256", "ES256"])
    expected = [private_key(name).public_key().public_numbers() for name in found]
    assert numbers(await keys.candidates(kid, algorithm)) == expected


@pytest.mark.parametrize(
    "given_keys",
    [
        "",
        "no key",
        [],
        [17],
        [pem("rsa-1"), "no key"],
        pem("rsa-weak"),
        pem("ec384-1"),
        {},
        {"keys": []},
        {"keys": [jwk("ed-1")]},
        {"keys": [*PRIVATE.values()]},
    ],
)
def test_settings_without_a_key_for_the_algorithms_are_refused(given_keys: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="KEYS"):
        StaticKeys(given_keys, ["RS256", "ES256"])


async def test_secret_is_for_its_own_algorithms() -> None:
    secret = SharedSecret("s" * 32, ["HS256"])
    assert await secret.candidates("any", "HS256") == (b"s" * 32,)
    assert not await secret.candidates(None, "RS256")


@pytest.mark.parametrize(
    ("secret", "algorithms"),
    [("s" * 31, ["HS256"]), ("s" * 47, ["HS256", "HS384"]), ("s" * 63, ["HS512"]), (pem("rsa-1"), ["HS256"])],
)
def test_weak_secret_is_refused(secret: str, algorithms: list[str]) -> None:
    with pytest.raises(ImproperlyConfigured, match="SECRET"):
        SharedSecret(secret, algorithms)
