"""The order of the list and its filters for state and age: all in the address, where each survives the others."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client, RequestFactory

from mcp_transport.admin.list_query import ListQuery
from mcp_transport.domain.session_query import SessionQuery
from tests.admin.backends import Crowd
from tests.support.visits import LIST, page

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

NOW = 1_800_000_000.0
EVERYTHING_ASKED = "q=x&state=idle&age=day&user=ann&client=desk+1&protocol_version=2025-11-25&node=n&o=-created"


@pytest.fixture
def crowd(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Crowd]]:
    settings.MCP_TRANSPORT = {"BACKEND": "tests.admin.backends.Crowd"}
    monkeypatch.setattr(time, "time", lambda: NOW)
    yield Crowd


def chosen(text: str) -> list[str]:
    """Return what the filters are set to, but for "All"."""
    found = re.findall(r'<li class="selected"><a href="[^"]*" aria-current="true"><bdi>(.*?)</bdi>', text)
    return [label for label in found if label != "All"]


def heads(text: str) -> dict[str, tuple[str, str]]:
    """Return the link and the order of each column that can be ordered by."""
    found = re.findall(
        r'<th scope="col" class="sortable column-(\w+)[^"]*"(?: aria-sort="(\w+)")?><div class="text">'
        r'<a href="([^"]*)">',
        text,
    )
    return {name: (html.unescape(link), order) for name, order, link in found}


def test_usual_order_is_last_seen_first(admin_client: Client, crowd: type[Crowd]) -> None:
    assert heads(page(admin_client.get(LIST))) == {
        "created": ("?o=-created", ""),
        "last_seen": ("?o=last_seen", "descending"),
        "requests": ("?o=-requests", ""),
        "errors": ("?o=-errors", ""),
    }
    assert crowd.asked == (0, 100, SessionQuery(), "-last_seen")


def test_link_of_the_order_turns_it_around(admin_client: Client, crowd: type[Crowd]) -> None:
    for name in ("created", "last_seen", "requests", "errors"):
        there, order = heads(page(admin_client.get(f"{LIST}?o={name}")))[name]
        assert (crowd.asked[3], order) == (name, "ascending")
        assert heads(page(admin_client.get(LIST + there)))[name] == (f"?o={name}", "descending")
        assert crowd.asked[3] == f"-{name}"


def test_unknown_order_is_the_usual_one(admin_client: Client, crowd: type[Crowd]) -> None:
    for order in ("key", "-", "--created", "created,errors", "1", "<script>"):
        assert '<script>"' not in page(admin_client.get(LIST, {"o": order}))
        assert crowd.asked[3] == "-last_seen"


@pytest.mark.parametrize(
    ("age", "bounds"),
    [
        ("hour", {"created_after": NOW - 3600}),
        ("day", {"created_after": NOW - 86400}),
        ("over-day", {"created_before": NOW - 86400}),
        ("over-week", {"created_before": NOW - 7 * 86400}),
        ("century", {}),
    ],
)
def test_age_is_asked_for(age: str, bounds: dict[str, Any], admin_client: Client, crowd: type[Crowd]) -> None:
    text = page(admin_client.get(f"{LIST}?age={age}"))
    assert crowd.asked[2] == SessionQuery(**bounds)
    assert bool(chosen(text)) == bool(bounds)


def test_state_is_asked_for(admin_client: Client, crowd: type[Crowd]) -> None:
    for state in ("busy", "opening", "active", "idle"):
        text = page(admin_client.get(f"{LIST}?state={state}"))
        assert crowd.asked[2] == SessionQuery(state=state)
        assert chosen(text) == [state]
        assert "Clear all filters" in text
    assert "Clear all filters" not in page(admin_client.get(f"{LIST}?state=dead"))
    assert crowd.asked[2] == SessionQuery()


def test_columns_say_what_goes_on(admin_client: Client, crowd: type[Crowd]) -> None:
    text = page(admin_client.get(LIST))
    cells = r'field-(?:errors|streams|calls|state)[^"]*"><bdi(?: class="mcp-badge \w+")?>(.*?)<'
    assert re.findall(cells, text)[:8] == [*("opening", "5", "0", "3"), *("busy", "5", "1", "3")]


def test_everything_survives_everything(admin_client: Client, crowd: type[Crowd]) -> None:
    text = page(admin_client.get(f"{LIST}?{EVERYTHING_ASKED}&offset=100"))
    asked = dict(pair.split("=") for pair in EVERYTHING_ASKED.split("&"))
    pages = dict(re.findall(r'<a href="([^"]*)" rel="(prev|next)"', text))
    places = [html.unescape(place).removeprefix("?") for place in pages]
    told = [dict(pair.split("=") for pair in place.split("&")) for place in places]
    assert told == [asked, {**asked, "offset": "200"}]
    link = dict(pair.split("=") for pair in heads(text)["errors"][0].removeprefix("?").split("&"))
    assert link == {**asked, "o": "-errors"}  # the first page again
    assert '<input type="hidden" name="o" value="-created">' in text
    assert '<a href="?o=-created">&#10006; Clear all filters</a>' in text
    for name in asked:
        if name not in ("q", "o"):
            assert f'<input type="hidden" name="{name}" value=' in text
    assert chosen(text) == ["idle", "opened within the last day", "ann", "desk 1", "2025-11-25", "n"]


def test_address_means_what_was_asked(rf: RequestFactory) -> None:
    asked = ListQuery.of(rf.get(f"/?{EVERYTHING_ASKED}&offset=7"))
    assert ListQuery.of(rf.get("/" + asked.link)) == asked


def test_order_survives_the_end_of_a_session(admin_client: Client, crowd: type[Crowd]) -> None:
    text = page(admin_client.get(f"{LIST}?o=-errors&state=idle"))
    [place] = re.findall(r'<form id="changelist-form" method="post" action="([^"]+)"', text)
    response = admin_client.post(html.unescape(place), {"_selected_action": "A" * 26, "post": "yes"})
    assert response["Location"] == f"{LIST}?state=idle&o=-errors"
