"""Sessions listed over the REST API: on pages, by filters, in each order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.signing import Signer
from rest_framework.test import APIClient
from rest_framework.versioning import NamespaceVersioning
from rest_framework.views import APIView

from mcp_transport import bootstrap
from mcp_transport.api.paging import ORDERINGS
from mcp_transport.backends.records import Page
from mcp_transport.domain.session_query import SessionQuery
from tests.api.conftest import ROOT, open_session, pages, record, store

SESSIONS = f"{ROOT}sessions/"
BEGUN = 4_000_000_000  # 2096-10-02T07:06:40Z

pytestmark = pytest.mark.usefixtures("shared_cache")


def error_of(client: APIClient, query: str) -> Any:
    answer = client.get(f"{SESSIONS}?{query}")
    assert answer.status_code == 400, answer.content
    return answer.json()


def test_a_session_is_listed_with_what_is_public(superuser: APIClient) -> None:
    open_session(User(pk=7, username="ann"))
    page = superuser.get(SESSIONS).json()
    [item] = page.pop("results")
    assert page == {"count": 1, "count_is_exact": True, "next": None, "previous": None}
    known = ("user", "issuer", "subject", "client", "protocol", "initialized", "errors")
    assert [item[name] for name in known] == ["ann", "django", "7", "test 1", "2025-11-25", True, 0]
    assert item["id"] == item["key"][:10].lower()
    assert item["created"].endswith("+00:00")
    assert (item["state"], item["calls"], item["streams"]) == ("active", 0, 0)
    assert superuser.get(f"{SESSIONS}{item['key']}/").json()["state"] == "active"


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_pages_together_are_all_sessions_newest_first(size: int, superuser: APIClient) -> None:
    store(*map(record, range(7)))
    found = pages(superuser, f"page_size={size}")
    assert [key for page in found for key in page] == [record(number).key for number in reversed(range(7))]
    assert [len(page) for page in found] == [min(size, 7 - at) for at in range(0, 7, size)]


def test_pages_lead_back(superuser: APIClient) -> None:
    store(*map(record, range(5)))
    first = superuser.get(f"{SESSIONS}?page_size=2").json()
    second = superuser.get(first["next"]).json()
    third = superuser.get(second["next"]).json()
    assert (third["next"], len(third["results"])) == (None, 1)
    assert superuser.get(third["previous"]).json() == second
    back = superuser.get(second["previous"]).json()
    assert (back["results"], back["previous"]) == (first["results"], None)


def test_links_keep_the_filters(superuser: APIClient) -> None:
    store(*(record(number, user="ann & co" if number % 2 else "bob") for number in range(6)))
    found = pages(superuser, "user=ann%20%26%20co&page_size=2")
    assert [len(page) for page in found] == [2, 1]
    assert {key for page in found for key in page} == {record(number).key for number in (1, 3, 5)}


def test_list_without_sessions_is_empty(superuser: APIClient) -> None:
    assert superuser.get(SESSIONS).json()["results"] == []


QUERIES: dict[str, tuple[str, SessionQuery]] = {
    "": ("-last_seen", SessionQuery()),
    "search=&user=&client=&protocol=&node=&state=&ordering=&created_after=": ("-last_seen", SessionQuery()),
    "search=AN&user=%20ann": ("-last_seen", SessionQuery(text="AN", user=" ann")),
    "search=%F0%9F%92%A9": ("-last_seen", SessionQuery(text="\N{PILE OF POO}")),
    "client=desk%201&protocol=2025-06-18": (
        "-last_seen",
        SessionQuery(client="desk 1", protocol_version="2025-06-18"),
    ),
    "node=here&state=busy": ("-last_seen", SessionQuery(node="here", state="busy")),
    "created_after=2096-10-02T07:06:42Z": ("-last_seen", SessionQuery(created_after=BEGUN + 2)),
    "created_after=2096-10-02T08:06:42%2B01:00": ("-last_seen", SessionQuery(created_after=BEGUN + 2)),
    "created_before=2096-10-02T07:06:41.500Z": ("-last_seen", SessionQuery(created_before=BEGUN + 1.5)),
    "created_before=2096-10-02T07:07Z": ("-last_seen", SessionQuery(created_before=BEGUN + 20)),
    **{f"ordering={order}": (order, SessionQuery()) for order in ORDERINGS},
}


@pytest.mark.parametrize("query", QUERIES)
def test_query_is_passed_on_to_the_store(query: str, superuser: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each store finds and orders sessions by the same contract, tests/backends/contract_operators.py."""
    asked: list[Any] = []

    async def listed(self: Any, offset: int, limit: int, query: SessionQuery, order: str) -> Page:
        asked.append((offset, limit, order, query))
        return Page((), 0)

    monkeypatch.setattr(type(bootstrap.endpoint().backend.index), "page", listed)
    assert superuser.get(f"{SESSIONS}?{query}&page_size=7").status_code == 200
    assert asked == [(0, 7, *QUERIES[query])]


def test_sessions_are_found_and_ordered(superuser: APIClient) -> None:
    store(*(record(at, user="ann" if at % 2 else "bob", created=BEGUN + 3.0 - at) for at in range(4)))
    found = pages(superuser, "user=ann&ordering=created&page_size=1")
    assert found == [[record(3).key], [record(1).key]]
    assert superuser.get(f"{SESSIONS}?user=ann").json()["count"] == 2


# -- queries that are refused ----------------------------------------------------------------------------


ODD_TIMES = ["today", "2026-01-31", "2026-01-31T12:00:00", "2026-01-31T12:00:00+00:00", "2026-02-31T12:00:00Z"]


@pytest.mark.parametrize(
    ("names", "values", "said"),
    [
        (["page_size"], ["0", "-1", "1001", "many", "%20", "1.5", "9" * 5000], ""),
        (["search", "user", "client", "protocol", "node"], ["%00", "a" * 513], ""),
        (
            ["created_after", "created_before"],
            [*ODD_TIMES, "0", "%00", "9" * 5000],
            "Expected a time with its offset: 2026-01-31T12:00:00Z.",
        ),
        (["ordering"], ["user", "--created", "%00"], "is not one of: -last_seen, last_seen, -created"),
        (["state"], ["asleep"], "is not one of: busy, opening, active, idle."),
    ],
    ids=lambda item: item[0] if isinstance(item, list) else "",
)
def test_odd_value_is_refused(names: list[str], values: list[str], said: str, superuser: APIClient) -> None:
    for name in names:
        for value in values:
            [(wrong, [reason])] = error_of(superuser, f"{name}={value}").items()
            assert (wrong, said in reason) == (name, True), reason


def _cursor(value: Any, salt: str = "mcp_transport.api.cursor") -> str:
    return Signer(salt=salt).sign_object(value)


NO_FILTERS = ["", "", "", "", "", "", 0.0, 0.0, "-last_seen"]


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "0", "100", ":", "%00", "%C3%A9:%C3%A9", "a" * 5000),
        *(_cursor([2, *NO_FILTERS])[:-1], _cursor([2, *NO_FILTERS]) + "a", "W" + _cursor([2, *NO_FILTERS])),
        _cursor([2, *NO_FILTERS], salt="another"),
    ],
)
def test_cursor_that_was_not_given_out_is_refused(cursor: str, superuser: APIClient) -> None:
    assert error_of(superuser, f"cursor={cursor}") == {"cursor": ["This is not a cursor of this server."]}


def test_cursor_is_good_for_its_own_list_only(superuser: APIClient) -> None:
    cursor = _cursor([2, *NO_FILTERS])
    assert superuser.get(f"{SESSIONS}?cursor={cursor}").status_code == 200
    for other in ("user=ann", "ordering=created", "state=idle", "created_after=2026-01-31T12:00:00Z"):
        assert "other filters or another order" in error_of(superuser, f"cursor={cursor}&{other}")["cursor"][0]


def test_cursor_behind_the_end_finds_nothing_more(superuser: APIClient) -> None:
    store(record(1))
    page = superuser.get(f"{SESSIONS}?page_size=1&cursor={_cursor([7, *NO_FILTERS])}").json()
    assert (page["results"], page["count"], page["next"]) == ([], 1, None)
    assert len(superuser.get(page["previous"]).json()["results"]) == 0


@pytest.mark.parametrize(("known", "more"), [(2, True), (1, False), (0, False)])
def test_full_page_has_a_next_one_where_the_total_is_a_guess(
    known: int, more: bool, superuser: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def listed(*args: Any) -> Page:
        return Page(tuple(map(record, range(known))), 2, is_exact=False)

    monkeypatch.setattr(type(bootstrap.endpoint().backend.index), "page", listed)
    page = superuser.get(f"{SESSIONS}?page_size=2").json()
    assert (page["count_is_exact"], page["next"] is not None) == (False, more)


def test_versioning_of_the_project_is_left_alone(superuser: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NamespaceVersioning, "allowed_versions", ("v1",))
    monkeypatch.setattr(APIView, "versioning_class", NamespaceVersioning)
    assert superuser.get(SESSIONS).status_code == 200


# -- hostile clients, and media types --------------------------------------------------------------------


HOSTILE = [
    "<script>alert(1)</script>",
    'a"}],"count":0',
    "\u2028\u202e",
    "\ud800",
    "a\r\nSet-Cookie: a=b",
    "\x7f",
    "é",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_of_clients_are_text(name: str, superuser: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def listed(*args: Any) -> Page:
        return Page((record(1, client_info={"name": name}, user_agent=name),), 1)

    # Right from a backend: not every store could keep each of these.
    monkeypatch.setattr(type(bootstrap.endpoint().backend.index), "page", listed)
    answer = superuser.get(SESSIONS)
    assert answer["Content-Type"] == "application/json"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Cache-Control"] == "no-store"
    assert answer.content.isascii()
    [item] = json.loads(answer.content)["results"]
    assert (item["client"], item["user_agent"]) == (name, name)


@pytest.mark.parametrize(
    ("accept", "status"),
    [("text/html", 406), ("application/xml", 406), ("text/html,application/xhtml+xml,*/*;q=0.8", 200)],
)
def test_answers_are_json_only(accept: str, status: int, superuser: APIClient) -> None:
    answer = superuser.get(SESSIONS, HTTP_ACCEPT=accept)
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/json")
