"""The circuit breakers of a process: what its nodes have seen of each tool's calls, and heard from other nodes.

When a circuit opens or closes, the node tells the others (`NodeContext.send_to_other_nodes`); after a message that is
lost, a node finds out by itself.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

from mcp_transport.domain.circuit_breaker import (
    BreakerRecord,
    BreakerState,
    Circuit,
    CircuitBreaker,
    Permit,
    Result,
)
from mcp_transport.domain.node_messages import CircuitClosed, CircuitOpened
from mcp_transport.engine.clock import Clock
from mcp_transport.engine.observer import ClusterEvent, Observer
from mcp_transport.exceptions import Overloaded
from mcp_transport.kernel import CallPermit, current_permit
from mcp_transport.protocol.errors import overloaded
from mcp_transport.protocol.jsonrpc import Request

__all__ = ["CircuitBreakers", "SendToOthers"]

_LIMIT: Final = "circuit_breaker"
_MIN_RETRY_SECONDS: Final = 0.1

SendToOthers = Callable[[CircuitOpened | CircuitClosed], None]
"""Sends a message to the other nodes, in the background."""


class CircuitBreakers:
    """The circuits of a process's tools, by name; thread-safe, since a process may have several nodes."""

    def __init__(self, clock: Clock, observer: Observer) -> None:
        self._clock, self._observer, self._lock = clock, observer, threading.Lock()
        self._circuits: dict[str, tuple[CircuitBreaker, Circuit]] = {}
        self.opened: Counter[str] = Counter()
        """How often the circuit of each tool has opened because of the calls in this process."""
        self.refused: Counter[str] = Counter()
        """Refused calls, by tool."""

    def refuse(self, request: Request, breaker: CircuitBreaker) -> None:
        """Refuse a call that may not run, before anything is done for it. Raises: ProtocolError, 503."""
        if not request.hidden:
            try:
                self.check(request, breaker)
            except Overloaded as error:
                raise overloaded(error) from None

    def check(self, request: Request, breaker: CircuitBreaker) -> None:
        """Check that a call may run. Raises: Overloaded."""
        tool = _tool(request)
        seconds = self._circuit(tool).seconds_refused(breaker, self._clock.monotonic())
        if seconds:
            raise self._refusal(tool, seconds)

    def enter(self, request: Request, breaker: CircuitBreaker, send: SendToOthers) -> CallPermit:
        """Return the permit of a call, which is that of the running task from now on. Raises: Overloaded."""
        tool, now = _tool(request), self._clock.monotonic()
        with self._lock:
            circuit, permit = self._circuit(tool).enter(breaker, now)
            self._circuits[tool] = breaker, circuit
        if permit is None:
            raise self._refusal(tool, circuit.seconds_refused(breaker, now))
        call = _Permit(self, tool, breaker, permit, send)
        current_permit.set(call)
        return call

    def check_permit(self, tool: str, breaker: CircuitBreaker, permit: Permit) -> None:
        """Check that a call which has waited may begin. Raises: Overloaded."""
        circuit = self._circuit(tool)
        if circuit.has_ended(permit):
            raise self._refusal(tool, circuit.seconds_refused(breaker, self._clock.monotonic()))

    def settle(self, tool: str, breaker: CircuitBreaker, permit: Permit, result: Result, send: SendToOthers) -> None:
        """Count the result of a call; report and send it if its circuit opens or closes."""
        now = self._clock.monotonic()
        with self._lock:
            before = self._circuit(tool)
            after = before.settle(breaker, permit, result, now)
            self._circuits[tool] = breaker, after
            has_opened, has_closed = before.is_closed > after.is_closed, before.is_closed < after.is_closed
            self.opened[tool] += has_opened
        if has_opened:
            seconds = after.seconds_refused(breaker, now)
            self._observer.report(ClusterEvent.CIRCUIT_OPENED, tool=tool, seconds=round(seconds, 3))
            send(CircuitOpened(tool, seconds))
        if has_closed:
            self._observer.report(ClusterEvent.CIRCUIT_CLOSED, tool=tool)
            send(CircuitClosed(tool))

    def receive(self, message: CircuitOpened | CircuitClosed, breaker: CircuitBreaker | None) -> None:
        """Do what another node has done; `breaker` is what the tool declares here, if it declares one."""
        if breaker is None:
            return
        now = self._clock.monotonic()
        with self._lock:
            circuit = self._circuit(message.tool)
            if isinstance(message, CircuitOpened):
                circuit = circuit.opened_elsewhere(breaker, message.seconds, now)
            else:
                circuit = circuit.closed()
            self._circuits[message.tool] = breaker, circuit

    def reset(self, tool: str) -> None:
        """Close a tool's circuit in this process, for staff."""
        with self._lock:
            if tool in self._circuits:
                breaker, circuit = self._circuits[tool]
                self._circuits[tool] = breaker, circuit.closed()

    def states(self) -> dict[str, BreakerState]:
        """Return the state of each circuit, of the tools that have been called."""
        now = self._clock.monotonic()
        return {tool: circuit.state(breaker, now) for tool, (breaker, circuit) in list(self._circuits.items())}

    def records(self) -> tuple[BreakerRecord, ...]:
        """Return the circuits that are not closed."""
        now, offset = self._clock.monotonic(), self._clock.now() - self._clock.monotonic()
        return tuple(
            BreakerRecord(
                tool=tool,
                state=circuit.state(breaker, now),
                since=offset + circuit.since,
                until=offset + now + circuit.seconds_refused(breaker, now),
            )
            for tool, (breaker, circuit) in list(self._circuits.items())
            if not circuit.is_closed
        )

    def _circuit(self, tool: str) -> Circuit:
        return self._circuits[tool][1] if tool in self._circuits else Circuit()

    def _refusal(self, tool: str, seconds: float) -> Overloaded:
        with self._lock:
            self.refused[tool] += 1
        text = f"the circuit breaker of this tool is open, since its calls have failed ({_LIMIT}): try again later"
        return Overloaded(text, limit=_LIMIT, key="tool", retry_after=max(seconds, _MIN_RETRY_SECONDS))


def _tool(request: Request) -> str:
    return str((request.params or {}).get("name"))


class _Permit(CallPermit):
    """The permit of one call; its result counts once, whoever settles it first."""

    __slots__ = ("_breaker", "_breakers", "_is_settled", "_permit", "_send", "_tool", "has_started")

    def __init__(
        self, breakers: CircuitBreakers, tool: str, breaker: CircuitBreaker, permit: Permit, send: SendToOthers
    ) -> None:
        self._breakers, self._tool, self._breaker, self._permit, self._send = breakers, tool, breaker, permit, send
        self.has_started = self._is_settled = False

    def begin(self) -> None:
        self.has_started = True
        self._breakers.check_permit(self._tool, self._breaker, self._permit)

    def settle(self, result: Result) -> None:
        if not self._is_settled:
            self._is_settled = True
            self._breakers.settle(self._tool, self._breaker, self._permit, result, self._send)
