"""What pages are told while they are open, in the same JSON for a WebSocket and for a page that polls."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.core import signing

from mcp_transport.admin.dashboard import Dashboard
from mcp_transport.admin.tables import MessageRow, Table, message_line, session_tables
from mcp_transport.domain.session import short_id
from mcp_transport.domain.stream_messages import StreamMessage
from mcp_transport.operators import service
from mcp_transport.operators.service import SessionDetail

__all__ = ["MessageFollower", "dashboard", "dashboard_news", "may_see_payloads", "may_view", "session_news"]

logger = logging.getLogger(__name__)

# A page that slept for longer begins anew.
_CURSOR_SECONDS: Final = 24 * 3600


def may_view(user: Any) -> bool:
    """Tell whether somebody may see sessions; as everywhere in Django, who may change may view."""
    if user is None or not (user.is_active and user.is_staff):
        return False
    return any(user.has_perm(f"mcp_transport.{action}_session") for action in ("view", "change"))


def may_see_payloads(user: Any) -> bool:
    """Tell whether somebody may see what calls are made with, and what they return."""
    return bool(user.has_perm("mcp_transport.view_mcp_payloads"))


@dataclass(slots=True, kw_only=True)
class MessageFollower:
    """How far somebody has read the messages of a session, and whether he sees their payloads."""

    user: str
    key: str
    payloads: bool = False
    after: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def begin(cls, user: Any, key: str, asked: Mapping[str, str], cursor: str = "") -> MessageFollower:
        """Begin where a cursor says; that payloads are looked at is logged once, then the cursor says so."""
        reading = cls(user=str(user.pk), key=key, payloads=asked.get("payloads") == "1" and may_see_payloads(user))
        known = reading._read_cursor(cursor)
        reading.after = known.get("after", {})
        if reading.payloads and not known.get("payloads"):
            logger.info("user %s looks at the payloads of session %s", user.pk, short_id(key))
        return reading

    @property
    def cursor(self) -> str:
        """Return how far it got, which nobody else can use, or make up."""
        value = {"after": dict(self.after), "payloads": self.payloads}
        return signing.dumps(value, salt=self._salt, compress=True)

    @property
    def _salt(self) -> str:
        return f"{__name__}:{self.user}:{self.key}"

    def _read_cursor(self, cursor: str) -> dict[str, Any]:
        try:
            known: dict[str, Any] = signing.loads(cursor, salt=self._salt, max_age=_CURSOR_SECONDS)
        except signing.BadSignature:
            return {}
        return known

    async def read(self) -> tuple[SessionDetail, tuple[StreamMessage, ...]] | None:
        """Return a session and its new messages; None when it is over. Raises: BackendError."""
        detail = await service.look_into(self.key)
        news = await service.new_messages(self.key, self.after) if detail is not None else None
        if detail is None or news is None:
            return None
        self.after = news.cursor
        return detail, news.messages

    def lines(self, messages: tuple[StreamMessage, ...]) -> list[MessageRow]:
        """Return what is shown of messages."""
        return [message_line(message, payloads=self.payloads) for message in messages]


async def session_news(reading: MessageFollower) -> dict[str, Any]:
    """Return what is new in a session. Raises: BackendError."""
    found = await reading.read()
    if found is None:
        return {"over": True}
    detail, messages = found
    return {
        "tables": _rows(session_tables(detail)),
        "messages": [line.to_json() for line in reading.lines(messages)],
        "cursor": reading.cursor,
    }


async def dashboard() -> Dashboard:
    """Return what the dashboard shows. Raises: BackendError."""
    try:
        overview = await service.overview()
    except NotImplementedError:
        overview = None
    return Dashboard(overview=overview, traffic=await service.traffic(), nodes=await service.nodes())


async def dashboard_news() -> dict[str, Any]:
    """Return what the dashboard shows by now. Raises: BackendError."""
    known = await dashboard()
    return {"tables": _rows(known.tables()), "points": known.points()}


def _rows(tables: tuple[Table, ...]) -> dict[str, list[list[str]]]:
    return {table.name: table.rows for table in tables}
