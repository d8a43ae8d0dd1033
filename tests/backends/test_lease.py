"""A node's lease: when others may have declared the node dead, and when it may declare others dead."""

from __future__ import annotations

import pytest

from mcp_transport.backends.lease import Lease
from mcp_transport.settings_table import SETTINGS

SECONDS = 6.0


def renewed(*times: float, seconds: float = SECONDS) -> Lease:
    """Return a lease that was acquired at the first time, and renewed at the others."""
    lease = Lease(seconds, times[0])
    for number, time in enumerate(times):
        lease.renewing(time)
        lease.renewed(time, lapsed=number == 0)
    return lease


def every(interval: float, until: float) -> list[float]:
    return [interval * turn for turn in range(int(until / interval) + 1)]


def test_a_new_node_waits_for_a_lease() -> None:
    lease = renewed(*every(2.0, 4.0))
    assert not lease.may_declare_dead(5.9)
    assert lease.grace_left(5.0) == 1.0
    assert renewed(*every(2.0, 6.0)).may_declare_dead(6.0)


def test_a_node_that_renews_in_time_may_declare_others_dead() -> None:
    lease = renewed(*every(2.0, 20.0))
    assert lease.may_declare_dead(22.5)
    assert lease.grace_left(22.5) == 0.0


@pytest.mark.parametrize("outage", [3.1, 4.5, 5.9, 60.0])
def test_after_an_outage_others_get_a_lease_to_renew_theirs(outage: float) -> None:
    lease = renewed(*every(2.0, 20.0))
    back = 20.0 + outage
    assert not lease.may_declare_dead(back), "before the first renewal"
    lease.renewing(back)
    lease.renewed(back, lapsed=outage > SECONDS)
    assert not lease.may_declare_dead(back + 2.9)
    for time in (back + 2, back + 4, back + 6):
        lease.renewed(time, lapsed=False)
    assert not lease.may_declare_dead(back + 5.9)
    assert lease.may_declare_dead(back + 6.0)


def test_who_asks_during_an_outage_waits_a_lease_from_then_on() -> None:
    lease = renewed(*every(2.0, 20.0))
    assert lease.grace_left(24.0) == SECONDS
    assert renewed(*every(2.0, 20.0)).grace_left(21.0, restart=True) == SECONDS


def test_a_lapsed_lease_begins_a_grace_period() -> None:
    lease = renewed(*every(2.0, 20.0))
    lease.renewed(22.0, lapsed=True)
    assert not lease.may_declare_dead(23.0)
    assert lease.grace_left(23.0) == 5.0


def test_a_lease_may_be_lost_from_nine_tenths_of_its_time_until_it_is_renewed() -> None:
    lease = renewed(*every(2.0, 20.0))
    assert lease.held_until >= 25.4
    assert lease.held_until < 25.5
    lease.renewing(25.5)
    assert lease.held_until < 25.5, "the answer decides"
    lease.renewed(25.5, lapsed=False)
    assert lease.held_until >= 25.5


def test_a_slow_answer_to_a_renewal_loses_nothing() -> None:
    lease = renewed(*every(2.0, 20.0))
    lease.renewing(22.0)
    assert lease.held_until >= 27.0


def test_renewals_are_due_three_times_a_lease() -> None:
    assert renewed(0.0, 2.5).next_renewal == 4.5


def test_the_shortest_lease_allows_for_blocked_reads() -> None:
    """Redis ends blocked reads ten times a second, and a node renews its lease between two reads."""
    shortest = SETTINGS["LEASE_SECONDS"].minimum or 0.0
    lease = renewed(*every(shortest / 3 + 0.1, 20.0), seconds=shortest)
    assert lease.may_declare_dead(20.0)
