"""Keeps pages of the admin up to date by WebSocket, with the same updates that polling returns."""

from __future__ import annotations

import asyncio
import json
import logging
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qsl

from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.utils import translation

from mcp_transport.admin import live
from mcp_transport.admin.dashboard_options import DashboardOptions
from mcp_transport.exceptions import BackendError

__all__ = ["DashboardConsumer", "LiveConsumer", "SessionConsumer"]

logger = logging.getLogger(__name__)

_NORMAL_CLOSURE: Final = 1000
_INTERNAL_ERROR: Final = 1011


class LiveConsumer(AsyncJsonWebsocketConsumer, ABC):
    """Sends updates to a user who may view sessions, whenever they differ from the previous one."""

    interval: float = 1.0
    """Seconds between updates."""
    lifetime: float = 60.0
    """Seconds until the page must open a new socket: a user who has logged out or lost a permission cannot."""

    _following: asyncio.Task[None] | None = None

    @abstractmethod
    async def update(self) -> dict[str, Any]:
        """Return the current update. Raises: BackendError."""

    async def begin(self, user: Any) -> None:
        """Prepare for updates to `user`."""

    async def connect(self) -> None:
        """Accept users who may view sessions; reject others."""
        user = self.scope.get("user")
        if not await sync_to_async(live.may_view)(user):
            await self.close()
            return
        await self.accept()
        self._following = asyncio.create_task(self._follow(user))

    async def disconnect(self, code: int) -> None:
        """Stop the updates."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Ignore messages from the page."""

    @property
    def query(self) -> dict[str, str]:
        """Return the parameters of the query string."""
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1")))

    async def _follow(self, user: Any) -> None:
        try:
            await self.begin(user)
            with translation.override(_language(self.query.get("language", ""))):
                await self._send_updates()
            await self.close(_NORMAL_CLOSURE)
        except Exception:
            logger.exception("a page could not be kept up to date")
            await self.close(_INTERNAL_ERROR)

    async def _send_updates(self) -> None:
        loop = asyncio.get_running_loop()
        end, previous = loop.time() + self.lifetime, None
        while loop.time() < end:
            try:
                update = await self.update()
            except BackendError as error:
                update = {"error": str(error)}
            # The signature of the cursor contains the time, so it always differs.
            content = {name: value for name, value in update.items() if name != "cursor"}
            if content != previous:
                await self.send_json(update)
            if "over" in update:
                return
            previous = {**content, "messages": []} if "messages" in content else content
            await asyncio.sleep(self.interval)


class SessionConsumer(LiveConsumer):
    """Updates the page of a session, starting at the cursor in the page's first message."""

    cursor_timeout: float = 5.0
    """Seconds to wait for the cursor; without one, updates start with the first stored message."""

    _follower: live.MessageFollower

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cursor = asyncio.Queue[str](maxsize=1)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Take the cursor, and ignore later messages."""
        if not self._cursor.full():
            self._cursor.put_nowait(_cursor_of(text_data or ""))

    async def begin(self, user: Any) -> None:
        """Start at the cursor of the page."""
        cursor = ""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.cursor_timeout):
                cursor = await self._cursor.get()
        key = self.scope["url_route"]["kwargs"]["key"]
        self._follower = await sync_to_async(live.MessageFollower.begin)(user, key, self.query, cursor)

    async def update(self) -> dict[str, Any]:
        """Return the update of a session's page."""
        return await live.session_update(self._follower)


class DashboardConsumer(LiveConsumer):
    """Updates the dashboard."""

    interval = 3.0  # nodes publish their metrics three times per lease

    _options: DashboardOptions

    async def begin(self, user: Any) -> None:
        """Show what the page shows, and what its user may do."""
        self._options = await sync_to_async(DashboardOptions.of)(user, self.query)

    async def update(self) -> dict[str, Any]:
        """Return the update of the dashboard."""
        return await live.dashboard_update(self._options)


def _cursor_of(message: str) -> str:
    """Return the cursor in a page's message; empty if the message is malformed."""
    try:
        cursor = json.loads(message)["cursor"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return cursor if isinstance(cursor, str) else ""


def _language(code: str) -> str:
    """Return the supported language for a page's language code."""
    try:
        return translation.get_supported_language_variant(code)
    except LookupError:
        return translation.get_language() or "en"
