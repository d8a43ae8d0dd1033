from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from mcp_transport.protocol.policy import Policy
from mcp_transport.protocol.versions import REVISIONS


def test_both_eras_are_served_unless_the_operator_says_otherwise() -> None:
    assert set(Policy().versions) == set(REVISIONS)


def test_only_loopback_hosts_and_no_foreign_page_may_call_by_default() -> None:
    assert set(Policy().allowed_hosts) == {"localhost", "127.0.0.1", "[::1]"}
    assert Policy().allowed_origins == ()


def test_every_limit_is_finite_and_above_zero() -> None:
    policy = Policy()
    values = [getattr(policy, member.name) for member in fields(policy)]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    assert all(0 < number < float("inf") for number in numbers)


@pytest.mark.parametrize(
    ("shorter", "longer"),
    [
        ("session_ttl", "session_max_age"),
        ("keepalive", "session_ttl"),
        ("sse_after", "keepalive"),
        ("stream_keep", "session_ttl"),
        ("stream_queue", "stream_max_events"),
    ],
)
def test_defaults_stand_in_the_order_that_makes_them_work(shorter: str, longer: str) -> None:
    assert getattr(Policy(), shorter) < getattr(Policy(), longer)


def test_a_silent_stream_speaks_before_common_proxies_close_it() -> None:
    assert Policy().keepalive < 60


def test_a_policy_is_a_value_given_by_name() -> None:
    assert Policy(session_ttl=5.0).session_ttl == 5.0
    with pytest.raises(TypeError):
        Policy(("2025-11-25",))  # type: ignore[call-arg]
    with pytest.raises(FrozenInstanceError):
        Policy().session_ttl = 1.0  # type: ignore[misc]
