"""The URIs that a session has subscribed to, as one item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import orjson

from mcp_transport.backends.codec import dumps, milliseconds, seconds, strict
from mcp_transport.backends.dynamodb.items import Address, Item, expiry
from mcp_transport.backends.dynamodb.session_record import session_pk
from mcp_transport.backends.dynamodb.versioned import Kind

__all__ = ["Subscriptions", "subscriptions_address", "subscriptions_kind"]


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """The URIs, and when the session ends at the latest."""

    uris: frozenset[str]
    ends: float


def subscriptions_address(key: str) -> Address:
    """Return the address of a session's subscriptions."""
    return Address(session_pk(key), "subscriptions")


def _encode(subscriptions: Subscriptions) -> Item:
    content = dumps([milliseconds(subscriptions.ends), sorted(subscriptions.uris)])
    return {"d": content, **expiry(subscriptions.ends)}


@strict
def _decode(item: Item) -> Subscriptions:
    ends, uris = orjson.loads(item["d"])
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        raise ValueError("not a list of URIs")
    return Subscriptions(frozenset(uris), seconds(ends))


subscriptions_kind: Final = Kind(_decode, _encode)
