"""Reading a request's body within the limits of its size and of memory."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Final

from mcp_transport.domain.policy import Policy
from mcp_transport.domain.principal import Principal
from mcp_transport.engine.memory_budget import MemoryBudget, Reservation
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import INVALID_REQUEST
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.memory_estimate import estimate_bytes
from mcp_transport.protocol.request_checks import body_too_large

__all__ = ["read_body"]

# Bodies up to this size reserve nothing: their decoded values take no more memory than the rest of a call.
_EXEMPT_BYTES: Final = 2048

# A chunk takes so much memory besides its content, and a client can send each byte as a chunk.
_CHUNK_OVERHEAD_BYTES: Final = 64


async def read_body(
    body: AsyncIterable[bytes], request: HTTPRequest, principal: Principal, policy: Policy, budget: MemoryBudget
) -> tuple[bytes, Reservation | None]:
    """Read the body; return it and the reservation for its decoded values, or None for a small body.

    Raises:
        ProtocolError: 413 for a body that is too large, 503 without memory for it, 408 if it does not arrive in time.
    """
    reservation = _reserve_declared(request, principal, budget) if budget.reserved_bytes else None
    chunks: list[bytes] = []
    size, exempt = 0, min(_EXEMPT_BYTES, policy.max_request_bytes)
    try:
        async for chunk in body:
            chunks.append(chunk)
            size += len(chunk)
            if size > exempt:
                if size > policy.max_request_bytes:
                    raise body_too_large(policy)
                reservation = reservation or budget.reserve(principal, request.peer)
                reservation.resize(size + _CHUNK_OVERHEAD_BYTES * len(chunks))
        content = b"".join(chunks)
        if size > exempt and reservation is not None:
            reservation.resize(estimate_bytes(content))
    except BaseException as error:
        if reservation is not None:
            reservation.release()
        if not isinstance(error, TimeoutError):
            raise
        seconds = policy.body_timeout
        raise ProtocolError(408, INVALID_REQUEST, f"the body did not arrive within {seconds:g} seconds") from None
    return content, reservation


def _reserve_declared(request: HTTPRequest, principal: Principal, budget: MemoryBudget) -> Reservation | None:
    """Check the declared size against the memory budget before the body is read. Raises: ProtocolError."""
    declared = request.headers.get("content-length", "")
    if len(declared) < 4 or not declared.isdecimal() or (size := int(declared[:20])) <= _EXEMPT_BYTES:
        return None
    reservation = budget.reserve(principal, request.peer)
    reservation.expect(size)
    return reservation
