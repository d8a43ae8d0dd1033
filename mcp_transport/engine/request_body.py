"""Reading a request's body, as far as its size and the memory for it allow."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Final

from mcp_transport.domain.policy import Policy
from mcp_transport.domain.principal import Principal
from mcp_transport.engine.memory_budget import Budget, Reservation
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import INVALID_REQUEST
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.memory_estimate import estimate_bytes
from mcp_transport.protocol.request_checks import body_too_large

__all__ = ["read_body"]

# Bytes of a body that nothing is reserved for: what they are decoded to takes no more than the rest of a call.
_FREE: Final = 2048

# Bytes that a piece of a body takes besides its content, and that a client can have each of its bytes take.
_PIECE: Final = 64


async def read_body(
    body: AsyncIterable[bytes], request: HTTPRequest, principal: Principal, policy: Policy, budget: Budget
) -> tuple[bytes, Reservation | None]:
    """Collect the body; return it and what is reserved for what will be decoded from it, unless it is small.

    Raises:
        ProtocolError: 413 at the first byte too many, 503 when there is no memory for it, 408 when it stops coming.
    """
    reservation = _expected(request, principal, budget) if budget.held else None
    pieces: list[bytes] = []
    size, free = 0, min(_FREE, policy.max_request_bytes)
    try:
        async for piece in body:
            pieces.append(piece)
            size += len(piece)
            if size > free:
                if size > policy.max_request_bytes:
                    raise body_too_large(policy)
                reservation = reservation or budget.reserve(principal, request.peer)
                reservation.resize(size + _PIECE * len(pieces))
        content = b"".join(pieces)
        if size > free and reservation is not None:
            reservation.resize(estimate_bytes(content))
    except BaseException as error:
        if reservation is not None:
            reservation.release()
        if not isinstance(error, TimeoutError):
            raise
        seconds = policy.body_timeout
        raise ProtocolError(408, INVALID_REQUEST, f"the body did not arrive within {seconds:g} seconds") from None
    return content, reservation


def _expected(request: HTTPRequest, principal: Principal, budget: Budget) -> Reservation | None:
    """Refuse a body before it is read, if it says that it will be too large for what is left."""
    declared = request.headers.get("content-length", "")
    if len(declared) < 4 or not declared.isdecimal() or (size := int(declared[:20])) <= _FREE:
        return None
    reservation = budget.reserve(principal, request.peer)
    reservation.expect(size)
    return reservation
