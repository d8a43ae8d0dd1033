"""Connections as clients keep them: one is opened when none is idle, and closed by a client that gives up."""

from __future__ import annotations

import asyncio
import itertools
import resource
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.bench.load import numbers
from tests.bench.overload.callers import Target
from tests.bench.wire import LOOPBACK, Answer, Connection, WrongAnswer, data_of, now

BROKEN, GIVEN_UP, NOT_SENT = 0, -1, -2
"""In place of a status: the connection broke, the client's patience ended, no connection could be opened."""

_SPARE_FILES = 200
# The kernel looks for a free port, for milliseconds where thousands are taken: each address has its own, once the
# port is chosen at `connect` (Python has the name of the option from 3.12 on).
_ADDRESSES = 32
_BIND_ADDRESS_NO_PORT = 24


@dataclass(slots=True)
class Call:
    """One request: when it was to be sent, and what became of it."""

    kind: str
    due: float
    started: float
    """When the generator came to it: on time, or it has fallen behind."""
    sent: float = 0.0
    ended: float = 0.0
    status: int = 0
    ok: bool = False
    """Whether it has succeeded."""
    limit: str = ""
    """The limit that a refusal names."""
    connection: Connection | None = field(default=None, repr=False)
    then: Callable[[Call], None] | None = field(default=None, repr=False)
    cancel: bytes = field(default=b"", repr=False)

    @property
    def latency(self) -> float:
        """Seconds from when it was to be sent, whenever it was."""
        return self.ended - self.due


class _Pooled(Connection):
    """A connection that says whether it was lost while idle."""

    is_lost = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        super().connection_lost(exc)


class Pool:
    """All connections of a load; `calls` has what was done with them."""

    def __init__(self, port: int, patience: float) -> None:
        self.port, self.patience = port, patience
        self.calls: list[Call] = []
        self.opened = 0
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = files - _SPARE_FILES
        self._addresses = itertools.count()
        self._idle: list[_Pooled] = []
        self._open: set[_Pooled] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[Call] = deque()
        self._is_closed = False

    def start(self, target: Target, due: float, then: Callable[[Call], None] | None = None) -> Call:
        """Send a request now, on an idle connection or a new one."""
        call = Call(target.kind, due, now(), then=then)
        self.calls.append(call)
        self._waiting.append(call)
        number = next(numbers)
        request = target.template % {b"n": number}
        if target.cancel:
            call.cancel = target.cancel % {b"n": number}
        if (connection := self._take_idle()) is not None:
            self._send(connection, call, request, number)
        elif len(self._open) + len(self._opening) >= self._most:
            self._end(call, NOT_SENT)
        else:
            task = asyncio.ensure_future(self._open_and_send(call, request, number))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        return call

    async def watch(self) -> None:
        """Give up calls whose patience is over, until cancelled."""
        while True:
            await asyncio.sleep(0.1)
            while self._waiting and (self._waiting[0].ended or self._waiting[0].due + self.patience < now()):
                if not (call := self._waiting.popleft()).ended:
                    self._give_up(call)

    async def close(self) -> None:
        """Close all connections, and end calls under way unseen."""
        self._is_closed = True
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for connection in self._open:
            connection.close()

    def _take_idle(self) -> _Pooled | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_lost:
                return connection
            self._open.discard(connection)
        return None

    async def _open_and_send(self, call: Call, request: bytes, number: int) -> None:
        try:
            connection = await self._connect()
        except OSError:
            self._end(call, BROKEN)
            return
        self.opened += 1
        self._open.add(connection)
        if call.ended:  # given up in the meantime
            self._idle.append(connection)
        else:
            self._send(connection, call, request, number)

    async def _connect(self) -> _Pooled:
        loop, end = asyncio.get_running_loop(), socket.socket()
        try:
            end.setblocking(False)
            end.setsockopt(socket.SOL_IP, _BIND_ADDRESS_NO_PORT, 1)
            end.bind((f"127.0.0.{2 + next(self._addresses) % _ADDRESSES}", 0))
            await loop.sock_connect(end, (LOOPBACK, self.port))
            _, connection = await loop.create_connection(_Pooled, sock=end)
        except BaseException:
            end.close()
            raise
        return connection

    def _send(self, connection: _Pooled, call: Call, request: bytes, number: int) -> None:
        def answered(answer: Answer) -> None:
            if connection.is_lost or b"connection: close" in answer.head.lower():
                self._open.discard(connection)
            else:
                self._idle.append(connection)
            judge(call, answer, number)
            self._end(call, answer.status)

        call.connection, call.sent = connection, now()
        connection.send(request, answered)

    def _give_up(self, call: Call) -> None:
        """Do as a client does: cancel a call in a session, leave without one."""
        if isinstance(connection := call.connection, _Pooled):
            self._open.discard(connection)
            connection.close()
        self._end(call, GIVEN_UP)
        if call.cancel and call.sent:
            self._cancel(call.cancel)

    def _cancel(self, request: bytes) -> None:
        if (connection := self._take_idle()) is not None:
            connection.send(request, lambda _: self._idle.append(connection))

    def _end(self, call: Call, status: int) -> None:
        if self._is_closed:
            return
        call.connection, call.status, call.ended = None, status, now()
        if call.ok and call.latency > self.patience:  # the answer came before `watch` did
            call.ok, call.status = False, GIVEN_UP
        if call.then is not None:
            call.then(call)


def judge(call: Call, answer: Answer, number: int) -> None:
    """Say whether a call has succeeded, and which limit has refused it.

    Raises:
        WrongAnswer: it is the answer to another call.
    """
    if call.kind == "/healthz":
        call.ok = answer.status == 200
        return
    message = _message(answer)
    if answer.status == 200 and message and message.get("id") != number:
        raise WrongAnswer(f"the answer to call {number} is {message}")
    result = message.get("result")
    call.ok = answer.status == 200 and isinstance(result, dict) and not result.get("isError")
    error = message.get("error")
    data = error.get("data") if isinstance(error, dict) else None
    call.limit = str(data.get("limit", "")) if isinstance(data, dict) else ""


def _message(answer: Answer) -> dict[str, Any]:
    """Return the message of an answer; empty where a stream ended without one, or something else refused."""
    body = answer.body
    if answer.status == 200 and not body.startswith(b"{"):
        body = data_of(body[max(body.rfind(b"data:"), 0) :])
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return message if isinstance(message, dict) else {}
