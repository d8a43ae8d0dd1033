"""When a failed endpoint is tried again, and the retry budget of a client."""

from __future__ import annotations

from mcp_transport.client.circuit_breaker import Circuit, RetryBudget


def test_a_closed_circuit_lets_everything_through() -> None:
    circuit = Circuit()
    assert circuit.allows(0.0)
    assert circuit.probing(0.0, 5.0) == circuit


def test_each_failure_opens_it_for_longer_up_to_ten_seconds() -> None:
    circuit, waits = Circuit(), []
    for _ in range(7):
        circuit = circuit.failed(100.0)
        waits.append(circuit.open_until - 100.0)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert not circuit.allows(109.9)
    assert circuit.allows(110.0)


def test_a_million_failures_are_no_overflow() -> None:
    assert Circuit(failures=10**6).failed(0.0).open_until == 10.0


def test_half_open_it_lets_one_request_through_at_a_time() -> None:
    tried = Circuit().failed(0.0).probing(0.5, 5.0)
    assert not tried.allows(0.6)
    assert not tried.allows(5.4)
    assert tried.allows(5.5)


def test_an_endpoint_may_ask_for_a_longer_wait() -> None:
    assert Circuit().failed(0.0, retry_after=60.0).open_until == 60.0
    assert Circuit().failed(0.0, retry_after=0.1).open_until == 0.5


def test_an_endpoint_that_works_may_ask_for_a_rest() -> None:
    circuit = Circuit().paused(0.0, 3.0)
    assert circuit.failures == 0
    assert not circuit.allows(2.9)
    assert circuit.allows(3.0)


def test_a_rest_only_delays_requests_that_begin_work() -> None:
    assert Circuit().paused(0.0, 3.0).allows(1.0, begins_work=False)
    assert not Circuit().failed(0.0, retry_after=3.0).allows(1.0, begins_work=False)


def test_a_budget_is_spent_and_filled_up_over_time() -> None:
    budget = RetryBudget(capacity=3.0, per_second=1.0, tokens=3.0)
    assert [budget.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert budget.take(0.5) is False
    assert budget.take(1.0) is True
    assert budget.take(1.0) is False
    assert [budget.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    budget = RetryBudget(capacity=3.0, per_second=1.0, tokens=3.0, refilled_at=100.0)
    assert [budget.take(50.0) for _ in range(4)] == [True, True, True, False]
