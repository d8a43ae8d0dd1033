"""The pure parts of several regions: whether one is lost, which one is a home, what a copy contains."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.backends.dynamodb.items import UNREADABLE, Item
from mcp_transport.backends.dynamodb.regions import homes as homes_module
from mcp_transport.backends.dynamodb.regions.copying import Copy, Move, copy_of
from mcp_transport.backends.dynamodb.regions.health import RegionHealth
from mcp_transport.backends.dynamodb.regions.homes import (
    MAX_EPOCH,
    MAX_REGIONS,
    Claim,
    Home,
    Homes,
    first_number,
    gives,
    newest,
)
from mcp_transport.backends.dynamodb.session_record import SessionRecord, record_address, record_kind
from mcp_transport.backends.dynamodb.session_records import _encode
from mcp_transport.backends.dynamodb.stream_state import StreamState, stream_address, stream_kind
from mcp_transport.backends.results import Event
from mcp_transport.domain.history import Ending, HistoryEntry, HistoryEvent
from mcp_transport.exceptions import Unreadable
from mcp_transport.protocol.cursor import Cursor
from tests.support.backends import KEY, STREAM, in_flight, session

LOST, TTL = 30.0, 100.0
REGIONS = ("eu-west-1", "us-east-1", "ap-south-1")

# -- whether a region is lost


def fail(health: RegionHealth, *times: float, leases: Any = 7) -> None:
    for now in times:
        health.failed(now)
        health.observe_leases(frozenset(leases if isinstance(leases, set) else {leases}), now)


def test_a_region_is_lost_once_nothing_has_answered_and_no_lease_changed_for_long_enough() -> None:
    health, lost = RegionHealth(LOST), []
    fail(health, 0, 10, 29.9)
    lost.append(health.is_lost)
    fail(health, 30)
    lost.append(health.is_lost)
    assert [health.answered(), health.answered()] == [True, False]
    assert [*lost, health.is_lost, health.is_failing] == [False, True, False, False]


def test_a_region_whose_nodes_renew_their_leases_is_not_lost() -> None:
    health = RegionHealth(LOST)
    for now in range(0, 300, 10):
        fail(health, now, leases=now // 20)
        assert not health.is_lost
    fail(health, *range(300, 311), leases=14)
    assert health.is_lost, "30 s after the last renewal"


def test_the_lease_of_a_dead_node_that_is_deleted_is_no_renewal() -> None:
    health = RegionHealth(LOST)
    fail(health, 0, leases={"one", "other"})
    fail(health, 29, leases={"one"})
    fail(health, 30, leases=set())
    assert health.is_lost


@pytest.mark.parametrize("times", [(0, 40), (0, 125, 250, 375), (0,)])
def test_a_few_failures_that_are_far_apart_are_no_loss(times: tuple[float, ...]) -> None:
    health = RegionHealth(LOST)
    fail(health, *times)
    assert not health.is_lost


def test_failures_that_take_long_are_one_outage() -> None:
    """Where nobody resolves a region's name, a request fails after 20 or 40 s."""
    health = RegionHealth(1.0)
    fail(health, 0, 41, 82)
    assert health.is_lost


def test_one_probe_at_a_time_and_after_growing_pauses() -> None:
    health = RegionHealth(LOST)
    assert health.failed(0.0)
    assert not health.begin_probe(0.9)
    assert health.begin_probe(1.0)
    assert not health.begin_probe(1.5)
    assert not health.failed(1.5)
    health.end_probe(1.5)
    assert not health.begin_probe(3.0) and health.begin_probe(3.5)


def test_requests_that_fail_often_put_no_probe_off() -> None:
    """Nodes that have joined a region look for messages there all the time."""
    health, probes = RegionHealth(LOST), list[float]()
    for now in (step / 10 for step in range(400)):
        health.failed(now)
        if health.begin_probe(now):
            probes.append(now)
            health.observe_leases(frozenset({7}), now)
            health.end_probe(now)
    assert probes == pytest.approx([1.0 + 4.0 * number for number in range(10)], abs=0.2)
    assert health.is_lost


# -- which region is the home


@given(st.sampled_from(REGIONS), st.integers(0, MAX_EPOCH), st.sampled_from(REGIONS), st.integers(0, MAX_EPOCH))
def test_no_two_homes_number_events_alike(one: str, epoch: int, other: str, later: int) -> None:
    first, second = sorted((Home(epoch, one), Home(later, other)))
    gap = first_number(second, REGIONS) - first_number(first, REGIONS)
    assert first == second or abs(gap) >= 50 * 10**9
    assert gap > 0 or first.epoch == second.epoch
    assert Cursor.parse(f"s-{first_number(Home(MAX_EPOCH, other), REGIONS) + 50 * 10**9}").seq


def test_the_newest_claim_decides_and_the_greater_name_of_two() -> None:
    claims = [Claim(Home(epoch, region), 1) for epoch, region in ((1, "us-east-1"), (2, "eu-west-1"), (2, "ap"))]
    assert newest(claims) == claims[1]
    assert newest([]) is None
    assert len(list(combinations(REGIONS, 1))) <= MAX_REGIONS


def test_a_home_is_remembered_for_a_while_and_never_replaced_by_an_older_one() -> None:
    homes = Homes(10.0)
    homes.locate(KEY, lambda: "eu-west-1")
    assert homes.origin(KEY) == "eu-west-1" and homes.last(KEY) is homes.current(KEY, 0.0) is None
    assert homes.remember(KEY, Home(1, "us-east-1"), 0.0) == Home(1, "us-east-1")
    assert homes.remember(KEY, Home(0, "eu-west-1"), 1.0) == Home(1, "us-east-1"), "the read was outdated"
    homes.locate(KEY, lambda: pytest.fail("it is known"))
    assert homes.current(KEY, 10.9) == Home(1, "us-east-1")
    assert homes.current(KEY, 11.0) is None
    assert homes.last(KEY) == Home(1, "us-east-1")


def test_the_home_that_was_used_least_recently_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes_module, "_MAX_REMEMBERED", 3)
    homes = Homes(10.0)
    for name in "abc":
        homes.remember(name, Home(0, "eu-west-1"), 0.0)
    assert homes.current("a", 1.0)
    homes.locate("d", lambda: "")
    assert [name for name in "abcd" if homes.last(name)] == ["a", "c"]


# -- what a copy contains

MOVE = Move(
    key=KEY,
    source="eu-west-1",
    target="us-east-1",
    epoch=3,
    first_number=10**12,
    nodes={"here"},
    now=1_000_000.0,
    ttl=TTL,
)


def stored(record: SessionRecord, **streams: StreamState) -> list[Item]:
    """Return the items of a session."""
    items = [{**record_kind(KEY, TTL).encode(record), **record_address(KEY)._asdict(), "v": 5}]
    return items + [
        {**stream_kind.encode(state), **stream_address(KEY, name)._asdict(), "v": 6}
        for name, state in streams.items()
    ]


def copied(items: list[Item]) -> tuple[SessionRecord, dict[str, StreamState], Copy]:
    """Return the record and the streams of a copy."""
    copy = copy_of(items, MOVE)
    assert copy is not None
    states = {item["sk"].removeprefix("stream#"): stream_kind.decode(item) for item in copy.states}
    return record_kind(KEY, TTL).decode(copy.record), states, copy


def record_with(*nodes: str) -> SessionRecord:
    requests = [in_flight(number, node=node, stream=f"s{number}") for number, node in enumerate(nodes)]
    opened = session(lambda: MOVE.now, region="eu-west-1")
    return SessionRecord(opened, in_flight={request.request_id: request for request in requests})


def state(writer: str = "", holder: str = "", *numbers: int) -> StreamState:
    state = StreamState(MOVE.now + 1000, writer, holder)
    state.add([Event(number, b"x") for number in numbers], 1000, 10**6, MOVE.now)
    return state


def test_numbers_of_a_home_are_those_that_it_gives() -> None:
    regions = ("eu-west-1", "us-east-1")
    for home in (Home(0, "us-east-1"), Home(1, "eu-west-1"), Home(1, "us-east-1"), Home(7, "us-east-1")):
        own = first_number(home, regions) + 3 if home.epoch else 3
        others = [first_number(Home(home.epoch + 1, region), regions) + 3 for region in regions]
        assert [gives(home, regions, number) for number in (own, *others)] == [True, False, False]
    assert not gives(Home(1, "eu-west-1"), regions, first_number(Home(1, "us-east-1"), regions))


def test_lost_nodes_get_names_that_no_lease_has_and_numbers_go_on_above_theirs() -> None:
    items = stored(record_with("there", "here"), s0=state("there", "there", 1, 2), s1=state("here", "here", 1))
    record, states, copy = copied(items)
    assert record.session.region == "us-east-1"
    assert [request.node for request in record.in_flight.values()] == ["eu-west-1/there", "here"]
    assert copy.orphans == [((KEY, "s0"), "eu-west-1/there")]
    assert (states["s0"].writer, states["s0"].holder, states["s0"].last) == ("eu-west-1/there", "", 10**12)
    assert (states["s1"].writer, states["s1"].holder, states["s1"].last) == ("here", "here", 1)
    states["s1"].begin_next_span()
    assert states["s1"].last == 10**12, "whoever takes it over begins above all of the former home"
    assert states["g"].last == 10**12


def test_a_stream_that_was_not_replicated_begins_above_the_numbers_of_the_former_home() -> None:
    _, states, copy = copied(stored(record_with("there")))
    assert states["s0"].last == 10**12 and states["s0"].writer == "eu-west-1/there"
    assert len(copy.orphans) == 1


def test_a_stream_that_has_ended_is_copied_as_it_is() -> None:
    ended = replace(state("there", "", 1), stored_until=MOVE.now + 5, ends_silently=True)
    over = replace(ended, stored_until=MOVE.now - 5)
    _, states, _ = copied(stored(record_with(), ended=ended, over=over))
    assert states["ended"] == ended
    assert "over" not in states


def test_the_stream_of_a_request_that_was_not_replicated_is_unknown() -> None:
    """Its client gets 400 and sends the call again: nobody could tell it which request has no answer."""
    left = HistoryEntry(when=1.0, what=HistoryEvent.ENDED, node="n", stream="left", request_id=1, ending=Ending.OK)
    history = {"pk": "p", "sk": "history#0001", "n": 1, **_encode(left)}
    items = stored(
        record_with(), unknown=state("there", "", 1), left=state("there", "", 1), mine=state("here", "", 1)
    )
    _, states, _ = copied([*items, history])
    assert set(states) == {"left", "mine", "g"}


def test_a_silent_end_by_another_writer_is_no_message() -> None:
    over = state("there", "", 1, 2)
    over.begin_next_span()
    over.add([Event(over.last + 1, b"", terminal=True)], 1000, 10**6, MOVE.now)
    assert [over.has_message_after(number) for number in (1, 2, 3)] == [True, False, False]
    over = state("there", "", 1, 2)
    over.add([Event(3, b"", terminal=True)], 1000, 10**6, MOVE.now)
    assert [over.has_message_after(number) for number in (1, 2)] == [True, False]


def test_a_session_that_moves_again_keeps_the_names_of_lost_nodes() -> None:
    record, _, _ = copied(stored(record_with("ap-south-1/there")))
    assert [request.node for request in record.in_flight.values()] == ["ap-south-1/there"]


def test_a_session_that_has_ended_stays_so() -> None:
    closed = record_with("there")
    closed.is_closed = True
    record, states, copy = copied(stored(closed, s0=state("there")))
    assert record.is_closed and not states and not copy.others and not copy.orphans


def test_garbage_beside_the_record_is_left_behind() -> None:
    good = {"pk": "p", "sk": "event#s0#1", "n": [1], "e": [b"+x"]}
    garbage: list[Item] = [
        {"pk": "p", "sk": "stream#bad", "d": b"garbage"},
        {"pk": "p", "sk": "stream#worse"},
        {"pk": "p", "sk": "event#s0#2", "n": UNREADABLE},
        {"pk": "p", "sk": "state#x", "name": "x", "value": [UNREADABLE]},
    ]
    _, states, copy = copied([*stored(record_with("there"), s0=state("there", "", 1)), good, *garbage])
    assert set(states) == {"s0", "g"}
    assert copy.others == [good]


def test_a_session_without_a_record_has_no_copy_and_one_that_is_unreadable_is_said() -> None:
    assert copy_of([], MOVE) is None
    with pytest.raises(Unreadable):
        copy_of([{"pk": "p", "sk": "record", "d": b"garbage"}], MOVE)
    assert STREAM
