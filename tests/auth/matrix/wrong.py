"""Kinds of wrong credentials, and the answer to each.

There is one for each way to an answer; what else is wrong with a token of a kind is told where that kind is tested.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.auth.matrix.people import Lines, People, bearer, signed
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
TWICE = Refusal(400, "authorization header must appear once, got several")
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


def personal(name: str) -> Callable[[People], Lines]:
    return lambda people: bearer(people.personal[name])


def opaque(secret: str, name: str = "ann", **changes: Any) -> Callable[[People], Lines]:
    return lambda people: bearer(people.opaque(secret, name, **changes))


EVERYWHERE: tuple[Wrong, ...] = (
    Wrong("none", lambda people: (), NONE),
    Wrong("empty", header(""), NONE),
    Wrong("in-the-query", lambda people: (), NONE, query="access_token={}"),
    # Malformed.
    Wrong("Bearer-alone", header("Bearer")),
    Wrong("token-without-scheme", lambda people: (("Authorization", signed()),)),
    Wrong("two-in-one-line", lambda people: (("Authorization", f"Bearer {signed()}, Bearer {signed()}"),)),
    Wrong("Basic-around-a-token", lambda people: (("Authorization", f"Basic {signed()}"),)),
    Wrong("no-JWT", header("Bearer 0123456789abcdef")),
    Wrong("header-twice", lambda people: bearer(signed()) * 2, TWICE),
    Wrong("header-twice-good-first", lambda people: bearer(signed()) + bearer("x"), TWICE),
    Wrong("header-twice-good-last", lambda people: bearer("x") + bearer(signed()), TWICE),
    Wrong("non-ASCII", header("Bearer caf\xe9"), NOT_PLAIN),
    Wrong("control-character", header("Bearer a\x01b"), NOT_PLAIN),
    # Signed wrongly, too early, or by another issuer, whose tokens may be looked up.
    Wrong("signature-cut-off", lambda people: bearer(signed().rpartition(".")[0] + ".")),
    Wrong("expired", jwt(exp=seconds(-100))),
    Wrong("wrong-issuer", jwt(iss="https://evil.example")),
    # Not any more.
    Wrong("personal-revoked", personal("revoked")),
    Wrong("personal-expired", personal("expired")),
    Wrong("opaque-revoked", opaque("revoked", active=False)),
    Wrong("opaque-wrong-audience", opaque("audience", aud="https://other.example/mcp")),
    # Of somebody who may not come in any more, or never could.
    Wrong("inactive-signed", jwt(name="ina")),
    Wrong("inactive-personal", personal("ina")),
    Wrong("inactive-opaque", opaque("inas", "ina")),
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
