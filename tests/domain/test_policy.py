from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from mcp_transport.domain.policy import Policy


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
