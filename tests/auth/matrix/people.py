"""Who has credentials, and the credentials that are good: Ann's, Bob's, and those of Ina, who is not active."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.test import Client
from django.utils import timezone
from rest_framework.authtoken.models import Token

from mcp_transport.contrib.tokens.models import PersonalToken
from tests.auth.issuer import RESOURCE, AuthServer, token
from tests.auth.matrix.project import OPAQUE_ISSUER, READ, REQUIRED, WRITE

Lines = tuple[tuple[str, str], ...]
"""Header lines of a request."""

ALL = f"{REQUIRED} {READ} {WRITE}"
NAMES = ("ann", "bob", "ina")


def bearer(secret: str) -> Lines:
    return (("Authorization", f"Bearer {secret}"),)


def signed(name: str = "ann", **changes: Any) -> str:
    """Sign a token for somebody; it has all scopes."""
    good = {"sub": f"{name}-1", "preferred_username": name, "scope": ALL, "exp": int(time.time()) + 3600}
    return token(**{**good, **changes})


@dataclass(frozen=True)
class People:
    """The secrets of personal tokens, REST framework's tokens and sessions, and the server that looks tokens up."""

    issuer: AuthServer
    personal: dict[str, str]
    rest: dict[str, str]
    sessions: dict[str, str]

    def opaque(self, secret: str, name: str = "ann", **changes: Any) -> str:
        """Let introspection know a token; return it."""
        good = {
            "active": True,
            "iss": OPAQUE_ISSUER,
            "aud": RESOURCE,
            "sub": f"{name}-1",
            "username": name,
            "scope": ALL,
        }
        merged = {**good, **changes}
        self.issuer.answers[secret] = {key: value for key, value in merged.items() if value is not None}
        return secret

    def cookie(self, name: str, *, csrf: bool = True) -> Lines:
        """Return the headers of a page that somebody is logged in on, perhaps without proof that it is the page."""
        session = f"sessionid={self.sessions[name]}"
        if not csrf:
            return (("Cookie", session),)
        request = HttpRequest()
        proof = get_token(request)
        return (("Cookie", f"{session}; csrftoken={request.META['CSRF_COOKIE']}"), ("X-CSRFToken", proof))


@contextmanager
def people(issuer: AuthServer) -> Iterator[People]:
    """Create everybody, for good: threads of the endpoint read them through connections of their own."""
    users = {name: User.objects.create_user(name, is_active=name != "ina") for name in NAMES}
    try:
        yield People(
            issuer,
            _personal_tokens(users),
            {name: Token.objects.create(user=user).key for name, user in users.items()},
            {f"{name}{number}": _log_in(user) for name, user in users.items() for number in ("", "-again")},
        )
    finally:
        Session.objects.all().delete()
        User.objects.filter(username__in=NAMES).delete()


def _personal_tokens(users: dict[str, User]) -> dict[str, str]:
    issue = PersonalToken.objects.issue
    secrets = {name: issue(user, scopes=ALL)[1] for name, user in users.items()}
    secrets["ann-again"] = issue(users["ann"], scopes=ALL)[1]
    secrets["without-scopes"] = issue(users["ann"])[1]
    secrets["expired"] = issue(users["ann"], scopes=ALL, expires=timezone.now() - timedelta(seconds=1))[1]
    revoked, secrets["revoked"] = issue(users["ann"], scopes=ALL)
    revoked.revoke()
    return secrets


def _log_in(user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


# -- Ann's, by the authenticator that takes them, and what she has after she got new ones -------------------


def anns(people: People, kind: str) -> Lines:
    """Return good credentials of Ann."""
    make: dict[str, Callable[[], Lines]] = {
        "signed": lambda: bearer(signed()),
        "signed-again": lambda: bearer(
            signed(key="ec-1", jti="another", scope=f"{ALL} more", headers={"typ": "JWT"})
        ),
        "personal": lambda: bearer(people.personal["ann"]),
        "personal-again": lambda: bearer(people.personal["ann-again"]),
        "opaque": lambda: bearer(people.opaque("anns-token")),
        "opaque-again": lambda: bearer(people.opaque("anns-new-token", exp=9_999_999_999)),
        "cookie": lambda: people.cookie("ann"),
        "cookie-again": lambda: people.cookie("ann-again"),
        "rest": lambda: (("Authorization", f"Token {people.rest['ann']}"),),
    }
    return make[kind]()
