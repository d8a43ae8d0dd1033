"""The events of streams: items of several events, or of a part of a large one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from mcp_transport.backends.codec import each, strict
from mcp_transport.backends.dynamodb.client import MAX_ITEM_BYTES, DynamoClient
from mcp_transport.backends.dynamodb.items import Address, Item, count_of, expiry
from mcp_transport.backends.dynamodb.session_record import session_pk
from mcp_transport.backends.dynamodb.stream_state import StreamState
from mcp_transport.backends.dynamodb.table import MAX_EVENT_BYTES
from mcp_transport.backends.results import Event
from mcp_transport.exceptions import BackendError

__all__ = ["EVENT_PREFIX", "EventLog", "event_items"]

EVENT_PREFIX: Final = "event#"

_TERMINAL: Final = b"."
_ORDINARY: Final = b"+"


class EventLog:
    """Writes, reads and deletes events."""

    def __init__(self, client: DynamoClient) -> None:
        self._client = client

    async def write(self, key: str, stream: str, events: Sequence[Event], expires: float) -> None:
        """Store events; they count once the state of the stream has their numbers. Raises: BackendError."""
        items = event_items(key, stream, events, expires)
        await self._client.write_each(items)

    async def read(self, key: str, stream: str, after: int, state: StreamState) -> tuple[tuple[Event, ...], int]:
        """Return the events after a number, and how many of those are lost. Raises: BackendError."""
        ranges = state.numbers_after(after)
        if not ranges:
            return (), state.lost_after(after, ())
        low, high = _sort_key(stream, ranges[0][0]), f"{_sort_key(stream, state.last)}~"
        stored = list[Event]()
        for event in _events(await self._client.query(session_pk(key), low, high)):
            is_next = event.seq > (stored[-1].seq if stored else after)
            if is_next and any(first <= event.seq <= last for first, last in ranges):
                stored.append(event)
        return tuple(stored), state.lost_after(after, stored)

    async def delete_before(self, key: str, stream: str, number: int) -> None:
        """Delete the items that have only events before a number. Raises: BackendError."""
        pk, low, high = session_pk(key), _sort_key(stream, 0), _sort_key(stream, number)
        items = await self._client.query(pk, low, high, names=("pk", "sk"))
        await self._client.write_each(deletes=[Address(pk, item["sk"]) for item in items if item["sk"] < high])


def event_items(key: str, stream: str, events: Sequence[Event], expires: float) -> Iterator[Item]:
    """Return the items for events, each named by its last event. Raises: BackendError for one that is too large."""
    pk = session_pk(key)
    for group in _groups(events):
        last, content = (
            group[-1].seq,
            [(_TERMINAL if event.terminal else _ORDINARY) + event.payload for event in group],
        )
        if len(content[0]) > MAX_EVENT_BYTES:
            size = len(content[0])
            raise BackendError(f"sessions in DynamoDB store events of at most {MAX_EVENT_BYTES} bytes, got {size}")
        if len(group) > 1 or len(content[0]) <= MAX_ITEM_BYTES:
            numbers = [event.seq for event in group]
            yield {"pk": pk, "sk": _sort_key(stream, last), "n": numbers, "e": content, **expiry(expires)}
            continue
        parts = [content[0][at : at + MAX_ITEM_BYTES] for at in range(0, len(content[0]), MAX_ITEM_BYTES)]
        for position, part in enumerate(parts):
            sk = f"{_sort_key(stream, last)}#{position:03d}"
            yield {"pk": pk, "sk": sk, "n": [last], "e": [part], "parts": len(parts), **expiry(expires)}


def _groups(events: Sequence[Event]) -> Iterator[list[Event]]:
    """Divide events into groups, each of which fits into an item unless it is a single event."""
    group, size = list[Event](), 0
    for event in events:
        if group and size + len(event.payload) > MAX_ITEM_BYTES:
            yield group
            group, size = [], 0
        group.append(event)
        size += len(event.payload) + 16
    if group:
        yield group


def _events(items: Sequence[Item]) -> Iterator[Event]:
    """Decode events, in order; log and skip unreadable items, and skip large events that lack a part."""
    parts = list[bytes]()
    for position, count, events in each("events of a stream", items, _decode):
        if not count:
            yield from events
            continue
        [event] = events
        parts = [*parts, event.payload] if position else [event.payload]
        if len(parts) == count == position + 1:
            whole = b"".join(parts)
            yield replace(event, payload=whole[1:], terminal=whole[:1] == _TERMINAL)


@strict
def _decode(item: Item) -> tuple[int, int, list[Event]]:
    """Return an item's events; for a part of a large one also its position, and how many parts there are."""
    numbers, payloads = item["n"], item["e"]
    if not all(isinstance(payload, bytes) for payload in payloads):
        raise ValueError("not events")
    pairs = [(count_of(number), payload) for number, payload in zip(numbers, payloads, strict=True)]
    if "parts" in item:
        [(number, part)] = pairs
        return int(item["sk"].rpartition("#")[2]), count_of(item["parts"], 1), [Event(number, part)]
    return 0, 0, [Event(number, raw[1:], raw[:1] == _TERMINAL) for number, raw in pairs]


def _sort_key(stream: str, number: int) -> str:
    return f"{EVENT_PREFIX}{stream}#{number:016d}"
