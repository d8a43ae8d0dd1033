"""Sessions in each order, and found by what they are at and when they began."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from tests.api.conftest import open_session, store
from tests.api.test_sessions import SESSIONS, error_of, pages, record

pytestmark = pytest.mark.usefixtures("shared_cache")

BEGUN = 4_000_000_000  # 2096-10-02T07:06:40Z


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [3, 2, 1, 0]),
        ("ordering=-last_seen", [3, 2, 1, 0]),
        ("ordering=last_seen", [0, 1, 2, 3]),
        ("ordering=-created", [0, 1, 2, 3]),
        ("ordering=-requests", [1, 3, 2, 0]),
        ("ordering=errors", [0, 1, 2, 3]),
        ("created_after=2096-10-02T07:06:42Z", [1, 0]),
        ("created_after=2096-10-02T08:06:42%2B01:00&ordering=created", [1, 0]),
        ("created_before=2096-10-02T07:06:41.500Z", [3, 2]),
        ("created_after=2096-10-02T07:06:41Z&created_before=2096-10-02T07:06:42Z", [2, 1]),
        ("created_after=2096-10-02T07:07Z", []),
        ("state=opening", [3, 2]),
        ("state=active&ordering=last_seen", [0, 1]),
        ("state=busy", []),
        ("state=&ordering=&created_after=&created_before=", [3, 2, 1, 0]),
    ],
)
@pytest.mark.parametrize("size", [1, 4])
def test_sessions_are_ordered_and_found_by_state_and_age(
    query: str, found: list[int], size: int, superuser: APIClient
) -> None:
    requests = (0, 7, 2, 5)
    store(*(record(at, requests=requests[at], initialized=at < 2, created=BEGUN + 3.0 - at) for at in range(4)))
    listed = [key for page in pages(superuser, f"{query}&page_size={size}") for key in page]
    assert listed == [record(at).key for at in found]


def test_what_a_session_is_at_is_listed(superuser: APIClient) -> None:
    open_session()
    [item] = superuser.get(SESSIONS).json()["results"]
    assert (item["state"], item["calls"], item["streams"]) == ("active", 0, 0)
    assert superuser.get(f"{SESSIONS}{item['key']}/").json()["state"] == "active"


@pytest.mark.parametrize("name", ["created_after", "created_before"])
@pytest.mark.parametrize(
    "text",
    [
        "today",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31T12:00:00+00:00",
        "2026-02-31T12:00:00Z",
        "0",
        "%00",
        "9" * 5000,
    ],
)
def test_time_without_an_offset_is_refused(name: str, text: str, superuser: APIClient) -> None:
    [wrong] = error_of(superuser, f"{name}={text}")[name]
    assert wrong.startswith("Give a time with its offset: 2026-01-31T12:00:00Z.")


@pytest.mark.parametrize(
    ("name", "text"), [("ordering", "user"), ("ordering", "--created"), ("ordering", "%00"), ("state", "asleep")]
)
def test_what_is_no_choice_is_refused_and_the_choices_are_named(name: str, text: str, superuser: APIClient) -> None:
    [wrong] = error_of(superuser, f"{name}={text}")[name]
    known = "-last_seen, last_seen, -created" if name == "ordering" else "busy, opening, active, idle."
    assert f"is none of these: {known}" in wrong
