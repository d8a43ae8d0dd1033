"""What pages of the admin follow by WebSocket; the same as they are told when they poll."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
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

    def begin(self, user: Any) -> None:
        """Remember who looks at what; it may ask the database."""

    async def connect(self) -> None:
        """Accept who may view sessions, and close all others before they are accepted."""
        user = self.scope.get("user")
        if not await sync_to_async(live.may_view)(user):
            await self.close()
            return
        await sync_to_async(self.begin)(user)
        await self.accept()
        self._following = asyncio.create_task(self._follow())

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

    async def _follow(self) -> None:
        try:
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
    """Tells what is new in a session."""

    _reading: live.Reading

    def begin(self, user: Any) -> None:
        """Begin to read where the page is."""
        self._reading = live.Reading.begin(user, self.scope["url_route"]["kwargs"]["key"], self.asked)

    async def news(self) -> dict[str, Any]:
        """Return what is new in the session."""
        return await live.session_news(self._reading)


class DashboardConsumer(LiveConsumer):
    """Tells what the dashboard shows by now."""

    interval = 3.0  # nodes tell what they counted three times a lease

    async def news(self) -> dict[str, Any]:
        """Return all sessions, calls and nodes, summed up."""
        return await live.dashboard_news()


def _language(asked: str) -> str:
    """Return the language of the page, as far as the project speaks it."""
    try:
        return translation.get_supported_language_variant(asked)
    except LookupError:
        return translation.get_language() or "en"
