"""The dashboard: all sessions, calls and nodes summed up, and what it says where they cannot be seen."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from mcp_transport import bootstrap
from mcp_transport.admin.dashboard import Dashboard
from mcp_transport.admin.dashboard_options import DashboardOptions
from mcp_transport.backends.listing import MAX_COMMON_VALUES
from mcp_transport.backends.records import NodeRecord, Overview
from mcp_transport.domain.circuit_breaker import BreakerRecord, BreakerState, CircuitBreaker
from mcp_transport.domain.metrics import Histogram, Interval, Load, ProcessMetrics, aggregate
from mcp_transport.domain.node_messages import CircuitOpened
from mcp_transport.domain.traffic_history import FailedCall, Sample
from mcp_transport.operators import service
from tests.support.visits import LIST, Visitor, page

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

DASHBOARD = f"{LIST}dashboard/"
HOSTILE = "<script>alert(1)</script>"


def tally(*seconds: float, errors: int = 0) -> Histogram:
    found = Histogram()
    for at, each in enumerate(seconds):
        found.add(each, failed=at < errors)
    return found


OVERVIEW = Overview(
    total=1234,
    values={
        "client": ((f"{HOSTILE} 1", 7), ("", 1)),
        "user": (("ann", 8), ("", 5)),
        "protocol_version": (("2025-11-25", 8),),
        "node": (("n2", 8), ("n1", 3)),
    },
    opened=3,
    mean_duration=75.9,
    median_duration=3600,
    sampled=1000,
    memory=3 * 1024 * 1024,
    memory_limit=8 * 1024 * 1024,
)
NUMBERS = ProcessMetrics(
    intervals=(Interval(tally(0.1, 0.1), 2), Interval(tally(0.1, errors=1), 4)),
    operations={
        "ping": tally(0.001, 0.001, 0.001),
        "tools/call small": tally(0.1),
        f"tools/call {HOSTILE}": tally(0.1, 0.1, 0.1, errors=2),
    },
    versions={"2025-11-25": 6, "2026-07-28": 1},
    refused={"404": 5, "418": 2, "room": 1, "TOOL_THREADS": 3},
    waits=tally(0.02, 2.0),
    load=Load(running=40, waiting=7, threads=32, lost_threads=2),
    history={"1h": (Sample(60, 6, 0.2, 3), Sample(120, 0, 0.1, 4))},
    failures=(FailedCall(f"tools/call {HOSTILE}", "K" * 26, 7.2), FailedCall("tools/call small", "L" * 26, 3.0)),
    breakers=(BreakerRecord(tool=HOSTILE, state=BreakerState.OPEN, since=1.0, until=11.0),),
)
NODES = (
    NodeRecord(HOSTILE, "host-1", 4711, calls=3, draining=True, age=1.25, load=NUMBERS.load),
    NodeRecord("n2", "host-2", 12),
)


def known(overview: Overview | None = OVERVIEW, **options: Any) -> Dashboard:
    traffic = aggregate([NUMBERS, NUMBERS])
    return Dashboard(overview=overview, traffic=traffic, nodes=NODES, options=DashboardOptions(**options))


def rows(dashboard: Dashboard) -> dict[str, list[list[str]]]:
    """Return the texts of all tables."""
    found = {grid.name: [[cell.text for cell in row] for row in grid.rows] for grid in dashboard.grids()}
    return {**found, "breakers": dashboard.breakers().rows}


def links(dashboard: Dashboard, name: str) -> dict[str, str]:
    """Return the links in a table, by their text."""
    [grid] = [grid for grid in dashboard.grids() if grid.name == name]
    return {cell.text: cell.link for row in grid.rows for cell in row if cell.link}


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have much to show."""

    def answer(value: Any) -> Callable[[], Any]:
        async def answered() -> Any:
            return value

        return answered

    monkeypatch.setattr(service, "overview", answer(OVERVIEW))
    monkeypatch.setattr(service, "traffic", answer(aggregate([NUMBERS, NUMBERS])))
    monkeypatch.setattr(service, "nodes", answer(NODES))


def test_sessions_are_summed_up() -> None:
    facts = dict(rows(known())["summary"])
    assert facts["Sessions"] == "1234"
    assert facts["New sessions within a minute"] == "3"
    assert facts["Average session age"] == "0:01:15 (of 1000 sessions)"
    assert facts["Median session age"] == "1:00:00 (of 1000 sessions)"
    assert facts["Redis memory"].replace("\xa0", " ") == "3.0 MB of 8.0 MB"
    assert rows(known())["by-clients"] == [[f"{HOSTILE} 1", "7"], ["-", "1"]]
    assert rows(known())["by-users"] == [["ann", "8"], ["anonymous", "5"]]
    assert rows(known())["revisions"] == [["2025-11-25", "8", "12", "1.20"], ["2026-07-28", "0", "2", "0.20"]]
    assert links(known(), "by-users") == {"ann": "../?user=ann", "anonymous": "../?user__isempty=1"}
    assert links(known(), "revisions") == {"2025-11-25": "../?protocol_version=2025-11-25"}


def test_memory_without_a_limit_is_a_size_and_unknown_memory_is_left_out() -> None:
    assert dict(rows(known(Overview(memory=1024)))["summary"])["Redis memory"] == "1.0\xa0KB"
    assert "Redis memory" not in dict(rows(known(Overview()))["summary"])


def test_calls_are_counted_and_timed_those_of_tools_first() -> None:
    facts = dict(rows(known())["summary"])
    assert facts["Calls per second"] == "1.40"  # 14 calls within 10 seconds
    assert facts["Error rate"] == "28.6 %"
    assert facts["Sampled from"] == "2 processes, over 10 seconds"
    operations = rows(known())["operations"]
    assert [row[0] for row in operations] == [f"tools/call {HOSTILE}", "tools/call small", "ping"]
    name, calls, rate, errors, share, *latencies = operations[0]
    assert (name, calls, rate, errors, share) == (f"tools/call {HOSTILE}", "6", "0.60", "4", "66.7 %")
    assert all(90 <= float(latency.removesuffix(" ms")) <= 120 for latency in latencies)
    assert len(latencies) == 3, "p50, p95 and the longest"


def test_failed_calls_lead_to_their_sessions_and_to_the_audit_log() -> None:
    failed = f"../?{urlencode({'failed': f'tools/call {HOSTILE}'})}"
    assert links(known(), "operations") == {"4": failed}
    assert links(known(), "failures") == {
        "tools/call small": "../?failed=tools%2Fcall+small",
        "llllllllll": f"../{'L' * 26}/change/",
        f"tools/call {HOSTILE}": failed,
        "kkkkkkkkkk": f"../{'K' * 26}/change/",
    }
    audit = links(known(may_see_audit=True), "operations")
    name = urlencode({"event__exact": "tool_called", "name": HOSTILE})
    assert audit["failed calls"] == f"../../../mcp_audit/auditentry/?{name}&outcome__exact=error"
    assert audit["calls"].endswith("?event__exact=tool_called&name=small")
    unlisted = known(None)
    assert links(unlisted, "operations") == {}
    assert set(links(unlisted, "failures")) == {"llllllllll", "kkkkkkkkkk"}


def test_refusals_are_explained_as_far_as_they_are_known() -> None:
    assert rows(known())["refused"] == [
        ["404: no such session", "10"],
        ["418: i'm a teapot", "4"],
        ["Load: no thread is free (TOOL_THREADS)", "6"],
        ["Evicted: session limit reached", "2"],
    ]


def test_load_is_that_of_all_processes_at_the_moment_and_waits_are_those_of_the_last_minutes() -> None:
    facts = dict(rows(known())["summary"])
    shown = ("Requests running", "Calls waiting", "Threads in use", "Threads lost", "Calls that waited")
    assert [facts[name] for name in shown] == ["80", "14", "64", "4", "4"]
    assert 1900 <= float(facts["p95 wait"].removesuffix(" ms")) <= 2400
    calm = dict(rows(Dashboard(overview=None, traffic=aggregate([]), nodes=()))["summary"])
    assert (calm["Calls that waited"], calm["p95 wait"]) == ("0", "-")


def test_nodes_are_shown_with_their_lease() -> None:
    assert rows(known())["nodes"] == [
        [f"host-1:4711 · {HOSTILE}", "draining", "0", "3", "7", "32", "2", "1.2 s ago"],
        ["host-2:12 · n2", "live", "8", "0", "0", "0", "0", "0.0 s ago"],
        ["n1", "gone", "3", *["-"] * 5],
    ]
    assert links(known(), "nodes") == {"8": "../?node=n2", "3": "../?node=n1"}
    assert links(known(may_drain=True), "nodes")["Drain"] == "drain/?node=n2"
    assert [row[0] for row in rows(known(None))["nodes"]] == [f"host-1:4711 · {HOSTILE}", "host-2:12 · n2"]
    many = tuple((f"x{number}", 9) for number in range(MAX_COMMON_VALUES))
    busy = rows(known(replace(OVERVIEW, values={"node": many})))["nodes"]
    assert [row[2] for row in busy[:3]] == ["-", "-", "9"], "only the nodes with most sessions are counted"


def test_circuit_breakers_are_listed_until_they_are_closed() -> None:
    times = ["1970-01-01T00:00:01+00:00", "1970-01-01T00:00:11+00:00"]
    assert rows(known())["breakers"] == [[HOSTILE, "open", *times, "2"]]


@pytest.mark.parametrize(("permissions", "buttons"), [(["view"], 0), (["view", "delete"], 2)], ids=str)
def test_who_may_end_sessions_may_reset_a_circuit_breaker(
    permissions: list[str], buttons: int, log_in: Callable[..., Client], busy: None
) -> None:
    client, reset = log_in(*permissions), f"{DASHBOARD}reset/"
    assert page(client.get(DASHBOARD)).count('name="tool"') == buttons  # one for the row, one for new rows
    breakers = bootstrap.endpoint().breakers
    breakers.receive(CircuitOpened("look", 60.0), CircuitBreaker())
    assert client.get(reset).status_code == (405 if buttons else 403)
    response = client.post(reset, {"tool": "look"})
    assert response.status_code == (302 if buttons else 403)
    assert bool(breakers.records()) == (not buttons)
    if buttons:
        assert response["Location"] == DASHBOARD
        assert "The circuit breaker of “look” is being reset." in page(client.get(DASHBOARD))
    expected = [("look", "Reset the circuit breaker.")] if buttons else []
    assert [(entry.object_repr, entry.get_change_message()) for entry in LogEntry.objects.all()] == expected


def test_charts_have_the_oldest_first_and_their_table_the_newest() -> None:
    points = known().points()
    assert [point[0] for point in points] == [-5.0, 0.0]
    assert [point[1] for point in points] == [0.8, 0.4]
    assert [point[3] for point in points] == [0.0, 0.4]
    assert [point[4] for point in points] == [4, 8]
    assert all(90 <= point[2] <= 120 for point in points)
    table = rows(known())["points"]
    assert [(*row[:3], row[4]) for row in table] == [("0", "0.40", "0.40", "8"), ("5", "0.80", "0.00", "4")]


def test_longer_ranges_have_points_of_their_own() -> None:
    hour = known(range="1h")
    assert [point[:2] for point in hour.points()] == [[-60.0, 2.0], [0.0, 4.0]]
    assert [row[0] for row in rows(hour)["points"]] == ["0", "60"]
    assert known(range="24h").points() == []
    assert (hour.options.seconds, known().options.seconds, known(range="24h").options.seconds) == (3600, 300, 86400)


@pytest.mark.parametrize(
    ("query", "link"),
    [
        ("", "?"),
        ("range=1h&sort=-errors", "?range=1h&sort=-errors"),
        ("range=1w&sort=secret", "?"),
        ("range=5m&sort=--calls", "?"),
    ],
)
def test_range_and_order_are_read_from_the_address(query: str, link: str, admin_client: Client, busy: None) -> None:
    text = page(admin_client.get(f"{DASHBOARD}?{query}"))
    assert f'data-address="{DASHBOARD}live/{html.escape(link)}"' in text
    assert text.count('class="mcp-range" aria-current="true"') == 1


def test_nothing_is_nothing() -> None:
    nothing = Dashboard(overview=Overview(), traffic=aggregate([]), nodes=())
    counts = Counter({name: len(found) for name, found in rows(nothing).items()})
    assert +counts == {"summary": 19}
    assert dict(rows(nothing)["summary"])["Error rate"] == "-"
    assert nothing.points() == []


def test_page_shows_what_is_known_as_text(admin_client: Client, busy: None) -> None:
    text = page(admin_client.get(DASHBOARD))
    assert HOSTILE not in text
    # A client, a tool, its failed call, its circuit breaker with the value and the label of the button, and a node.
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 7
    for shown in ("1234", "host-1", "404: no such session", "Calls by operation", "2026-07-28"):
        assert shown in text
    assert text.count('role="img"') == 4


def test_page_and_live_say_the_same(admin_client: Client, busy: None) -> None:
    response = admin_client.get(f"{DASHBOARD}live/")
    assert response["Content-Type"] == "application/json"
    assert "no-store" in response["Cache-Control"]
    news = response.json()
    shown = {name: [[cell["text"] for cell in row] for row in found] for name, found in news["grids"].items()}
    assert {**shown, **news["tables"]} == rows(known(may_drain=True, may_see_audit=True))
    assert list(news["tables"]) == ["breakers"]
    drain = {"text": "Drain", "link": "drain/?node=n2", "action": "Drain host-2:12"}
    assert news["grids"]["nodes"][1][2] == drain
    assert news["points"] == known().points()


def test_sessions_that_are_open_are_counted(
    admin_client: Client, shared_cache: None, open_session: Callable[..., Visitor]
) -> None:
    open_session("desk", "ann")
    open_session("desk", "bob")
    grids = admin_client.get(f"{DASHBOARD}live/").json()["grids"]
    assert [cell["text"] for cell in grids["summary"][0]] == ["Sessions", "2"]
    assert [[cell["text"] for cell in row] for row in grids["by-clients"]] == [["desk 1", "2"]]


def test_page_is_linked_to_and_from(admin_client: Client, open_session: Callable[..., Visitor]) -> None:
    visitor = open_session()
    for place in (LIST, visitor.url()):
        assert f'href="{DASHBOARD}"' in page(admin_client.get(place))
    text = page(admin_client.get(DASHBOARD))
    assert text.count(f'href="{LIST}"') >= 2
    assert re.search(r"&rsaquo; Dashboard of MCP sessions", text)


def test_numbers_of_this_process_alone_are_said_to_be_so(admin_client: Client) -> None:
    text = page(admin_client.get(DASHBOARD))
    assert "Each server process keeps its own sessions" in text
    assert "Each server process counts its own calls" in text


def test_backend_that_cannot_list_says_so_and_shows_the_rest(admin_client: Client, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": "tests.admin.backends.unlisted"}
    text = page(admin_client.get(DASHBOARD))
    assert "cannot list sessions" in text
    assert "Calls by operation" in text
    assert "Sessions by client" not in text
    assert "by-clients" not in admin_client.get(f"{DASHBOARD}live/").json()["grids"]


def test_store_that_does_not_answer_is_said_so(admin_client: Client, settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "tests.support.broken_cache.BrokenCache"}}
    assert "The session store does not answer" in page(admin_client.get(DASHBOARD), 503)
    response = admin_client.get(f"{DASHBOARD}live/")
    assert response.status_code == 503
    assert response.json()["error"].startswith("cache 'default' did not answer: ")


@pytest.mark.parametrize("place", [LIST, DASHBOARD])
def test_pages_have_no_inline_scripts_or_styles(place: str, admin_client: Client, busy: None) -> None:
    text = page(admin_client.get(place))
    assert not re.search(r"<script(?![^>]* src=)", text)
    assert not re.search(r"<style| style=| on\w+=", text.partition('id="content-main"')[2])
