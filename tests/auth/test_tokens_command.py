"""`manage.py mcp_tokens`, as an operator calls it."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from mcp_transport.contrib.tokens.models import PersonalToken

pytestmark = pytest.mark.django_db


def run(*args: str) -> tuple[str, str]:
    """Return what the command prints, and what it explains; CommandError is what ends it with status 1."""
    out, err = StringIO(), StringIO()
    call_command("mcp_tokens", *args, stdout=out, stderr=err, no_color=True)
    return out.getvalue(), err.getvalue()


def listed(*args: str) -> Any:
    return json.loads(run("list", "--json", *args)[0])


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann")


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob")


def test_create_prints_the_secret_alone(ann: User) -> None:
    out, err = run("create", "ann")
    assert re.fullmatch(r"mcp_[\w-]{43}\n", out)
    token = PersonalToken.objects.get()
    assert PersonalToken.objects.find(out.strip()) == token
    assert (token.user, token.name, token.scopes, token.expires) == (ann, "", "", None)
    explained = (
        f"Token {token.pk} ({token.hint}) of ann, no scopes, valid until it is revoked. It will not be shown again:"
    )
    assert err.strip() == explained


def test_create_takes_everything_that_a_token_has(ann: User) -> None:
    before = timezone.now()
    args = ["--name", "laptop", "--scope", "a", "--scope", "b c", "--expires-in-days", "30"]
    out, err = run("create", "ann", *args)
    token = PersonalToken.objects.get()
    assert (token.name, token.scopes) == ("laptop", "a b c")
    assert token.expires is not None
    assert timedelta(0) <= token.expires - before - timedelta(days=30) < timedelta(minutes=1)
    assert f"of ann, scopes a b c, valid until {token.expires.isoformat(timespec='seconds')}." in err
    assert out.strip() not in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["bob"], r"There is no user 'bob'\."),
        (["gone"], r"The user 'gone' is not active\."),
        (["ann", "--expires-in-days", "0"], "expected a whole number from 1 to 36500, got '0'"),
        (["ann", "--expires-in-days", "-1"], "expected a whole number from 1 to 36500, got '-1'"),
        (["ann", "--expires-in-days", "9999999999"], "expected a whole number from 1 to 36500"),
        (["ann", "--expires-in-days", "soon"], "expected a whole number from 1 to 36500, got 'soon'"),
        (["ann", "--scope", 'a"b'], "is not a valid scope"),
        (["ann", "--name", "n" * 101], "at most 100 characters"),
        ([], "username"),
    ],
)
def test_create_refuses_and_issues_nothing(args: list[str], message: str, ann: User) -> None:
    User.objects.create_user("gone", is_active=False)
    with pytest.raises(CommandError, match=message):
        run("create", *args)
    assert not PersonalToken.objects.exists()


def test_list_is_a_table_newest_first(ann: User, bob: User) -> None:
    first, _ = PersonalToken.objects.issue(ann, name="laptop", scopes="a b", expires=timezone.now() + timedelta(1))
    second, _ = PersonalToken.objects.issue(bob)
    second.record_use()
    second.revoke()
    head, newer, older, total = run("list")[0].splitlines()
    assert head.split() == ["id", "hint", "name", "user", "scopes", "expires", "last", "used", "state"]
    assert newer.split()[:5] == [str(second.pk), second.hint, "bob", "-", "never"]
    assert newer.split()[-1] == "revoked"
    assert first.expires is not None
    ends = first.expires.isoformat(timespec="seconds")[:19]
    assert older.split() == [str(first.pk), first.hint, "laptop", "ann", "a", "b", ends, "never", "valid"]
    assert total == "2 tokens"


def test_list_can_be_of_one_user(ann: User, bob: User) -> None:
    PersonalToken.objects.issue(ann)
    assert run("list", "--user", "ann")[0].splitlines()[-1] == "1 token"
    assert run("list", "--user", "bob")[0].splitlines()[-1] == "0 tokens"
    assert [item["user"] for item in listed("--user", "ann")] == ["ann"]
    assert listed("--user", "bob") == []
    with pytest.raises(CommandError, match=r"There is no user 'eve'\."):
        run("list", "--user", "eve")


def test_list_as_json_tells_neither_secret_nor_digest(ann: User) -> None:
    token, secret = PersonalToken.objects.issue(ann, name="laptop", scopes="a b")
    out, _ = run("list", "--json")
    assert secret not in out
    assert token.digest not in out
    assert json.loads(out) == [
        {
            "id": token.pk,
            "hint": token.hint,
            "name": "laptop",
            "user": "ann",
            "scopes": ["a", "b"],
            "state": "valid",
            "created": token.created.isoformat(timespec="seconds"),
            "expires": None,
            "last_used": None,
            "revoked": None,
        }
    ]


def test_tokens_are_revoked_by_id_and_by_hint(ann: User) -> None:
    tokens = [PersonalToken.objects.issue(ann)[0] for _ in range(3)]
    assert run("revoke", str(tokens[0].pk), tokens[1].hint)[0].splitlines() == [
        f"revoked {tokens[0].hint}",
        f"revoked {tokens[1].hint}",
    ]
    assert [item["state"] for item in listed()] == ["valid", "revoked", "revoked"]
    assert run("revoke", tokens[0].hint)[0] == f"{tokens[0].hint} was already revoked\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mcp_", "More than one token has a hint that starts with 'mcp_'"),
        ("", "More than one token has a hint that starts with ''"),
        ("nothing", "No token has a hint that starts with 'nothing'"),
        ("MCP_", "No token has a hint that starts with 'MCP_'"),
        ("0", "No token has the ID '0'"),
        ("9" * 5000, "No token has a hint that starts with"),
    ],
)
def test_unclear_name_revokes_nothing(name: str, message: str, ann: User) -> None:
    tokens = [PersonalToken.objects.issue(ann)[0] for _ in range(2)]
    with pytest.raises(CommandError, match=message):
        run("revoke", str(tokens[0].pk), name)
    assert [item["state"] for item in listed()] == ["valid", "valid"]


@pytest.mark.parametrize("args", [[], ["dance"], ["revoke"]])
def test_incomplete_command_is_refused(args: list[str]) -> None:
    with pytest.raises(CommandError):
        run(*args)
