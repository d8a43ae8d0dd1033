"""Personal access tokens in the admin: the secret is shown once, and nothing but the name can be changed."""

from __future__ import annotations

import hashlib
import logging
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from mcp_transport.contrib.tokens.models import PersonalToken

pytestmark = pytest.mark.django_db

LIST = "/admin/mcp_tokens/personaltoken/"
ADD = f"{LIST}add/"


def page(response: Any) -> str:
    assert response.status_code == 200, response
    text: str = response.content.decode()
    return text


def fields(response: Any) -> set[str]:
    field_names = re.findall(r'<(?:input|select|textarea|button)[^>]*\bname="(\w+)"', page(response))
    return set(field_names) - {"csrfmiddlewaretoken"}


def form(of: User, /, **values: str) -> dict[str, str]:
    return {"user": str(of.pk), "name": "laptop", "scopes": "a b", "expires_0": "", "expires_1": "", **values}


def issue(client: Client, user: User, **values: str) -> tuple[Any, str]:
    """Return the answer to the form, and the secret that it shows."""
    response = client.post(ADD, form(user, **values))
    [secret] = re.findall(r"mcp_[\w-]{43}", page(response))
    return response, secret


def test_issued_token_is_shown_and_works(admin_client: Client, ann: User) -> None:
    expected = {"user", "name", "scopes", "expires_0", "expires_1"}
    assert fields(admin_client.get(ADD)) == {*expected, "_save"}
    response, secret = issue(admin_client, ann, expires_0="2999-12-31", expires_1="12:00:00")
    token = PersonalToken.objects.get()
    assert token.digest == hashlib.sha256(secret.encode()).hexdigest()
    assert (token.user, token.name, token.scopes) == (ann, "laptop", "a b")
    assert token.expires is not None
    assert token.expires.year == 2999
    assert "Copy it now" in page(response)
    assert "no-store" in response["Cache-Control"]


def test_secret_is_shown_once_and_kept_nowhere(
    admin_client: Client, ann: User, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "django.template")  # which logs whole contexts then
    settings.MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
    response, secret = issue(admin_client, ann)
    assert "Location" not in response
    assert secret not in response.cookies.output()
    token = PersonalToken.objects.get()
    for url in (LIST, ADD, f"{LIST}{token.pk}/change/", f"{LIST}{token.pk}/history/", "/admin/"):
        text = page(admin_client.get(url))
        assert secret not in text
        assert token.digest not in text
    [entry] = LogEntry.objects.values()
    assert secret not in str(entry)
    assert not [session for session in Session.objects.all() if secret in str(session.get_decoded())]
    assert secret not in admin_client.cookies.output()
    assert any(record.name == "django.template" for record in caplog.records)
    assert not [record for record in caplog.records if secret in record.getMessage() + str(vars(record))]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"expires_0": "2020-01-01", "expires_1": "00:00:00"}, "Enter a time in the future."),
        ({"scopes": 'a b"c'}, "is not a valid scope"),
        ({"user": "999"}, "Select a valid choice"),
        ({"user": ""}, "This field is required."),
    ],
)
def test_wrong_form_issues_nothing(values: Any, message: str, admin_client: Client, ann: User) -> None:
    assert message in page(admin_client.post(ADD, form(ann, **values)))
    assert not PersonalToken.objects.exists()


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann")


@pytest.fixture
def token(ann: User) -> PersonalToken:
    return PersonalToken.objects.issue(ann, name="laptop", scopes="a", expires=timezone.now() - timedelta(days=1))[0]


def test_only_the_name_can_be_changed(admin_client: Client, admin_user: User, token: PersonalToken) -> None:
    url = f"{LIST}{token.pk}/change/"
    shown = fields(admin_client.get(url))
    assert {name for name in shown if not name.startswith("_")} == {"name"}
    # An expiry that has passed does not stand in the way of a new name.
    sent = {**form(admin_user, name="desktop", scopes="all"), "digest": "0", "hint": "0", "revoked": ""}
    assert admin_client.post(url, sent).status_code == 302
    before = PersonalToken.objects.filter(pk=token.pk).values().get()
    after = {name: value for name, value in vars(token).items() if name in before}
    assert before == {**after, "name": "desktop"}


def test_list_shows_states_in_few_queries(
    admin_client: Client, ann: User, token: PersonalToken, django_assert_max_num_queries: Any
) -> None:
    revoked, _ = PersonalToken.objects.issue(ann, name="phone")
    revoked.revoke()
    for name in "abcde":
        PersonalToken.objects.issue(ann, name=name)
    with django_assert_max_num_queries(6):
        shown = page(admin_client.get(LIST))
    assert re.findall(r'class="field-state">(\w+)<', shown) == ["valid"] * 5 + ["revoked", "expired"]


def test_list_can_be_searched_and_filtered(admin_client: Client, ann: User, token: PersonalToken) -> None:
    for state in ("valid", "valid", "revoked"):
        other, _ = PersonalToken.objects.issue(ann)
        if state == "revoked":
            other.revoke()
    searches = {"q=ann": 4, "q=laptop": 1, "q=bob": 0, f"q={token.hint}": 1}
    states = {"state=valid": 2, "state=revoked": 1, "state=expired": 1, "state=other": 4}
    for query, number in {**searches, **states}.items():
        assert page(admin_client.get(f"{LIST}?{query}")).count('class="field-state"') == number, query


def test_action_revokes_and_says_so_in_the_history(admin_client: Client, ann: User, token: PersonalToken) -> None:
    other, _ = PersonalToken.objects.issue(ann)
    action = {"action": "revoke", "_selected_action": [str(token.pk)]}
    assert "1 token was revoked." in page(admin_client.post(LIST, action, follow=True))
    token.refresh_from_db()
    other.refresh_from_db()
    first = token.revoked
    assert first is not None
    assert other.revoked is None
    assert "Changed revoked" in LogEntry.objects.get().get_change_message()
    # Once more, with another one: the first time stays.
    action["_selected_action"] = [str(token.pk), str(other.pk)]
    assert "1 token was revoked." in page(admin_client.post(LIST, action, follow=True))
    token.refresh_from_db()
    assert token.revoked == first


def test_button_on_its_page_revokes_a_token_once(
    admin_client: Client, admin_user: User, token: PersonalToken
) -> None:
    url = f"{LIST}{token.pk}/change/"
    assert "_revoke" in fields(admin_client.get(url))
    sent = {"name": "laptop", "_revoke": "Revoke"}
    assert "1 token was revoked." in page(admin_client.post(url, sent, follow=True))
    token.refresh_from_db()
    first = token.revoked
    assert first is not None
    assert "Changed revoked" in LogEntry.objects.get().get_change_message()
    assert "_revoke" not in fields(admin_client.get(url))
    admin_client.post(url, sent)  # from a page that was open before
    token.refresh_from_db()
    assert token.revoked == first


def test_token_can_be_deleted(admin_client: Client, token: PersonalToken) -> None:
    assert admin_client.post(f"{LIST}{token.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not PersonalToken.objects.exists()


@pytest.mark.parametrize(("codename", "may"), [("view", []), ("add", ["add"]), ("change", ["revoke"])])
def test_permissions_are_djangos(codename: str, may: list[str], client: Client, token: PersonalToken) -> None:
    staff = User.objects.create_user("staff", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename=f"{codename}_personaltoken"))
    client.force_login(staff)
    assert client.get(ADD).status_code == (200 if "add" in may else 403)
    client.post(LIST, {"action": "revoke", "_selected_action": [str(token.pk)]})
    token.refresh_from_db()
    assert (token.revoked is not None) == ("revoke" in may)


# -- for whom ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("permissions", "whose", "may"),
    [
        (["add_personaltoken"], "own", True),
        (["add_personaltoken"], "ann", False),
        (["add_personaltoken"], "root", False),
        (["add_personaltoken", "issue_for_others"], "ann", True),
        (["add_personaltoken", "issue_for_others"], "root", False),
        (["issue_for_others"], "own", False),
    ],
)
def test_staff_issue_tokens_for_those_they_may_act_for(
    client: Client, ann: User, permissions: list[str], whose: str, may: bool
) -> None:
    staff = User.objects.create_user("staff", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    people = {"own": staff, "ann": ann, "root": User.objects.create_superuser("root")}
    client.force_login(staff)
    client.post(ADD, form(people[whose]))
    assert PersonalToken.objects.filter(user=people[whose]).exists() == may


def test_superuser_issues_for_anybody(admin_client: Client) -> None:
    _, secret = issue(admin_client, User.objects.create_superuser("root"))
    assert PersonalToken.objects.find(secret) is not None
