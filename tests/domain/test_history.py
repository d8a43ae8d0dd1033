"""Names of operations and history entries, as operators see them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcp_transport.domain.history import Ending, Failure, FailureKind, HistoryEntry, HistoryEvent, ended_entry
from mcp_transport.domain.session import InFlightRequest


@pytest.mark.parametrize(
    ("ending", "is_error"),
    [
        (Ending.OK, False),
        (Ending.CANCELLED, False),
        (Ending.ERROR, True),
        (Ending.LOST, True),
        (Ending.GIVEN_UP, True),
    ],
)
def test_what_counts_as_an_error(ending: Ending, is_error: bool) -> None:
    assert ending.is_error is is_error


@pytest.mark.parametrize(("now", "seconds"), [(12.5, 2.5), (9.0, 0.0)])
def test_an_ended_request_says_how_long_it_took(now: float, seconds: float) -> None:
    request = InFlightRequest(
        request_id="7", digest=b"d", node="n1", stream="aa", operation="ping", started=10.0, body=b"{}"
    )
    assert ended_entry(request, Ending.OK, now) == HistoryEntry(
        when=now,
        what=HistoryEvent.ENDED,
        node="n1",
        operation="ping",
        request_id="7",
        ending=Ending.OK,
        seconds=seconds,
        stream="aa",
    )


def test_only_a_stream_that_is_taken_again_repeats_an_entry() -> None:
    attached = HistoryEntry(when=1.0, what=HistoryEvent.ATTACHED, node="n1", stream="g")
    assert replace(attached, when=2.0, node="n2").repeats(attached)
    assert not replace(attached, stream="aa").repeats(attached)
    assert not replace(attached, what=HistoryEvent.ENDED).repeats(attached)


def test_failure_ends_a_request_as_its_ending_does() -> None:
    request = InFlightRequest(request_id=7, digest=b"d", node="n1", stream="aa", operation="ping", started=10.0)
    failure = Failure(ending=Ending.LOST, kind=FailureKind.LOST, code=-32603)
    entry = ended_entry(request, failure, 12.0)
    assert entry == replace(ended_entry(request, Ending.LOST, 12.0), failure=failure)
    assert (failure.is_error, entry.began) == (True, 10.0)
    assert Ending.OK.failure is None
