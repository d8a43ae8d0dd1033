from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from mcp_transport.protocol.versions import REVISIONS, negotiate, sessionful, sessionless

ALL = tuple(REVISIONS)
IN_SESSIONS = ("2025-03-26", "2025-06-18", "2025-11-25")


@pytest.mark.parametrize(
    ("name", "in_session", "batches", "polling"),
    [
        ("2025-03-26", True, True, False),
        ("2025-06-18", True, False, False),
        ("2025-11-25", True, False, True),
        ("2026-07-28", False, False, False),
    ],
)
def test_what_each_revision_changes(name: str, in_session: bool, batches: bool, polling: bool) -> None:
    revision = REVISIONS[name]
    assert (revision.name, revision.sessionful, revision.batches, revision.polling) == (
        name,
        in_session,
        batches,
        polling,
    )


def test_these_four_revisions_are_known_and_fixed() -> None:
    assert set(REVISIONS) == {*IN_SESSIONS, "2026-07-28"}
    with pytest.raises(FrozenInstanceError):
        REVISIONS["2026-07-28"].sessionful = True  # type: ignore[misc]


@pytest.mark.parametrize("names", [ALL, tuple(reversed(ALL))])
def test_each_era_lists_its_revisions_oldest_first(names: tuple[str, ...]) -> None:
    assert sessionful(names) == IN_SESSIONS
    assert sessionless(names) == ("2026-07-28",)


def test_an_era_that_is_not_served_is_empty() -> None:
    assert sessionful(("2026-07-28",)) == ()
    assert sessionless(("2025-11-25",)) == ()
    assert sessionful(()) == sessionless(()) == ()


@pytest.mark.parametrize("requested", IN_SESSIONS)
def test_a_supported_version_is_answered_with_itself(requested: str) -> None:
    assert negotiate(requested, ALL) == requested


@pytest.mark.parametrize(
    "requested", ["1.0.0", "2024-11-05", "2099-01-01", "2026-07-28", "", " 2025-11-25", None, 20251125, [], {}, True]
)
def test_any_other_version_is_answered_with_the_newest_of_the_sessions(requested: object) -> None:
    assert negotiate(requested, ALL) == "2025-11-25"


@pytest.mark.parametrize(
    ("supported", "expected"),
    [
        (("2025-03-26",), "2025-03-26"),
        (("2025-06-18", "2025-03-26"), "2025-06-18"),
        (("2026-07-28", "2025-06-18"), "2025-06-18"),
    ],
)
def test_only_versions_that_are_switched_on_are_offered(supported: tuple[str, ...], expected: str) -> None:
    assert negotiate("2025-11-25", supported) == expected
