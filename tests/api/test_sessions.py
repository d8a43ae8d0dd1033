"""Sessions listed, shown and ended over the REST API, in a cache that processes share."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core.signing import Signer
from rest_framework.test import APIClient
from rest_framework.versioning import NamespaceVersioning
from rest_framework.views import APIView

from mcp_transport import bootstrap
from mcp_transport.backends.records import Page
from mcp_transport.protocol.session import Session, session_key, short_id
from tests.api.conftest import ROOT, open_session, status_of_ping, store

SESSIONS = f"{ROOT}sessions/"

pytestmark = pytest.mark.usefixtures("shared_cache")


def record(number: int, **members: Any) -> Session:
    """Return a session; the higher its number, the later it was seen."""
    now = 4_000_000_000.0  # long after these tests, so that nothing expires
    defaults: dict[str, Any] = {
        "key": session_key(str(number)),
        "protocol_version": "2025-11-25",
        "client_info": {"name": "desk", "version": "1"},
        "created": now,
        "last_seen": now + number,
        "ends": now + 1_000_000,
    }
    return Session(**{**defaults, **members})


def pages(client: APIClient, query: str) -> list[list[str]]:
    """Return the keys on each page, from the first to the last."""
    found, link = [], f"{SESSIONS}?{query}"
    while link:
        page = client.get(link).json()
        found.append([item["key"] for item in page["results"]])
        link = page["next"]
    return found


def error_of(client: APIClient, query: str) -> Any:
    answer = client.get(f"{SESSIONS}?{query}")
    assert answer.status_code == 400, answer.content
    return answer.json()


# -- lists -----------------------------------------------------------------------------------------------


def test_a_session_is_listed_with_what_is_public(superuser: APIClient) -> None:
    open_session(User(pk=7, username="ann"))
    page = superuser.get(SESSIONS).json()
    [item] = page.pop("results")
    assert page == {"count": 1, "count_is_exact": True, "next": None, "previous": None}
    known = ("user", "issuer", "subject", "client", "protocol", "initialized", "errors")
    assert [item[name] for name in known] == ["ann", "django", "7", "test 1", "2025-11-25", True, 0]
    assert item["id"] == item["key"][:10].lower()
    assert item["created"].endswith("+00:00")


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


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("user=ann", [0]),
        ("user=An", []),
        ("user=%20ann", []),
        ("client=desk%201", [0, 1]),
        ("client=desk", []),
        ("client=desk%201&user=ann", [0]),
        ("protocol=2025-06-18", [2]),
        ("node=here", [1]),
        ("search=AN", [0]),
        ("search=phone", [2]),
        ("search=", [0, 1, 2]),
        ("user=&client=&protocol=&node=", [0, 1, 2]),
        (f"search={record(1).key[:10].lower()}", [1]),
        ("search=%F0%9F%92%A9", []),
    ],
)
def test_sessions_are_found_by_what_is_known_of_them(query: str, found: list[int], superuser: APIClient) -> None:
    phone = {"client_info": {"name": "phone"}, "protocol_version": "2025-06-18"}
    sessions = [record(2, user="ann"), record(1, node="here"), record(0, **phone)]
    store(*sessions)
    page = superuser.get(f"{SESSIONS}?{query}").json()
    assert [item["key"] for item in page["results"]] == [sessions[at].key for at in found]
    assert page["count"] == len(found)


@pytest.mark.parametrize("size", ["0", "-1", "1001", "many", "%20", "1.5", "9" * 5000])
def test_odd_page_size_is_refused(size: str, superuser: APIClient) -> None:
    assert list(error_of(superuser, f"page_size={size}")) == ["page_size"]


@pytest.mark.parametrize("name", ["search", "user", "client", "protocol", "node"])
@pytest.mark.parametrize("text", ["%00", "a" * 513])
def test_odd_text_is_refused(name: str, text: str, superuser: APIClient) -> None:
    assert list(error_of(superuser, f"{name}={text}")) == [name]


def _cursor(value: Any, salt: str = "mcp_transport.api.cursor") -> str:
    return Signer(salt=salt).sign_object(value)


NO_FILTERS = ["", "", "", "", "", "", 0.0, 0.0, "-last_seen"]


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "0",
        "100",
        ":",
        "%00",
        "%C3%A9:%C3%A9",
        "a" * 5000,
        _cursor([2, *NO_FILTERS])[:-1],
        _cursor([2, *NO_FILTERS]) + "a",
        "W" + _cursor([2, *NO_FILTERS]),
        _cursor([2, *NO_FILTERS], salt="another"),
    ],
)
def test_cursor_that_was_not_given_out_is_refused(cursor: str, superuser: APIClient) -> None:
    assert error_of(superuser, f"cursor={cursor}") == {"cursor": ["This is no cursor of this server."]}


def test_cursor_is_good_for_its_own_list_only(superuser: APIClient) -> None:
    cursor = _cursor([2, *NO_FILTERS])
    assert superuser.get(f"{SESSIONS}?cursor={cursor}").status_code == 200
    for other in ("user=ann", "ordering=created", "state=idle", "created_after=2026-01-31T12:00:00Z"):
        assert "other filters, or in another order" in error_of(superuser, f"cursor={cursor}&{other}")["cursor"][0]


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

    monkeypatch.setattr(type(bootstrap.endpoint().backend), "sessions", listed)
    page = superuser.get(f"{SESSIONS}?page_size=2").json()
    assert (page["count_is_exact"], page["next"] is not None) == (False, more)


def test_versioning_of_the_project_is_left_alone(superuser: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NamespaceVersioning, "allowed_versions", ("v1",))
    monkeypatch.setattr(APIView, "versioning_class", NamespaceVersioning)
    assert superuser.get(SESSIONS).status_code == 200


# -- one session -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [10, 15, 25, 26])
@pytest.mark.parametrize("write", [str.upper, str.lower])
def test_session_is_shown_by_its_key_or_how_that_begins(length: int, write: Any, superuser: APIClient) -> None:
    store(record(1, log_level="info"), record(2), subscriptions=("shop://hours",))
    key = record(1).key
    shown = superuser.get(f"{SESSIONS}{write(key[:length])}/").json()
    assert (shown["key"], shown["log_level"], shown["subscriptions"]) == (key, "info", ["shop://hours"])
    assert shown["client_info"] == {"name": "desk", "version": "1"}
    assert (shown["calls"], shown["streams"], shown["values"], shown["history"]) == ([], [], [], [])


def test_values_that_tools_keep_are_named_and_not_shown(superuser: APIClient) -> None:
    @async_to_sync
    async def keep(key: str) -> None:
        for name in ("cart", "address"):
            await bootstrap.endpoint().backend.write_state(key, name, b'"canary"')

    store(record(1))
    keep(record(1).key)
    answer = superuser.get(f"{SESSIONS}{record(1).key}/")
    assert answer.json()["values"] == ["address", "cart"]
    assert b"canary" not in answer.content


ODD = [
    "a",
    "aaaaaaaaa",
    "a" * 27,
    "a" * 5000,
    "0000000000",
    "0" * 26,
    "..",
    "%00",
    "aaaaaaaaaa%0a",
    "%F0%9F%92%A9" * 10,
]


@pytest.mark.parametrize("id", ODD)
@pytest.mark.parametrize(("method", "more"), [("GET", ""), ("DELETE", ""), ("GET", "calls/"), ("GET", "messages/")])
def test_odd_id_is_unknown(method: str, more: str, id: str, superuser: APIClient) -> None:
    store(record(1))
    answer = superuser.generic(method, f"{SESSIONS}{id}/{more}")
    assert (answer.status_code, list(answer.json())) == (404, ["detail"])
    assert superuser.get(SESSIONS).json()["count"] == 1


def test_short_letters_of_an_id_end_nothing(superuser: APIClient) -> None:
    store(record(1))
    assert superuser.delete(f"{SESSIONS}{record(1).key[:9]}/").status_code == 404
    assert superuser.get(SESSIONS).json()["count"] == 1


def test_ambiguous_id_ends_nothing(superuser: APIClient) -> None:
    store(record(1, key="A" * 25 + "B"), record(2, key="A" * 25 + "C"))
    answer = superuser.delete(f"{SESSIONS}aaaaaaaaaa/")
    assert (answer.status_code, answer.json()["detail"][:21]) == (404, "More than one session")
    assert superuser.get(SESSIONS).json()["count"] == 2


@pytest.mark.parametrize("length", [10, 26])
def test_ended_session_is_gone_for_its_client(length: int, superuser: APIClient, caplog: Any) -> None:
    client = open_session()
    other = open_session()
    key = session_key(client.session_id)
    assert status_of_ping(client) == 200
    with caplog.at_level("INFO", "mcp_transport.api"):
        answer = superuser.delete(f"{SESSIONS}{key[:length]}/")
    assert (answer.status_code, answer.content) == (204, b"")
    assert f"user 9999 ended session {short_id(key)}" in caplog.text
    assert status_of_ping(client) == 404
    assert superuser.get(f"{SESSIONS}{key}/").status_code == 404
    assert superuser.delete(f"{SESSIONS}{key}/").status_code == 404
    assert status_of_ping(other) == 200


def test_nothing_that_opens_a_session_is_told(superuser: APIClient) -> None:
    client = open_session(User(pk=7, username="ann"))
    key = session_key(client.session_id)
    for path in (SESSIONS, f"{SESSIONS}{key}/", f"{SESSIONS}{key}/calls/", f"{SESSIONS}{key}/messages/"):
        told = superuser.get(path).content.decode()
        assert client.session_id not in told
        assert "django\\n7" not in told


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
    monkeypatch.setattr(type(bootstrap.endpoint().backend), "sessions", listed)
    answer = superuser.get(SESSIONS)
    assert answer["Content-Type"] == "application/json"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Cache-Control"] == "no-store"
    assert answer.content.isascii()
    [item] = json.loads(answer.content)["results"]
    assert (item["client"], item["user_agent"]) == (name, name)


@pytest.mark.parametrize("accept", ["text/html", "application/xml"])
def test_answers_are_json_only(accept: str, superuser: APIClient) -> None:
    answer = superuser.get(SESSIONS, HTTP_ACCEPT=accept)
    assert (answer.status_code, answer["Content-Type"]) == (406, "application/json")


def test_browser_gets_json(superuser: APIClient) -> None:
    answer = superuser.get(SESSIONS, HTTP_ACCEPT="text/html,application/xhtml+xml,*/*;q=0.8")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
