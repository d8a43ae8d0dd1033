"""One session shown and ended over the REST API, by its key or how that begins."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from mcp_transport import bootstrap
from mcp_transport.domain.session import session_key, short_id
from tests.api.conftest import ROOT, open_session, record, status_of_ping, store

SESSIONS = f"{ROOT}sessions/"

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.mark.parametrize("length", [10, 15, 25, 26])
@pytest.mark.parametrize("write", [str.upper, str.lower])
def test_session_is_shown_by_its_key_or_how_that_begins(length: int, write: Any, superuser: APIClient) -> None:
    store(record(1, log_level="info"), record(2), subscriptions=("shop://hours",))
    key = record(1).key
    shown = superuser.get(f"{SESSIONS}{write(key[:length])}/").json()
    assert (shown["key"], shown["log_level"], shown["subscriptions"]) == (key, "info", ["shop://hours"])
    assert shown["client_info"] == {"name": "desk", "version": "1"}
    assert (shown["calls"], shown["streams"], shown["values"], shown["history"]) == ([], [], [], [])


@pytest.mark.parametrize("region", ["", "eu-west-1"])
def test_home_region_is_a_member_even_if_there_is_none(region: str, superuser: APIClient) -> None:
    store(record(1, region=region))
    assert superuser.get(f"{SESSIONS}{record(1).key}/").json()["region"] == region
    assert [session["region"] for session in superuser.get(SESSIONS).json()["results"]] == [region]


def test_values_that_tools_keep_are_named_and_not_shown(superuser: APIClient) -> None:
    @async_to_sync
    async def keep(key: str) -> None:
        for name in ("cart", "address"):
            await bootstrap.endpoint().backend.sessions.write_state(key, name, b'"canary"')

    store(record(1))
    keep(record(1).key)
    answer = superuser.get(f"{SESSIONS}{record(1).key}/")
    assert answer.json()["values"] == ["address", "cart"]
    assert b"canary" not in answer.content


ODD = [
    *("a", "aaaaaaaaa", "a" * 27, "a" * 5000, "0000000000", "0" * 26),
    *("..", "%00", "aaaaaaaaaa%0a", "%F0%9F%92%A9" * 10),
    record(1).key[:9],
]


@pytest.mark.parametrize(("method", "more"), [("GET", ""), ("DELETE", ""), ("GET", "calls/"), ("GET", "messages/")])
def test_odd_id_is_unknown(method: str, more: str, superuser: APIClient) -> None:
    store(record(1))
    for id in ODD:
        answer = superuser.generic(method, f"{SESSIONS}{id}/{more}")
        assert (answer.status_code, list(answer.json())) == (404, ["detail"]), id
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
