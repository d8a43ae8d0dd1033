"""What pages of the admin follow by WebSocket; the same as they are told when they poll."""

from __future__ import annotations

import asyncio
import json
import logging
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.utils import translation

from mcp_transport.admin import live
from mcp_transport.exceptions import BackendError

__all__ = ["DashboardConsumer", "LiveConsumer", "SessionConsumer"]

logger = logging.getLogger(__name__)

_NORMAL: Final = 1000
_FAULT: Final = 1011

if TYPE_CHECKING:  # the framework has no types, and what derives from no type cannot be checked

    class _Consumer:
        scope: dict[str, Any]

        @classmethod
        def as_asgi(cls) -> Any: ...
        async def accept(self) -> None: ...
        async def close(self, code: int | None = None) -> None: ...
        async def send_json(self, content: Any) -> None: ...

else:
    _Consumer = AsyncJsonWebsocketConsumer


class LiveConsumer(_Consumer, ABC):
    """Tells somebody who may view sessions what is new, as soon as it differs."""

    interval: float = 1.0
    """Seconds between looks."""
    lifetime: float = 60.0
    """Seconds until the page has to open it again: who has logged out by then, or lost a permission, cannot."""

    _following: asyncio.Task[None] | None = None

    @abstractmethod
    async def news(self) -> dict[str, Any]:
        """Return what the page is told. Raises: BackendError."""

    async def begin(self, user: Any) -> None:
        """Remember who looks at what."""

    async def connect(self) -> None:
        """Accept who may view sessions, and close all others before they are accepted."""
        user = self.scope.get("user")
        if not await sync_to_async(live.may_view)(user):
            await self.close()
            return
        await self.accept()
        self._following = asyncio.create_task(self._follow(user))

    async def disconnect(self, code: int) -> None:
        """Look no more."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Ignore what is sent: a page only listens."""

    @property
    def asked(self) -> dict[str, str]:
        """Return what the address asks for."""
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1")))

    async def _follow(self, user: Any) -> None:
        try:
            await self.begin(user)
            with translation.override(_language(self.asked.get("language", ""))):
                await self._tell()
            await self.close(_NORMAL)
        except Exception:
            logger.exception("a page could not be kept up to date")
            await self.close(_FAULT)

    async def _tell(self) -> None:
        loop = asyncio.get_running_loop()
        end, told = loop.time() + self.lifetime, None
        while loop.time() < end:
            try:
                news = await self.news()
            except BackendError as error:
                news = {"error": str(error)}
            # The cursor is signed anew each time.
            shown = {name: value for name, value in news.items() if name != "cursor"}
            if shown != told:
                await self.send_json(news)
            if "over" in news:
                return
            told = {**shown, "messages": []} if "messages" in shown else shown
            await asyncio.sleep(self.interval)


class SessionConsumer(LiveConsumer):
    """Tells what is new in a session, from where the page says in its first message that it is."""

    patience: float = 5.0
    """Seconds until it begins anew for a page that says nothing."""

    _reading: live.MessageFollower

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cursor = asyncio.Queue[str](maxsize=1)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Take the cursor, and ignore what is sent after it."""
        if not self._cursor.full():
            self._cursor.put_nowait(_cursor_of(text_data or ""))

    async def begin(self, user: Any) -> None:
        """Begin to read where the page is."""
        cursor = ""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.patience):
                cursor = await self._cursor.get()
        key = self.scope["url_route"]["kwargs"]["key"]
        self._reading = await sync_to_async(live.MessageFollower.begin)(user, key, self.asked, cursor)

    async def news(self) -> dict[str, Any]:
        """Return what is new in the session."""
        return await live.session_news(self._reading)


class DashboardConsumer(LiveConsumer):
    """Tells what the dashboard shows by now."""

    interval = 3.0  # nodes tell what they counted three times a lease

    async def news(self) -> dict[str, Any]:
        """Return all sessions, calls and nodes, summed up."""
        return await live.dashboard_news()


def _cursor_of(message: str) -> str:
    """Return the cursor in a page's message, and none if it is not one."""
    try:
        cursor = json.loads(message)["cursor"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return cursor if isinstance(cursor, str) else ""


def _language(asked: str) -> str:
    """Return the language of the page, as far as the project speaks it."""
    try:
        return translation.get_supported_language_variant(asked)
    except LookupError:
        return translation.get_language() or "en"
