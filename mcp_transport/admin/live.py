"""Updates of open pages: the same JSON for a WebSocket and for a page that polls."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.core import signing

from mcp_transport.admin.dashboard import Dashboard, to_json
from mcp_transport.admin.dashboard_options import DashboardOptions, may_drain
from mcp_transport.admin.session_page import (
    Item,
    Waits,
    message_items,
    moments,
    request_items,
    session_tables,
    update_waits,
)
from mcp_transport.domain.session import short_id
from mcp_transport.domain.session_query import state_of
from mcp_transport.domain.stream_messages import StreamMessage
from mcp_transport.operators import service
from mcp_transport.operators.records import SessionDetail
from mcp_transport.operators.representation.fields import Table
from mcp_transport.operators.representation.sessions import STATE_LABELS

__all__ = [
    "MessageFollower",
    "dashboard",
    "dashboard_update",
    "may_drain",
    "may_see_payloads",
    "may_view",
    "session_state",
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
    waits: Waits = field(default_factory=dict)
    """Which streams wait for their clients, after the messages that were read."""

    @classmethod
    def begin(cls, user: Any, key: str, query: Mapping[str, str], cursor: str = "") -> MessageFollower:
        """Start at a cursor. Access to payloads is logged once: the cursor records that it was."""
        follower = cls(user=str(user.pk), key=key, payloads=query.get("payloads") == "1" and may_see_payloads(user))
        state = follower._read_cursor(cursor)
        follower.after = state.get("after", {})
        follower.waits = {stream: (method, since) for stream, (method, since) in state.get("waits", {}).items()}
        if follower.payloads and not state.get("payloads"):
            logger.info("user %s viewed the payloads of session %s", user.pk, short_id(key))
        return follower

    @property
    def cursor(self) -> str:
        """Return the signed position, which is valid for this user and session only."""
        value = {"after": dict(self.after), "payloads": self.payloads, "waits": dict(self.waits)}
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
        # Afterwards the session is read with the call of each message: it has begun, and may have ended.
        batch = await service.new_messages(self.key, self.after)
        detail = await service.session_detail(self.key) if batch is not None else None
        if detail is None or batch is None:
            return None
        self.after, self.waits = batch.cursor, update_waits(self.waits, batch.messages)
        return detail, batch.messages

    def messages(self, detail: SessionDetail, messages: tuple[StreamMessage, ...]) -> list[Item]:
        """Return messages as lines of the timeline."""
        return message_items(detail, messages, payloads=self.payloads)

    def requests(self, detail: SessionDetail) -> list[Item]:
        """Return requests and events as lines of the timeline."""
        return request_items(detail, self.waits, payloads=self.payloads)


async def session_update(follower: MessageFollower) -> dict[str, Any]:
    """Return the update of a session's page. Raises: BackendError."""
    result = await follower.read()
    if result is None:
        return {"over": True}
    detail, messages = result
    return {
        "tables": _rows(session_tables(detail, follower.waits)),
        "state": session_state(detail),
        "moments": moments(detail),
        "timeline": [item.to_json() for item in follower.requests(detail)],
        "messages": [item.to_json() for item in follower.messages(detail, messages)],
        "cursor": follower.cursor,
    }


def session_state(detail: SessionDetail) -> dict[str, str]:
    """Return the state of a session, and its words."""
    state = state_of(detail.session, time.time())
    return {"value": state.value, "label": str(STATE_LABELS[state])}


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
