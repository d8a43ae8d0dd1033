"""The bodies of requests in flight that another node shall run again after their node died."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from mcp_transport.backends.codec import encode_id
from mcp_transport.backends.dynamodb.client import MAX_ITEM_BYTES, DynamoClient
from mcp_transport.backends.dynamodb.items import Address, digest, expiry
from mcp_transport.backends.dynamodb.session_record import session_pk
from mcp_transport.domain.session import InFlightRequest
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["RequestBodies"]

_PREFIX: Final = "body#"


class RequestBodies:
    """Stores each body in as many items as it needs."""

    def __init__(self, client: DynamoClient) -> None:
        self._client = client

    async def write(self, key: str, requests: Iterable[InFlightRequest], expires: float) -> dict[RequestId, int]:
        """Store the bodies; return in how many items each of them is. Raises: BackendError."""
        items, counts = [], dict[RequestId, int]()
        for request in requests:
            parts = [request.body[at : at + MAX_ITEM_BYTES] for at in range(0, len(request.body), MAX_ITEM_BYTES)]
            if parts:
                counts[request.request_id] = len(parts)
            for position, part in enumerate(parts):
                address = _address(key, request, position)
                items.append({**address._asdict(), "b": part, **expiry(expires)})
        await self._client.write_each(items)
        return counts

    async def read(
        self, key: str, requests: Sequence[InFlightRequest], counts: Mapping[RequestId, int]
    ) -> tuple[InFlightRequest, ...]:
        """Return the requests with their bodies; one that lacks a part has none. Raises: BackendError."""
        places = {
            request.request_id: [
                _address(key, request, position) for position in range(counts.get(request.request_id, 0))
            ]
            for request in requests
        }
        stored = await self._client.get_each(address for parts in places.values() for address in parts)
        bodies = {
            request_id: b"".join(stored[address]["b"] for address in parts)
            for request_id, parts in places.items()
            if all(isinstance(stored.get(address, {}).get("b"), bytes) for address in parts)
        }
        return tuple(replace(request, body=bodies.get(request.request_id, b"")) for request in requests)

    async def delete(self, key: str, stream: str) -> None:
        """Delete the bodies of a stream's requests. Raises: BackendError."""
        low = f"{_PREFIX}{stream}#"
        items = await self._client.query(session_pk(key), low, f"{low}~", names=("pk", "sk"))
        await self._client.write_each(deletes=[Address(item["pk"], item["sk"]) for item in items])


def _address(key: str, request: InFlightRequest, position: int) -> Address:
    """Name an item after the digest, too: another request with the same idempotency key is refused only later."""
    name = digest(f"{encode_id(request.request_id).decode()} {request.digest.hex()}")
    return Address(session_pk(key), f"{_PREFIX}{request.stream}#{name}#{position:03d}")
