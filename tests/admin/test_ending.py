"""Sessions are ended from the list: those that are selected, or all that match."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from mcp_transport.admin import list_pages
from mcp_transport.domain.session_query import SessionQuery
from tests.admin.backends import Crowd
from tests.support.visits import LIST, Visitor, messages, page, status_of_ping

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

Open = Callable[..., Visitor]


@pytest.fixture
def crowd(settings: Any) -> Iterator[type[Crowd]]:
    settings.MCP_TRANSPORT = {"BACKEND": "tests.admin.backends.Crowd"}
    yield Crowd
    Crowd.exact = True


def test_selected_sessions_are_ended_when_that_is_confirmed(
    admin_client: Client, shared_cache: None, open_session: Open
) -> None:
    first, second, third = (open_session("desk", name) for name in ("ann", "bob", "eve"))
    place = f"{LIST}end/?client=desk+1"
    assert f'action="{place}"' in page(admin_client.get(f"{LIST}?client=desk+1"))
    text = page(admin_client.post(place, {"_selected_action": [first.key, second.key]}))
    assert "end these 2 sessions" in text
    assert re.findall(r'name="selected" value="([\w ]+)"', text) == [f"{first.key} {second.key}"]
    assert f'href="{LIST}?client=desk+1" class="button cancel-link"' in text
    assert [name in text for name in ("ann", "bob", "eve")] == [True, True, False]
    assert [status_of_ping(visitor) for visitor in (first, second, third)] == [200, 200, 200]
    confirmed = {"selected": f"{first.key} {second.key}", "post": "yes"}
    response = admin_client.post(place, confirmed, follow=True)
    assert response.redirect_chain == [(f"{LIST}?client=desk+1", 302)]
    assert messages(response) == ["2 sessions were ended."]
    assert [status_of_ping(visitor) for visitor in (first, second, third)] == [404, 404, 200]


def test_session_that_is_over_is_not_ended_again(
    admin_client: Client, shared_cache: None, open_session: Open
) -> None:
    visitor = open_session()
    chosen = {"_selected_action": [visitor.key, visitor.key, "A" * 26, "nonsense\r\n", ""], "post": "yes"}
    said = messages(admin_client.post(f"{LIST}end/", chosen, follow=True))
    assert said == ["1 session was ended.", "1 had already ended."]
    assert messages(admin_client.post(f"{LIST}end/", chosen, follow=True)) == ["2 had already ended."]


def test_nothing_to_end_is_said(admin_client: Client, shared_cache: None) -> None:
    for chosen in ([], ["A" * 26], ["../../etc"]):
        response = admin_client.post(f"{LIST}end/", {"_selected_action": chosen}, follow=True)
        assert messages(response) == ["No session was selected that could be ended."]


def test_all_that_match_are_ended(admin_client: Client, shared_cache: None, open_session: Open) -> None:
    desks = [open_session("desk", name) for name in ("ann", "bob")]
    phone = open_session("phone", "eve")
    place = f"{LIST}end/?client=desk+1"
    text = page(admin_client.post(place, {"select_across": "1", "_selected_action": [desks[0].key]}))
    assert "end these 2 sessions" in text
    [selected] = re.findall(r'name="selected" value="([\w ]+)"', text)
    assert set(selected.split()) == {desk.key for desk in desks}
    late = open_session("desk", "late")
    response = admin_client.post(place, {"selected": selected, "post": "yes"}, follow=True)
    assert messages(response) == ["2 sessions were ended."]
    assert [status_of_ping(visitor) for visitor in (*desks, phone, late)] == [404, 404, 200, 200]
    assert LogEntry.objects.count() == 2


def test_no_more_are_ended_at_once_than_is_said(
    admin_client: Client, crowd: type[Crowd], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = page(admin_client.get(f"{LIST}?user=ann"))
    assert "Select all 250 sessions" in text
    monkeypatch.setattr(list_pages, "MAX_ENDED", 150)
    assert "Select the first 150 of 250 sessions" in page(admin_client.get(LIST))
    crowd.exact = False
    text = page(admin_client.post(f"{LIST}end/", {"select_across": "1"}))
    assert crowd.asked == (0, 150, SessionQuery(), "-last_seen")
    for said in ("end these 150 sessions", "and 50 more", "100 more sessions match, and are not ended."):
        assert said in text


def test_one_page_offers_nothing_to_select_across(
    admin_client: Client, shared_cache: None, open_session: Open
) -> None:
    open_session()
    text = page(admin_client.get(LIST))
    assert "select_across" not in text
    assert "End selected sessions" in text


def test_who_asks_is_led_back_to_the_page_of_the_session(
    admin_client: Client, shared_cache: None, open_session: Open
) -> None:
    visitor = open_session()
    text = page(admin_client.get(visitor.url("delete")))
    assert f'href="{visitor.url()}" class="button cancel-link"' in text
