"""Server events: from the code that publishes them to the `subscriptions/listen` streams of every node."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import ListenHandler, ServerEvent
from mcp.shared.subscriptions import ResourceUpdated, event_from_wire, event_to_notification
from mcp_types import SubscriptionsListenRequestParams, SubscriptionsListenResult

from mcp_transport.domain.node_messages import Broadcast
from mcp_transport.kernel.errors import TooLarge

__all__ = ["EventBus", "ListenHandlers"]


# Effectively no limit: admission, not the SDK, decides how many listen streams a caller may open.
_MAX_LISTEN_STREAMS: Final = 100_000

# Characters; no subscription can name a longer URI, and the message goes to every node.
_MAX_URI: Final = 64 * 1024


class EventBus:
    """The SDK's `SubscriptionBus`, implemented with messages between nodes."""

    def __init__(self) -> None:
        self.publish_to: Callable[[Broadcast], Awaitable[None]] | None = None
        # By loop: each loop of a process is a node of its own and receives its own copy of a message.
        self._listeners: WeakKeyDictionary[AbstractEventLoop, dict[object, Callable[[ServerEvent], None]]]
        self._listeners = WeakKeyDictionary()

    async def publish(self, event: ServerEvent) -> None:
        """Broadcast an event to all nodes. Raises: TooLarge."""
        uri = event.uri if isinstance(event, ResourceUpdated) else ""
        if len(uri) > _MAX_URI:
            raise TooLarge("the URI of a resource that has changed", len(uri), _MAX_URI)
        message = Broadcast(event_to_notification(event, {}).method, uri)
        if self.publish_to is None:
            self.deliver(message)
        else:
            await self.publish_to(message)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Register a listen stream of the running loop; return the function that unregisters it."""
        token, listeners = object(), self._listeners.setdefault(asyncio.get_running_loop(), {})
        listeners[token] = listener

        def unsubscribe() -> None:
            listeners.pop(token, None)

        return unsubscribe

    def deliver(self, message: Broadcast) -> None:
        """Pass an event to the listen streams of the running loop."""
        event = event_from_wire(message.method, {"uri": message.uri})
        listeners = self._listeners.get(asyncio.get_running_loop(), {})
        if event is not None:
            for listener in list(listeners.values()):
                listener(event)


class ListenHandlers:
    """Handles `subscriptions/listen` with one SDK handler per event loop, since a stream belongs to its loop."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._handlers: WeakKeyDictionary[AbstractEventLoop, ListenHandler] = WeakKeyDictionary()

    @property
    def here(self) -> ListenHandler:
        """Return the handler of the running loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._handlers:
            self._handlers[loop] = ListenHandler(self._bus, max_subscriptions=_MAX_LISTEN_STREAMS)
        return self._handlers[loop]

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        return await self.here(ctx, params)

    def close(self) -> None:
        """End every listen stream of the running loop with its final result."""
        self.here.close()
