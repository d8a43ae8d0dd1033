"""The record of events in the admin, which only shows and deletes it."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from mcp_transport.contrib.audit.models import AuditEntry
from mcp_transport.domain.audit_events import AccessDenied, SessionClosed, SessionOpened
from mcp_transport.domain.principal import Principal
from tests.auth.test_audit_entries import CALLED, DENIED, WHEN, called, stored

LIST = "/admin/mcp_audit/auditentry/"


def page(response: Any) -> str:
    assert response.status_code == 200, response
    text: str = response.content.decode()
    return text


def rows(response: Any) -> list[str]:
    """Return the names in the list's rows."""
    return re.findall(r'class="field-name">([^<]*)<', page(response))


@pytest.fixture
def admin_user(db: None) -> User:
    """A superuser without a password, which takes no time to hash."""
    return User.objects.create_user("admin", is_staff=True, is_superuser=True)


@pytest.fixture
def entry(db: None) -> AuditEntry:
    return stored(CALLED)


@pytest.fixture
def staff(db: None, client: Client) -> Any:
    """Return a client of a member of staff who has the permissions that are named."""

    def log_in(*codenames: str) -> Client:
        user = User.objects.create_user("staff", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client.force_login(user)
        return client

    return log_in


def test_list_shows_who_did_what(admin_client: Client, entry: AuditEntry) -> None:
    stored(DENIED)
    text = page(admin_client.get(LIST))
    for query_text in ("ann", "restock", "error", "k3v5qzt2ab", "192.0.2.1", "tool called", "access denied"):
        assert query_text in text
    assert rows(admin_client.get(LIST)) == ["delete", "restock"]


def test_list_is_searched_and_filtered(admin_client: Client, entry: AuditEntry) -> None:
    stored(DENIED)
    stored(called(principal=Principal("badges", "subject-of-bob", name="joann"), tool="add"))
    searches = {"q=ann": 2, "q=subject-of-bob": 1, "q=k3v5qzt2ab": 1, "q=restock": 1, "q=nothing": 0}
    events = {"event__exact=tool_called": 2, "event__exact=session_closed": 0}
    outcomes = {"outcome__exact=error": 1, "outcome__exact=cancelled": 0}
    times = {"when__year=2025": 3, "when__year=2024": 0, "when__gte=2025-06-16+00:00:00%2B00:00": 0}
    for query, found in {**searches, **events, **outcomes, **times}.items():
        assert len(rows(admin_client.get(f"{LIST}?{query}"))) == found, query


def test_times_durations_and_sessions_are_readable(admin_client: Client, entry: AuditEntry) -> None:
    text = page(admin_client.get(LIST))
    assert re.search(r'<span class="nowrap">2025-06-15 \d\d:06:40 \w+</span>', text), "with seconds and the zone"
    assert '<td class="field-duration">0.123</td>' in text
    assert '<a class="nowrap" href="/admin/mcp_transport/session/k3v5qzt2ab/change/">k3v5qzt2ab</a>' in text
    assert "error: The function raised an exception (KeyError, -32603)" in text


def test_a_user_of_this_project_is_linked(admin_client: Client, db: None) -> None:
    stored(called(principal=Principal("django", "7", name="ann")))
    assert '<a href="/admin/auth/user/7/change/">ann</a>' in page(admin_client.get(LIST))


def test_outcomes_of_calls_and_of_sessions_have_a_filter_each(admin_client: Client, entry: AuditEntry) -> None:
    stored(SessionClosed(when=WHEN, principal=Principal(), session="aaaaaaaaaa", reason="limit"))
    stored(called())
    expected = {"call=error": 1, "closed=limit": 1, "closed=staff": 0, "kind__exact=exception": 1}
    expected["session__exact=aaaaaaaaaa"] = 1
    assert {query: len(rows(admin_client.get(f"{LIST}?{query}"))) for query in expected} == expected


def test_message_and_arguments_need_the_permission_for_payloads(
    staff: Any, entry: AuditEntry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = staff("view_auditentry")
    text = page(client.get(f"{LIST}{entry.pk}/change/"))
    assert "KeyError" in text
    assert "mug" not in text
    assert "viewed the payloads" not in caplog.text
    user = User.objects.get()
    user.user_permissions.add(Permission.objects.get(codename="view_mcp_payloads"))
    text = page(client.get(f"{LIST}{entry.pk}/change/"))
    assert "mug-blue" in text
    assert "no such mug" in text
    assert f"user {user.pk} viewed the payloads of audit entry {entry.pk}" in caplog.text


def test_list_needs_no_query_an_entry(
    admin_client: Client, entry: AuditEntry, django_assert_max_num_queries: Any
) -> None:
    for _ in range(20):
        stored(CALLED)
    with django_assert_max_num_queries(7):
        assert len(rows(admin_client.get(LIST))) == 21


def test_entry_is_shown_and_has_nothing_to_fill_in(admin_client: Client, entry: AuditEntry) -> None:
    text = page(admin_client.get(f"{LIST}{entry.pk}/change/"))
    assert "mug-blue" in text
    assert "https://auth.example.com" in text
    assert not re.findall(r'name="(?:_save\w*|_continue|user|event|arguments)"', text)


def test_not_even_a_superuser_adds_or_changes(admin_client: Client, entry: AuditEntry) -> None:
    before = AuditEntry.objects.values().get()
    sent = {"event": "tool_called", "user": "bob", "when_0": "2025-01-01", "when_1": "00:00:00"}
    assert admin_client.get(f"{LIST}add/").status_code == 403
    assert admin_client.post(f"{LIST}add/", sent).status_code == 403
    assert admin_client.post(f"{LIST}{entry.pk}/change/", sent).status_code == 403
    assert AuditEntry.objects.values().get() == before


def delete_selected(client: Client, entry: AuditEntry) -> None:
    client.post(LIST, {"action": "delete_selected", "_selected_action": [str(entry.pk)], "post": "yes"})


@pytest.mark.parametrize("permission", ["view", "add", "change"])
def test_whoever_may_not_delete_does_not(permission: str, staff: Any, entry: AuditEntry) -> None:
    client = staff("view_auditentry", f"{permission}_auditentry")
    assert rows(client.get(LIST)) == ["restock"]
    assert "delete_selected" not in page(client.get(LIST))
    delete_selected(client, entry)
    assert client.post(f"{LIST}{entry.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.post(f"{LIST}{entry.pk}/change/", {"user": "bob"}).status_code == 403
    assert client.get(f"{LIST}add/").status_code == 403
    assert AuditEntry.objects.count() == 1


def test_whoever_may_delete_does(staff: Any, entry: AuditEntry) -> None:
    client, other = staff("view_auditentry", "delete_auditentry"), stored(CALLED)
    assert "delete_selected" in page(client.get(LIST))
    delete_selected(client, entry)
    assert client.post(f"{LIST}{other.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not AuditEntry.objects.exists()


def test_what_clients_say_is_shown_escaped(admin_client: Client) -> None:
    script = "<script>alert(1)</script>"
    someone = Principal(issuer=script, subject=script, name=script)
    shown = [
        stored(called({script: script}, someone, script)),
        stored(SessionOpened(when=WHEN, principal=someone, session="k3v5qzt2ab", address=script, client=script)),
        stored(AccessDenied(when=WHEN, principal=someone, reason=script, operation=script, name=script)),
    ]
    urls = [LIST, f"{LIST}?q={script}"]
    for entry in shown:
        urls += [f"{LIST}{entry.pk}/{view}/" for view in ("change", "delete", "history")]
    for url in urls:
        text = page(admin_client.get(url))
        assert script not in text
        assert "&lt;script&gt;" in text, url
