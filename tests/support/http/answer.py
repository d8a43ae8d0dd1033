"""An answer: status and headers first, the body as a test asks for it; each wait has a bound."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

PATIENCE = 30.0
"""Seconds after which a wait counts as failed."""
FOREVER = 10 * PATIENCE


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event; a priming event has an id and no data, a comment has nothing."""

    id: str | None = None
    data: str | None = None
    retry: int | None = None

    @property
    def message(self) -> dict[str, Any]:
        """The JSON-RPC message in it."""
        assert self.data, self
        message: dict[str, Any] = json.loads(self.data)
        return message

    @classmethod
    def parse(cls, text: str) -> Event:
        """Read the lines of an event."""
        fields: dict[str, str] = {}
        for line in text.split("\n"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        return cls(fields.get("id"), fields.get("data"), int(fields["retry"]) if "retry" in fields else None)


def last_message(body: str) -> Any:
    """Return the JSON-RPC message of a whole body: a document, or the last event of a stream.

    A server that is slow for a moment answers with a stream.
    """
    if body.lstrip().startswith("{"):
        return json.loads(body)
    return Event.parse(body.rstrip("\n").rpartition("\n\n")[2]).message


class Answer(ABC):
    """An answer whose head has arrived."""

    status: int
    lines: list[tuple[str, str]]
    """The header lines as they came."""

    def __init__(self) -> None:
        self._text = bytearray()
        self.over = False
        self.broken = False
        """Whether the connection ended before the body did, as it does when a node is killed."""
        self.last_event_id: str | None = None
        self.retry: int | None = None
        self.comments = 0

    @abstractmethod
    async def _piece(self) -> bytes:
        """Return the next bytes of the body, b"" at its end."""

    @abstractmethod
    async def close(self) -> None:
        """Leave, as a client does that wants no more."""

    # -- the head

    @property
    def headers(self) -> dict[str, str]:
        """The headers by their names in lower case."""
        return {name.lower(): value for name, value in self.lines}

    def header(self, name: str) -> str | None:
        """Return a header, None when it is missing; it must not be there twice."""
        values = [value for known, value in self.lines if known.lower() == name.lower()]
        assert len(values) < 2, f"{name} twice: {values}"
        return values[0] if values else None

    @property
    def is_stream(self) -> bool:
        return (self.header("content-type") or "").startswith("text/event-stream")

    # -- a complete answer

    async def _read_piece(self) -> None:
        """Append the next bytes of the body, or note its end."""
        piece = await self._piece()
        self._text += piece
        self.over = self.over or not piece

    async def read(self, within: float = PATIENCE) -> bytes:
        """Return the whole body."""
        async with asyncio.timeout(within):
            while not self.over:
                await self._read_piece()
        assert not self.broken, f"the body breaks off after {len(self._text)} bytes: {bytes(self._text[:200])!r}"
        return bytes(self._text)

    async def json(self, within: float = PATIENCE) -> Any:
        """Return the body's value."""
        body = await self.read(within)
        assert self.header("content-type") == "application/json", (self.status, self.lines, body)
        return json.loads(body)

    # -- a stream

    async def frame(self, within: float = PATIENCE) -> Event | None:
        """Return the next event or comment; None at the end, `broken` or not."""
        assert self.is_stream, (self.status, self.lines, await self.read())
        async with asyncio.timeout(within):
            while (end := self._text.find(b"\n\n")) < 0:
                if self.over:
                    assert self.broken or not self._text, f"a stream ends within an event: {bytes(self._text)!r}"
                    return None
                await self._read_piece()
        event = Event.parse(self._text[:end].decode())
        del self._text[: end + 2]
        self.comments += event == Event()
        self.last_event_id = event.id or self.last_event_id
        self.retry = self.retry if event.retry is None else event.retry
        return event

    async def next_event(self, within: float = PATIENCE) -> Event | None:
        """Return the next event, None at the end; comments are counted on the way."""
        async with asyncio.timeout(within):
            while (event := await self.frame(FOREVER)) == Event():
                pass
        return event

    async def event(self, within: float = PATIENCE) -> Event | None:
        """Return the next event that carries a message, None at the end."""
        async with asyncio.timeout(within):
            while (event := await self.frame(FOREVER)) is not None and not event.data:
                pass
        return event

    async def next_message(self, within: float = PATIENCE) -> dict[str, Any] | None:
        """Return the next JSON-RPC message, None at the end."""
        event = await self.event(within)
        return event.message if event is not None else None

    async def message(self) -> dict[str, Any]:
        """Return the next JSON-RPC message, which must come."""
        message = await self.next_message()
        assert message is not None, f"the stream ended (broken: {self.broken})"
        return message

    async def events(self, within: float = PATIENCE) -> list[Event]:
        """Return the events that carry a message, until the stream ends."""
        found = []
        async with asyncio.timeout(within):
            while (event := await self.event(FOREVER)) is not None:
                found.append(event)
        return found

    async def messages(self, within: float = PATIENCE) -> list[dict[str, Any]]:
        """Return all messages until the stream ends."""
        return [event.message for event in await self.events(within)]

    async def outcome(self, within: float = PATIENCE) -> dict[str, Any]:
        """Return the JSON-RPC answer, whichever way it comes, and skip the messages before it."""
        if not self.is_stream:
            answer: dict[str, Any] = await self.json(within)
            return answer
        async with asyncio.timeout(within):
            while (message := await self.next_message(FOREVER)) is not None:
                if "method" not in message:
                    return message
        raise AssertionError(f"the stream ended without an answer (broken: {self.broken})")

    async def text(self, within: float = PATIENCE) -> str:
        """Return the text of a tool's result."""
        outcome = await self.outcome(within)
        assert "result" in outcome, outcome
        text: str = outcome["result"]["content"][0]["text"]
        return text
