"""Updates of open pages: the same JSON for a WebSocket and for a page that polls."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.core import signing

from mcp_transport.admin.dashboard import Dashboard, to_json
from mcp_transport.admin.dashboard_options import DashboardOptions, may_drain
from mcp_transport.admin.tables import MessageRow, message_row, session_tables
from mcp_transport.domain.session import short_id
from mcp_transport.domain.stream_messages import StreamMessage
from mcp_transport.operators import service
from mcp_transport.operators.records import SessionDetail
from mcp_transport.operators.representation.fields import Table

__all__ = [
    "MessageFollower",
    "dashboard",
    "dashboard_update",
    "may_drain",
    "may_see_payloads",
    "may_view",
    "session_update",
]

logger = logging.getLogger(__name__)

# A page that was suspended for longer starts with the first stored message.
_MAX_CURSOR_AGE_SECONDS: Final = 24 * 3600


def may_view(user: Any) -> bool:
    """Return whether a user may view sessions; as in Django's admin, the change permission includes viewing."""
    if user is None or not (user.is_active and user.is_staff):
        return False
    return any(user.has_perm(f"mcp_transport.{action}_session") for action in ("view", "change"))


def may_see_payloads(user: Any) -> bool:
    """Return whether a user may see the arguments and results of calls."""
    return bool(user.has_perm("mcp_transport.view_mcp_payloads"))


@dataclass(slots=True, kw_only=True)
class MessageFollower:
    """The position of one user in the messages of a session, and whether their payloads are shown."""

    user: str
    key: str
    payloads: bool = False
    after: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def begin(cls, user: Any, key: str, query: Mapping[str, str], cursor: str = "") -> MessageFollower:
        """Start at a cursor. Access to payloads is logged once: the cursor records that it was."""
        follower = cls(user=str(user.pk), key=key, payloads=query.get("payloads") == "1" and may_see_payloads(user))
        state = follower._read_cursor(cursor)
        follower.after = state.get("after", {})
        if follower.payloads and not state.get("payloads"):
            logger.info("user %s viewed the payloads of session %s", user.pk, short_id(key))
        return follower

    @property
    def cursor(self) -> str:
        """Return the signed position, which is valid for this user and session only."""
        value = {"after": dict(self.after), "payloads": self.payloads}
        return signing.dumps(value, salt=self._salt, compress=True)

    @property
    def _salt(self) -> str:
        return f"{__name__}:{self.user}:{self.key}"

    def _read_cursor(self, cursor: str) -> dict[str, Any]:
        try:
            state: dict[str, Any] = signing.loads(cursor, salt=self._salt, max_age=_MAX_CURSOR_AGE_SECONDS)
        except signing.BadSignature:
            return {}
        return state

    async def read(self) -> tuple[SessionDetail, tuple[StreamMessage, ...]] | None:
        """Return a session and its new messages; None if it has ended. Raises: BackendError."""
        detail = await service.session_detail(self.key)
        batch = await service.new_messages(self.key, self.after) if detail is not None else None
        if detail is None or batch is None:
            return None
        self.after = batch.cursor
        return detail, batch.messages

    def rows(self, messages: tuple[StreamMessage, ...]) -> list[MessageRow]:
        """Return messages as lines of a page."""
        return [message_row(message, payloads=self.payloads) for message in messages]


async def session_update(follower: MessageFollower) -> dict[str, Any]:
    """Return the update of a session's page. Raises: BackendError."""
    result = await follower.read()
    if result is None:
        return {"over": True}
    detail, messages = result
    return {
        "tables": _rows(session_tables(detail)),
        "messages": [row.to_json() for row in follower.rows(messages)],
        "cursor": follower.cursor,
    }


async def dashboard(options: DashboardOptions) -> Dashboard:
    """Read the data of the dashboard. Raises: BackendError."""
    try:
        overview = await service.overview()
    except NotImplementedError:
        overview = None
    traffic, nodes = await service.traffic(), await service.nodes()
    return Dashboard(overview=overview, traffic=traffic, nodes=nodes, options=options)


async def dashboard_update(options: DashboardOptions) -> dict[str, Any]:
    """Return the update of the dashboard. Raises: BackendError."""
    content = await dashboard(options)
    return {
        "tables": _rows((content.breakers(),)),
        "grids": to_json(content.grids()),
        "points": content.points(),
    }


def _rows(tables: tuple[Table, ...]) -> dict[str, list[list[str]]]:
    return {table.name: table.rows for table in tables}
