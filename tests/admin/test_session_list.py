"""The list of sessions: searched, filtered, page by page, and what it says where there is none."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from mcp_transport import bootstrap
from mcp_transport.backends.records import NodeRecord
from mcp_transport.domain.metrics import TrafficSummary
from mcp_transport.domain.session import session_key
from mcp_transport.domain.session_query import SessionQuery
from mcp_transport.domain.traffic_history import FailedCall
from mcp_transport.operators import service
from tests.admin.backends import Crowd
from tests.support.canaries import leaks
from tests.support.listeners import BADGE, SECRET, AnnsClient
from tests.support.visits import LIST, Visitor, ids, page

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

Open = Callable[..., Visitor]
HOSTILE = "<script>alert('x')</script>\"'&"


@pytest.fixture
def three(shared_cache: None, open_session: Open) -> list[str]:
    """Three sessions; return their short ids, newest first."""
    visitors = [
        open_session("desk", "ann"),
        open_session("desk", "bob", version="2025-06-18"),
        open_session("phone", "ann"),
    ]
    return [visitor.short_id for visitor in reversed(visitors)]


def cells(text: str, name: str) -> list[str]:
    """Return the linked texts of a column."""
    return re.findall(rf'field-{name}[^"]*"><a href="[^"]+"><bdi>(.*?)<', text)


def choices(text: str, title: str) -> dict[str, str]:
    """Return the values of a filter, with what it says of each."""
    [found] = re.findall(rf'<details data-filter-title="{title}".*?</details>', text, re.S)
    return dict(re.findall(r'<a href="[^"]*"[^>]*><bdi>(.*?)</bdi>(?: <span class="mcp-count">\((\d+)\))?', found))


def test_sessions_are_listed_newest_first(admin_client: Client, three: list[str]) -> None:
    text = page(response := admin_client.get(LIST))
    assert ids(response) == three
    assert cells(text, "client") == ["phone 1", "desk 1", "desk 1"]
    assert cells(text, "user") == ["ann", "bob", "ann"]
    assert cells(text, "protocol") == ["2025-11-25", "2025-06-18", "2025-11-25"]
    assert text.count("<time datetime=") == 6
    assert "1 to 3 of 3" in text
    assert "Each server process" not in text, "they are shared"
    assert ids(admin_client.get(f"{LIST}?q={three[1][:6].upper()}")) == [three[1]]
    assert 'rel="next"' not in text
    assert 'rel="prev"' not in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("user=ann", [0, 2]),
        ("user=an", []),
        ("client=desk+1", [1, 2]),
        ("client=desk+1&user=ann", [2]),
        ("protocol_version=2025-06-18", [1]),
        ("node=nowhere", []),
        ("q=ANN", [0, 2]),
        ("q=phon", [0]),
        ("q=esk", [1, 2]),
        ("user__isempty=1", []),
        ("user__isempty=0", [0, 1, 2]),
        ("q=127.", [0, 1, 2]),
        ("q=nobody", []),
        ("q=%00&user=%00&node=", [0, 1, 2]),
        ("unknown=x&p=7&offset=x", [0, 1, 2]),
        ("offset=1", [1, 2]),
        ("offset=-1", [0, 1, 2]),
        ("offset=99999999999999999999999", [0, 1, 2]),
        ("offset=7", []),
    ],
)
def test_sessions_are_found(query: str, found: list[int], admin_client: Client, three: list[str]) -> None:
    response = admin_client.get(f"{LIST}?{query}")
    assert ids(response) == [three[at] for at in found]
    assert ("No session matches the search and the filters." in page(response)) == (not found)


def test_filters_offer_all_values_with_the_number_of_sessions(
    admin_client: Client, three: list[str], open_session: Open
) -> None:
    open_session("<b>", "")
    for query in ("", "?client=phone+1"):
        text = page(admin_client.get(LIST + query))
        assert choices(text, "user") == {"All": "", "ann": "2", "anonymous": "1", "bob": "1"}
        assert choices(text, "client") == {"All": "", "desk 1": "2", "&lt;b&gt; 1": "1", "phone 1": "1"}
        assert choices(text, "protocol") == {"All": "", "2025-11-25": "3", "2025-06-18": "1"}
        assert choices(text, "state")["active"] == "4"
        assert choices(text, "age")["opened within the last hour"] == "4"
    text = page(response := admin_client.get(f"{LIST}?user__isempty=1"))
    assert len(ids(response)) == 1
    assert '<li class="selected"><a href="?user__isempty=1" aria-current="true"><bdi>anonymous</bdi>' in text
    text = page(admin_client.get(f"{LIST}?user=eve&q=x"))
    assert "eve" in choices(text, "user"), "what is chosen is shown though nobody has it"
    assert 'name="q" value="x"' in text
    assert "Clear all filters" in text


def test_filter_offers_living_nodes_and_says_which_are_gone(
    admin_client: Client, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nodes() -> tuple[NodeRecord, ...]:
        return (NodeRecord("idle-node", "host", 1),)

    assert not [label for label in choices(page(admin_client.get(LIST)), "node") if "gone" in label]
    monkeypatch.setattr(service, "nodes", nodes)
    text = page(admin_client.get(LIST))
    live, *gone = [label for label in choices(text, "node") if label != "All"]
    assert live == "host:1 · idle-node"
    assert gone
    assert all(label.endswith(" (gone)") for label in gone)


def test_cells_lead_to_lists_with_more_filters(admin_client: Client, three: list[str]) -> None:
    text = page(admin_client.get(f"{LIST}?user=ann&o=-errors"))
    links = re.findall(r'field-client"><a href="([^"]+)"', text)
    assert [html.unescape(link) for link in links] == [
        "?user=ann&client=phone+1&o=-errors",
        "?user=ann&client=desk+1&o=-errors",
    ]
    assert len(ids(admin_client.get(LIST + html.unescape(links[0])))) == 1


def test_sessions_with_failed_calls_are_listed(
    admin_client: Client, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = re.findall(r'name="_selected_action" value="(\w+)"', page(admin_client.get(LIST)))[1]
    failures = (FailedCall("tools/call buy", key, 7.0), FailedCall("tools/call sell", "A" * 26, 7.0))

    async def traffic() -> TrafficSummary:
        return TrafficSummary(failures=failures)

    monkeypatch.setattr(service, "traffic", traffic)
    text = page(response := admin_client.get(f"{LIST}?failed=tools/call+buy"))
    assert ids(response) == [three[1]]
    assert choices(text, "recent failures") == {"All": "", "tools/call buy": ""}
    assert ids(admin_client.get(f"{LIST}?failed=tools/call+rent")) == []
    assert 'data-filter-title="recent failures"' not in page(admin_client.get(LIST))


def test_empty_list_says_how_to_connect(admin_client: Client, shared_cache: None, settings: Any) -> None:
    text = page(admin_client.get(LIST))
    assert "No client has a session now." in text
    assert "claude mcp add --transport http my-server http://testserver/mcp" in text
    assert "No session matches" not in text
    settings.MCP_TRANSPORT = {"RESOURCE_URL": "https://shop.example/api/mcp"}
    assert "my-server https://shop.example/api/mcp" in page(admin_client.get(LIST))


# -- page by page ------------------------------------------------------------------------------------------


@pytest.fixture
def crowd(settings: Any) -> Iterator[type[Crowd]]:
    settings.MCP_TRANSPORT = {"BACKEND": "tests.admin.backends.Crowd"}
    yield Crowd
    Crowd.exact = True


def links(text: str) -> dict[str, str]:
    return {name: place for place, name in re.findall(r'<a href="(\?[^"]*)" rel="(prev|next)"', text)}


@pytest.mark.parametrize(
    ("query", "offset", "found"),
    [
        ("", 0, {"next": "?user=ann&amp;offset=100"}),
        ("&offset=100", 100, {"prev": "?user=ann", "next": "?user=ann&amp;offset=200"}),
        ("&offset=200", 200, {"prev": "?user=ann&amp;offset=100"}),
        ("&offset=30", 30, {"prev": "?user=ann", "next": "?user=ann&amp;offset=130"}),
    ],
)
def test_pages_lead_to_each_other_and_keep_the_filter(
    query: str, offset: int, found: dict[str, str], admin_client: Client, crowd: type[Crowd]
) -> None:
    text = page(admin_client.get(f"{LIST}?user=ann{query}"))
    assert crowd.asked == (offset, 100, SessionQuery(user="ann"), "-last_seen")
    assert links(text) == found
    assert f"{offset + 1} to {min(offset + 100, 250)} of 250" in text


def test_number_that_is_not_exact_is_about_right(admin_client: Client, crowd: type[Crowd]) -> None:
    crowd.exact = False
    text = page(admin_client.get(LIST))
    assert "1 to 100 of about 250" in text
    assert "next" in links(text)
    assert "next" not in links(page(admin_client.get(f"{LIST}?offset=200")))


def test_no_session_costs_a_query_of_the_database(
    admin_client: Client, shared_cache: None, open_session: Open, settings: Any
) -> None:
    open_session()
    admin_client.get(LIST)
    counts = []
    for opened in (0, 5):
        for _ in range(opened):
            open_session()
        with CaptureQueriesContext(connection) as queries:
            assert len(ids(admin_client.get(LIST))) == opened + 1
        counts.append(len(queries))
        assert not [query for query in queries if "mcp_transport" in query["sql"]]
    assert counts[0] == counts[1] <= 3


# -- what clients call themselves --------------------------------------------------------------------------


def test_names_are_text(admin_client: Client, shared_cache: None, open_session: Open) -> None:
    visitor = open_session(HOSTILE, HOSTILE, agent=HOSTILE)
    places = [LIST, f"{LIST}?q=%3Cscript", visitor.url(), visitor.url("delete")]
    for text in [page(admin_client.get(place)) for place in places]:
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&quot;&#x27;&amp;" in text


def test_what_is_asked_for_is_text(admin_client: Client, shared_cache: None) -> None:
    for name in ("q", "user", "client", "node", "protocol_version"):
        assert "<script>alert" not in page(admin_client.get(LIST, {name: HOSTILE, "offset": "5"})), name


def test_pages_hold_no_secret(admin_client: Client, shared_cache: None, open_session: Open) -> None:
    visitor = open_session("desk", "ann")
    places = [LIST, visitor.url(), visitor.url("delete"), visitor.url("history")]
    for response in [admin_client.get(place) for place in places]:
        assert visitor.session_id not in page(response)
        text = re.sub(r'name="csrfmiddlewaretoken" value="\w+"|data-cursor="[^"]+"', "", page(response))
        assert not leaks(text)


def test_pages_hold_no_credentials(admin_client: Client, shared_cache: None, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"AUTHENTICATORS": [BADGE]}

    @async_to_sync
    async def opened() -> AnnsClient:
        client = AnnsClient(bootstrap.endpoint())
        await client.open()
        await client.endpoint.pool.stop()
        return client

    client = opened()
    key = session_key(client.session_id)
    for place in (LIST, f"{LIST}{key}/change/", f"{LIST}{key}/delete/"):
        text = page(admin_client.get(place))
        assert client.short_id in text
        assert "ann" in text
        assert SECRET not in text
        assert client.session_id not in text


# -- other backends ----------------------------------------------------------------------------------------


def test_backend_that_cannot_list_says_so(admin_client: Client, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": "tests.admin.backends.unlisted"}
    text = page(admin_client.get(LIST))
    assert "cannot list sessions" in text
    assert "<form" not in text.partition('id="content-main"')[2]


def test_sessions_of_this_process_alone_are_said_to_be_so(admin_client: Client, open_session: Open) -> None:
    visitor = open_session()
    assert not bootstrap.endpoint().backend.shares_sessions
    for place in (LIST, visitor.url()):
        assert "Each server process keeps its own sessions" in page(admin_client.get(place))


def test_store_that_does_not_answer_is_a_readable_page(admin_client: Client, settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "tests.support.broken_cache.BrokenCache"}}
    one = f"{LIST}{'A' * 26}"
    answers = [admin_client.get(place) for place in (LIST, f"{one}/change/", f"{one}/delete/")]
    answers.append(admin_client.post(f"{one}/cancel/", {"request": "1"}))
    answers.append(admin_client.post(f"{LIST}end/", {"_selected_action": "A" * 26, "post": "yes"}))
    for text in (page(answer, 503) for answer in answers):
        assert "The session store does not answer" in text
        assert "cache &#x27;default&#x27; did not answer" in text
        assert "Traceback" not in text


@pytest.mark.parametrize(
    ("changes", "written"),
    [
        ({"LANGUAGE_CODE": "de", "TIME_ZONE": "UTC"}, "01.01.1970 00:00"),
        ({"TIME_ZONE": "Asia/Tokyo", "USE_TZ": True}, "01/01/1970 9 a.m."),
        ({"TIME_ZONE": "Asia/Tokyo", "USE_TZ": False}, "01/01/1970 9 a.m."),
    ],
)
def test_times_are_written_in_the_projects_language_and_zone(
    changes: dict[str, Any], written: str, admin_client: Client, settings: Any, crowd: type[Crowd]
) -> None:
    for name, value in changes.items():
        setattr(settings, name, value)
    assert written in page(admin_client.get(LIST))
