"""The principal of a call that is run again: restored without scopes, whatever the authenticator, or refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.utils import timezone

from mcp_transport.auth.authenticator import Authenticator
from mcp_transport.auth.factory import build_authentication
from mcp_transport.auth.user import anonymous_user, principal_of
from mcp_transport.contrib.tokens.models import PersonalToken
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.protocol.http import HTTPRequest

SECRET = "a secret of thirty-two characters, no less"
ISSUER = "https://auth.example.com"
DJANGOS: dict[str, Any] = {
    "user": "user",
    "session": "session",
    "token": "token",
    "drf": {"BACKEND": "drf", "OPTIONS": {"CLASSES": ["rest_framework.authentication.SessionAuthentication"]}},
    "own": {"BACKEND": f"{__name__}.Restoring"},
}
"""What returns Django's users."""
PAIRS = [*permutations(DJANGOS, 1), *permutations(DJANGOS, 2)]


class Plain(Authenticator):
    """Does not say whom it restores."""

    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        return None


class Restoring(Plain):
    """Returns Django's users with more scopes than it should."""

    async def principal_without_request(self, issuer: str, subject: str) -> Principal | None:
        is_ours = issuer == "django" and subject.isdigit()
        found = await User.objects.filter(pk=int(subject), is_active=True).afirst() if is_ours else None
        return principal_of(found, frozenset({"write"})) if found is not None else None


class Confused(Plain):
    """Returns somebody else, who may do anything."""

    async def principal_without_request(self, issuer: str, subject: str) -> Principal | None:
        return Principal("machines", "root", scopes=None)


def find_nobody(claims: dict[str, Any]) -> None: ...


@async_to_sync
async def restore(binding: str, name: str = "ann") -> Principal:
    return await build_authentication().principal_without_request(binding, name)


def is_refused(binding: str) -> bool:
    with pytest.raises(InvalidCredentials, match="no authenticator restores the principal of the session"):
        restore(binding)
    return True


def configure(settings: Any, *entries: Any) -> None:
    settings.MCP_TRANSPORT = {
        "AUTHENTICATORS": list(entries),
        "RESOURCE_URL": "https://mcp.example.com/mcp",
        "IMPLIED_SCOPES": {"write": ["read"]},
    }


def test_a_user_is_restored_without_scopes_by_whatever_knows_them(ann: User, settings: Any) -> None:
    PersonalToken.objects.issue(ann, scopes=["read"])
    for names in PAIRS:
        configure(settings, *(DJANGOS[name] for name in names))
        found = restore(f"django\n{ann.pk}")
        assert (found.user, found.scopes, found.binding) == (ann, frozenset(), f"django\n{ann.pk}"), names
        assert not found.has_scopes({"read"})
        for other in ("django\n0", "django\nx", f"https://elsewhere.example\n{ann.pk}", "django-client\nclient:a"):
            assert is_refused(other), (names, other)


@pytest.mark.parametrize("leave", [lambda: User.objects.update(is_active=False), lambda: User.objects.all().delete()])
def test_a_user_who_is_gone_meanwhile_is_refused(leave: Callable[[], object], ann: User, settings: Any) -> None:
    PersonalToken.objects.issue(ann)
    binding = f"django\n{ann.pk}"
    leave()
    for names in PAIRS:
        configure(settings, *(DJANGOS[name] for name in names))
        assert is_refused(binding), names
    configure(settings, {"BACKEND": "jwt", "OPTIONS": {"ISSUER": ISSUER, "SECRET": SECRET, "USER_CLAIM": "sub"}})
    assert is_refused(f"{ISSUER}\nann")


@pytest.mark.parametrize(
    "end",
    [
        lambda: PersonalToken.objects.get().revoke(),
        lambda: PersonalToken.objects.update(expires=timezone.now()),
        lambda: PersonalToken.objects.all().delete(),
    ],
)
def test_a_user_without_a_valid_token_is_refused_where_only_tokens_count(
    end: Callable[[], object], ann: User, settings: Any
) -> None:
    PersonalToken.objects.issue(ann)
    end()
    configure(settings, "token")
    assert is_refused(f"django\n{ann.pk}")
    PersonalToken.objects.issue(ann)
    assert restore(f"django\n{ann.pk}").user == ann, "any valid token will do"


@pytest.mark.parametrize("claim", ["", "sub"])
@pytest.mark.parametrize("others", [(), ("user",), ("user", "token")], ids=len)
def test_the_subject_of_a_token_is_restored_without_its_scopes(
    claim: str, others: tuple[str, ...], ann: User, settings: Any
) -> None:
    options = {"ISSUER": ISSUER, "SECRET": SECRET, "USER_CLAIM": claim}
    configure(settings, *others, {"BACKEND": "jwt", "OPTIONS": options})
    found = restore(f"{ISSUER}\nann")
    assert (found.user, found.scopes) == (ann if claim else anonymous_user(), frozenset())
    options = {"ISSUER": ISSUER, "URL": f"{ISSUER}/introspect", "TOKEN": "x", "USER_CLAIM": claim}
    configure(settings, *others, {"BACKEND": "introspection", "OPTIONS": options})
    found = restore(f"{ISSUER}\nann")
    assert (found.user, found.scopes) == (ann if claim else anonymous_user(), frozenset())


@pytest.mark.parametrize("option", [{"USER": f"{__name__}.find_nobody"}, {"USER_CLAIM": "email"}])
def test_a_subject_whose_user_needs_the_token_is_refused(option: dict[str, str], ann: User, settings: Any) -> None:
    configure(settings, {"BACKEND": "jwt", "OPTIONS": {"ISSUER": ISSUER, "SECRET": SECRET, **option}})
    assert is_refused(f"{ISSUER}\nann")


def test_an_authenticator_that_does_not_say_whom_it_restores_restores_nobody(ann: User, settings: Any) -> None:
    configure(settings, f"{__name__}.Plain")
    assert is_refused(f"django\n{ann.pk}"), "its key may have been revoked"


def test_nobody_is_restored_as_somebody_else(ann: User, settings: Any) -> None:
    configure(settings, f"{__name__}.Confused", "user")
    assert restore(f"django\n{ann.pk}").user == ann
    assert is_refused("elsewhere\nann")


@pytest.mark.parametrize("entries", [[None], ["user", None], [f"{__name__}.Confused", None]], ids=str)
def test_an_anonymous_caller_stays_anonymous(entries: list[Any], ann: User, settings: Any) -> None:
    configure(settings, *entries)
    found = restore("", "")
    assert (found.binding, found.user, found.scopes) == ("", anonymous_user(), frozenset())


def test_the_former_name_of_the_method_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Old\.recall\(\) must be renamed to principal_without_request\(\)"):

        class Old(Restoring):
            async def recall(self, issuer: str, subject: str) -> None: ...
