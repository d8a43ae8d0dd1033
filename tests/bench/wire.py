"""HTTP/1.1 by hand: a client that costs less than what it measures."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from time import perf_counter
from typing import Self, cast

LOOPBACK = "127.0.0.1"
PATIENCE = 30.0
"""Seconds after which an answer is missing."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.I)
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_UNTIL_CLOSED = -1
_IN_CHUNKS = -2


class WrongAnswer(Exception):
    """Raised when a server answers something else than it should; it ends the run."""


class Answer:
    """One answer, complete; of one that was heard event by event the body is empty."""

    __slots__ = ("body", "head", "status")

    def __init__(self) -> None:
        self.status = 0
        self.head = b""
        self.body = b""

    def header(self, name: str) -> str:
        """Return a header, empty when it is missing."""
        found = re.search(rb"\r\n" + name.encode() + rb": *([^\r\n]*)", self.head, re.I)
        return found[1].decode().strip() if found else ""


Then = Callable[[Answer], None]
Heard = Callable[[bytes], None]


class Connection(asyncio.Protocol):
    """A connection that is kept alive, with at most one request under way.

    `then` is called with the complete answer. With `heard`, the body is taken for server-sent events, and each is
    handed over when its last byte arrives.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer = Answer()
        self._left = 0
        self._then: Then | None = None
        self._heard: Heard | None = None

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect to a port of the loopback interface."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, LOOPBACK, port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def close(self) -> None:
        """Close without waiting; an answer under way is given up."""
        self._then = None
        if self._transport is not None:
            self._transport.abort()

    @property
    def status(self) -> int:
        """The status of the answer under way or of the last one, 0 before its head is there."""
        return self._answer.status

    # -- asking

    def send(self, request: bytes, then: Then, heard: Heard | None = None) -> None:
        """Send a request; the answer to the one before must be complete."""
        assert self._then is None, "a request is under way"
        assert self._transport is not None
        self._answer, self._then, self._heard = Answer(), then, heard
        self._transport.write(request)

    async def ask(self, request: bytes, heard: Heard | None = None) -> Answer:
        """Send a request and wait for its answer."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.send(request, lambda answer: None if future.done() else future.set_result(answer), heard)
        async with asyncio.timeout(PATIENCE):
            return await future

    # -- reading

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._answer.head and not self._read_head():
            return
        if self._left == _IN_CHUNKS:
            self._read_chunks()
        elif self._left == _UNTIL_CLOSED:
            piece, self._buffer = self._buffer, b""
            self._take(piece)
        elif len(self._buffer) >= self._left:
            piece, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
            self._take(piece)
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._then is not None and self._answer.head and self._left == _UNTIL_CLOSED:
            self._finish()
        elif self._then is not None:
            then, self._then = self._then, None
            then(Answer())

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        answer = self._answer
        answer.head, self._buffer = self._buffer[: end + 2], self._buffer[end + 4 :]
        answer.status = int(answer.head[9:12])
        if found := _LENGTH.search(answer.head):
            self._left = int(found[1])
        elif _CHUNKED.search(answer.head):
            self._left = _IN_CHUNKS
        else:
            self._left = 0 if answer.status == 204 else _UNTIL_CLOSED
        return True

    def _read_chunks(self) -> None:
        buffer, start, pieces, over = self._buffer, 0, [], False
        while not over and (line := buffer.find(b"\r\n", start)) > 0:
            size = int(buffer[start:line], 16)
            end = line + 2 + size
            if len(buffer) < end + 2:
                break
            over = not size
            pieces.append(buffer[line + 2 : end])
            start = end + 2
        self._buffer = buffer[start:]
        self._take(b"".join(pieces))
        if over:
            self._finish()

    def _take(self, piece: bytes) -> None:
        answer = self._answer
        answer.body = answer.body + piece if answer.body else piece
        if self._heard is not None:
            *events, answer.body = _BLANK_LINE.split(answer.body)
            for event in events:
                self._heard(event)

    def _finish(self) -> None:
        then, self._then = self._then, None
        if then is not None:
            then(self._answer)


def data_of(event: bytes) -> bytes:
    """Return the data of a server-sent event, empty for a comment or a priming event."""
    return b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))


def id_of(event: bytes) -> str:
    """Return the id of a server-sent event, empty where there is none."""
    return next((line[3:].strip().decode() for line in event.splitlines() if line.startswith(b"id:")), "")


now = perf_counter
