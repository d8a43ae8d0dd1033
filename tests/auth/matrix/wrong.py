"""Every kind of wrong credentials, and the answer to each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.auth.issuer import ISSUER, by_hand, claims, jwk, part, pem
from tests.auth.matrix.people import ALL, Lines, People, bearer, signed
from tests.auth.matrix.project import METADATA, READ, REQUIRED, WRITE

# -- answers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    """An answer to wrong credentials: its status, its challenge, and the message in its body."""

    status: int
    message: str
    challenge: str | None = None


MISSING, INVALID = "credentials are required: authenticate", "the credentials are not valid here: get new ones"
NONE = Refusal(401, MISSING, f'Bearer scope="mcp", {METADATA}')
REFUSED = Refusal(401, INVALID, f'Bearer error="invalid_token", scope="mcp", {METADATA}')
TWICE = Refusal(400, "authorization header must appear once, got it twice or more")
NOT_PLAIN = Refusal(400, "authorization header must be visible ASCII")
LOCAL_NONE = Refusal(401, MISSING, "Session, Token")
LOCAL_REFUSED = Refusal(401, INVALID, "Session, Token")


def lacking(*scopes: str) -> Refusal:
    """Return the answer to credentials without the scopes that something needs."""
    needed = " ".join([REQUIRED, *scopes])
    challenge = f'Bearer error="insufficient_scope", scope="{needed}", {METADATA}'
    return Refusal(403, f"the credentials lack a scope: this needs {needed}", challenge)


# -- credentials -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wrong:
    """One kind of wrong credentials."""

    name: str
    lines: Callable[[People], Lines]
    refusal: Refusal = REFUSED
    query: str = ""
    """What stands in the URL; `{}` is a good token."""
    reads_body: bool = False
    """Can it be seen only when the body is known?"""

    def __str__(self) -> str:
        return self.name


def header(value: str) -> Callable[[People], Lines]:
    return lambda people: (("Authorization", value),)


def jwt(**changes: Any) -> Callable[[People], Lines]:
    """Sign a token that is Ann's but for some claims, when it is first needed."""
    return lambda people: bearer(_signed(tuple(changes.items())))


@cache
def _signed(changes: tuple[tuple[str, Any], ...]) -> str:
    return signed(**{name: make() if callable(make) else make for name, make in changes})


def seconds(distance: int) -> Callable[[], int]:
    return lambda: int(time.time()) + distance


def forged(make: Callable[[], str]) -> Callable[[People], Lines]:
    return lambda people: bearer(make())


def personal(name: str) -> Callable[[People], Lines]:
    return lambda people: bearer(people.personal[name])


def opaque(secret: str, name: str = "ann", **changes: Any) -> Callable[[People], Lines]:
    return lambda people: bearer(people.opaque(secret, name, **changes))


def _claims() -> dict[str, Any]:
    return claims(preferred_username="ann", scope=ALL)


def _signature() -> str:
    return signed().rpartition(".")[2]


def _unsigned(algorithm: str) -> str:
    return by_hand({"alg": algorithm, "kid": "rsa-1", "typ": "at+jwt"}, _claims())


def _confused() -> str:
    """Sign with HMAC; its secret is the public key, which everybody has."""
    return by_hand({"alg": "HS256", "kid": "rsa-1", "typ": "at+jwt"}, _claims(), pem("rsa-1").encode())


def _tampered() -> str:
    """Put other claims under a good signature."""
    head, _, signature = signed("bob").split(".")
    return f"{head}.{part(_claims())}.{signature}"


def _with_own_key() -> str:
    """Bring the key along in the token's header."""
    brought = {"kid": "rsa-1", "jwk": jwk("rsa-9"), "jku": "https://evil.example/jwks"}
    return signed(key="rsa-9", headers=brought)


EVERYWHERE: tuple[Wrong, ...] = (
    Wrong("none", lambda people: (), NONE),
    Wrong("empty", header(""), NONE),
    Wrong("in-the-query", lambda people: (), NONE, query="access_token={}"),
    # Malformed.
    Wrong("Bearer-alone", header("Bearer")),
    Wrong("Bearer-a-b", header("Bearer a b")),
    Wrong("Bearer-and-token-glued", lambda people: (("Authorization", f"Bearer{signed()}"),)),
    Wrong("token-without-scheme", lambda people: (("Authorization", signed()),)),
    Wrong("two-in-one-line", lambda people: (("Authorization", f"Bearer {signed()}, Bearer {signed()}"),)),
    Wrong("Basic", header("Basic YW5uOnBhc3N3b3Jk")),
    Wrong("Basic-around-a-token", lambda people: (("Authorization", f"Basic {signed()}"),)),
    Wrong("no-JWT", header("Bearer 0123456789abcdef")),
    Wrong("JWT-of-broken-JSON", forged(lambda: f"{part(b'{')}.{part(_claims())}.AA")),
    Wrong("JWT-of-broken-claims", forged(lambda: f"{part({'alg': 'RS256'})}.{part(b'[')}.AA")),
    Wrong("JWT-nested-too-deeply", forged(lambda: f"{part(b'[' * 9000)}.{part(_claims())}.AA")),
    Wrong("JWT-too-long", forged(lambda: f"{part(b' ' * 17000)}.{part(_claims())}.AA")),
    Wrong("header-twice", lambda people: bearer(signed()) * 2, TWICE),
    Wrong("header-twice-good-first", lambda people: bearer(signed()) + bearer("x"), TWICE),
    Wrong("header-twice-good-last", lambda people: bearer("x") + bearer(signed()), TWICE),
    Wrong("non-ASCII", header("Bearer caf\xe9"), NOT_PLAIN),
    Wrong("control-character", header("Bearer a\x01b"), NOT_PLAIN),
    # Signed, and wrong for when, where or by whom.
    Wrong("expired", jwt(exp=seconds(-100))),
    Wrong("never-expires", jwt(exp=None)),
    Wrong("not-yet-valid", jwt(nbf=seconds(100_000))),
    Wrong("issued-in-the-future", jwt(iat=seconds(100_000))),
    Wrong("wrong-audience", jwt(aud="https://other.example/mcp")),
    Wrong("audience-is-our-site", jwt(aud="https://mcp.example")),
    Wrong("no-audience", jwt(aud=None)),
    Wrong("wrong-issuer", jwt(iss="https://evil.example")),
    Wrong("issuer-with-a-slash", jwt(iss=f"{ISSUER}/")),
    Wrong("no-issuer", jwt(iss=None)),
    Wrong("no-subject", jwt(sub=None)),
    Wrong("id-token", forged(lambda: signed(headers={"typ": "id_token"}))),
    # Signed wrongly.
    Wrong("algorithm-none", forged(lambda: _unsigned("none"))),
    Wrong("algorithm-nOnE", forged(lambda: _unsigned("nOnE"))),
    Wrong("algorithm-none-with-a-signature", forged(lambda: _unsigned("none") + _signature())),
    Wrong("HS256-by-the-public-key", forged(_confused)),
    Wrong("algorithm-not-allowed", forged(lambda: signed(algorithm="RS512"))),
    Wrong("another-key-with-our-kid", forged(lambda: signed(key="rsa-9", headers={"kid": "rsa-1"}))),
    Wrong("key-in-its-own-header", forged(_with_own_key)),
    Wrong("unknown-key", forged(lambda: signed(key="rsa-9"))),
    Wrong("signature-of-other-claims", forged(_tampered)),
    Wrong("signature-cut-off", forged(lambda: signed().rpartition(".")[0] + ".")),
    Wrong("critical-extension", forged(lambda: signed(headers={"crit": ["exp"]}))),
    # Not any more.
    Wrong("personal-revoked", personal("revoked")),
    Wrong("personal-expired", personal("expired")),
    Wrong("personal-made-up", header(f"Bearer mcp_{'x' * 43}")),
    Wrong("personal-cut-off", lambda people: bearer(people.personal["ann"][:-1])),
    Wrong("opaque-revoked", opaque("revoked", active=False)),
    Wrong("opaque-wrong-audience", opaque("audience", aud="https://other.example/mcp")),
    Wrong("opaque-no-audience", opaque("no-audience", aud=None)),
    Wrong("opaque-wrong-issuer", opaque("issuer", iss=ISSUER)),
    # Of somebody who may not come in any more, or never could.
    Wrong("inactive-signed", jwt(name="ina")),
    Wrong("inactive-personal", personal("ina")),
    Wrong("inactive-opaque", opaque("inas", "ina")),
    Wrong("user-unknown", jwt(preferred_username="nobody")),
    Wrong("user-not-named", jwt(preferred_username=None)),
    # Ann's own, without what every request needs.
    Wrong("lacks-scope-signed", jwt(scope=f"{READ} {WRITE}"), lacking()),
    Wrong("lacks-scope-personal", personal("without-scopes"), lacking()),
    Wrong("lacks-scope-opaque", opaque("narrow", scope=None), lacking()),
)
"""What is wrong at every entry."""

LACKS_FOR_TOOLS: tuple[Wrong, ...] = (
    Wrong("lacks-tools-scopes", jwt(scope=REQUIRED)),
    Wrong("lacks-one-of-tools-scopes", jwt(scope=f"{REQUIRED} {READ}")),
)
"""What is wrong where a tool with scopes is called; the refusal says which ones that call needs."""

LOCAL: tuple[Wrong, ...] = (
    Wrong("none", lambda people: (), LOCAL_NONE),
    Wrong("Token-alone", header("Token"), LOCAL_REFUSED),
    Wrong("Token-a-b", header("Token a b"), LOCAL_REFUSED),
    Wrong("Token-made-up", header(f"Token {'0' * 40}"), LOCAL_REFUSED),
    Wrong("Token-inactive", lambda people: (("Authorization", f"Token {people.rest['ina']}"),), LOCAL_REFUSED),
    Wrong("Token-as-Bearer", lambda people: bearer(people.rest["ann"]), LOCAL_REFUSED),
    Wrong("signed", jwt(), LOCAL_REFUSED),
    Wrong("cookie-made-up", lambda people: (("Cookie", f"sessionid={'x' * 32}"),), LOCAL_NONE),
    Wrong("cookie-inactive", lambda people: people.cookie("ina"), LOCAL_NONE),
)
"""What is wrong where nobody but the project itself is asked."""

FORGED = Wrong("cookie-without-CSRF", lambda people: people.cookie("ann", csrf=False), LOCAL_REFUSED)
"""What another site can make Ann's browser send; wrong for all but GET."""

OTHERS: dict[str, Callable[[People], Lines]] = {
    "bob-signed": jwt(name="bob"),
    "bob-personal": personal("bob"),
    "bob-opaque": opaque("bobs", "bob"),
    # Trusted, too, and has a subject of the same name: it is somebody else.
    "same-subject-of-another-issuer": opaque("same-subject"),
    "subject-in-capitals": jwt(sub="ANN-1"),
    # A session belongs to whom it was opened for, and that is an issuer's subject.
    "ann-by-a-personal-token": personal("ann"),
    "bob-without-tools-scopes": jwt(name="bob", scope=REQUIRED),
}
