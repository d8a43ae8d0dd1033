"""Who listens to the signals in tests, and who calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from mcp_transport import signals
from mcp_transport.auth.authenticator import Authenticator, bearer_token
from mcp_transport.contrib.audit import receivers
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import session_key, short_id
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.protocol.http import HTTPRequest
from tests.support.client import Answer, SessionClient, request, send

__all__ = ["ANN", "BADGE", "SECRET", "SIGNALS", "AnnsClient", "Badge", "as_ann", "receiving", "recording"]

SIGNALS = (signals.session_opened, signals.session_closed, signals.tool_called, signals.access_denied)
BADGE = "tests.support.listeners.Badge"
ANN = Principal("badges", "7", name="ann", scopes=frozenset({"read"}))
SECRET = "ann-and-what-only-she-knows"


class Badge(Authenticator):
    """Knows Ann, by a secret."""

    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        token = bearer_token(request)
        if token not in (None, SECRET):
            raise InvalidCredentials("not Ann's")
        return ANN if token else None


def as_ann(**more: str | None) -> dict[str, str | None]:
    """Return the headers of a request of hers."""
    return {"authorization": f"Bearer {SECRET}", **{name.replace("_", "-"): value for name, value in more.items()}}


class AnnsClient(SessionClient):
    """A client that always shows Ann's credentials."""

    async def open(self, capabilities: dict[str, Any] | None = None) -> Answer:
        info = {"name": "desk", "version": "1"}
        params = {"protocolVersion": self.version, "capabilities": {}, "clientInfo": info}
        answer = await send(self.endpoint, body=request("initialize", params), headers=as_ann())
        assert answer.status == 200, answer.body
        self.session_id = answer.headers["mcp-session-id"]
        assert (await self.notify("notifications/initialized")).status == 202
        return answer

    @property
    def headers(self) -> dict[str, str | None]:
        return {**super().headers, **as_ann()}

    @property
    def short_id(self) -> str:
        return short_id(session_key(self.session_id))


@contextmanager
def receiving() -> Iterator[list[Any]]:
    """Collect every event."""
    received: list[Any] = []

    def hear(event: Any, **kwargs: Any) -> None:
        received.append(event)

    for signal in SIGNALS:
        signal.connect(hear)
    try:
        yield received
    finally:
        signals.settle()
        for signal in SIGNALS:
            signal.disconnect(hear)


@contextmanager
def recording() -> Iterator[None]:
    """Have events stored.

    Django never closes connections to a database in memory, and the thread of the signals outlives the test.
    """
    receivers.connect()
    try:
        yield
    finally:
        signals._worker.submit(_close_connections).result(5)
        receivers.disconnect()


def _close_connections() -> None:
    for connection in connections.all(initialized_only=True):
        BaseDatabaseWrapper.close(connection)
