"""The official SDK's client, over several endpoints of one server."""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

import anyio
import httpx2
import mcp.client
import mcp_types as types
from mcp.client.caching import CacheConfig
from mcp.client.extension import ClientExtension
from mcp.client.session import ElicitationFnT, ListRootsFnT, LoggingFnT, MessageHandlerFnT, SamplingFnT
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.dispatcher import Dispatcher
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from mcp_transport.client.delivery import Delivery, Limits
from mcp_transport.client.dispatcher import ClientErrorDispatcher
from mcp_transport.client.endpoints import Choice, Endpoints
from mcp_transport.client.errors import unwrap_single
from mcp_transport.client.http import FailoverHTTP
from mcp_transport.client.sessions import SavedSession, SessionState, keep_seconds

if TYPE_CHECKING:  # it imports Django, which the client does not need
    from mcp_transport.client.sync import SyncClient

__all__ = ["Client"]

logger = logging.getLogger(__name__)

# The SDK's timeouts for Streamable HTTP: a server may keep a stream open without sending a byte.
_TIMEOUT = httpx2.Timeout(30.0, read=300.0)
# No connection limit: a call holds a connection until it ends, and waiting for one would look like a dead endpoint.
_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=100)

# Pages of tools/list, as in the SDK.
_MAX_PAGES = 100


class SDKOptions(TypedDict, total=False):
    """The options of `mcp.Client`."""

    read_timeout_seconds: float | None
    sampling_callback: SamplingFnT | None
    sampling_capabilities: types.SamplingCapability | None
    list_roots_callback: ListRootsFnT | None
    logging_callback: LoggingFnT | None
    log_level: types.LoggingLevel | None
    message_handler: MessageHandlerFnT | None
    client_info: types.Implementation | None
    mode: str
    prior_discover: types.DiscoverResult | None
    elicitation_callback: ElicitationFnT | None
    input_required_max_rounds: int
    extensions: Sequence[ClientExtension] | None
    cache: CacheConfig | None


class Client(mcp.client.Client):
    """An `mcp.Client` that fails over to another endpoint, also in the middle of a call."""

    def __init__(
        self,
        endpoints: str | Sequence[str],
        *,
        http_client: httpx2.AsyncClient | None = None,
        headers: Mapping[str, str] | None = None,
        auth: httpx2.Auth | None = None,
        choice: Choice = "ordered",
        deadline: float = 30.0,
        attempt_timeout: float = 5.0,
        idle_timeout: float = 60.0,
        session: SavedSession | None = None,
        on_session_lost: Callable[[], Awaitable[None] | None] | None = None,
        on_region_changed: Callable[[str], Awaitable[None] | None] | None = None,
        **options: Unpack[SDKOptions],
    ) -> None:
        """Create a client for the URLs of one server; all endpoints get the same credentials.

        Args:
            endpoints: URLs in order of preference; the client stays with one endpoint while it works.
            http_client: HTTP client for the requests, for options such as TLS, proxies and HTTP/2; it is not closed.
            headers: headers of each request; not together with `http_client`.
            auth: credentials of each request; not together with `http_client`.
            choice: "ordered" or "fastest": the next endpoint when one fails.
            deadline: seconds until an endpoint has begun a stream or completed a JSON response, including retries.
            attempt_timeout: seconds after which a request that may be repeated goes to the next endpoint.
            idle_timeout: seconds without a byte after which a resumable stream counts as broken.
            session: the result of `save_session`, to resume that session.
            on_session_lost: called when the server has lost the session and a new one was opened.
            on_region_changed: called with the name of a region when new requests go there instead of to another.
            options: options of `mcp.Client`.

        Raises:
            ValueError: an option is invalid.
        """
        urls = [endpoints] if isinstance(endpoints, str) else list(endpoints)
        if http_client is not None and (headers is not None or auth is not None):
            raise ValueError("headers and auth cannot be combined with http_client: set them on that client")
        self._endpoints = Endpoints(urls, choice)
        self._limits = Limits(deadline, attempt_timeout, idle_timeout)
        self._user_http, self._headers, self._auth = http_client, headers, auth
        self._saved, self._state = session, SessionState(session)
        self._on_session_lost, self._on_region_changed = on_session_lost, on_region_changed
        self._idempotent: dict[str, bool] = {}
        self._tools_lock = asyncio.Lock()
        self._delivery: Delivery | None = None
        if session is not None:
            options |= _resume_options(session)
        super().__init__(urls[0], **options)
        self._connect = self._connect_endpoints  # private in the SDK: creates its dispatcher

    async def _connect_endpoints(self, stack: AsyncExitStack, mode: str, _raise: bool) -> Dispatcher[Any]:
        http = self._user_http
        if http is None:
            http = httpx2.AsyncClient(timeout=_TIMEOUT, limits=_LIMITS, headers=self._headers, auth=self._auth)
            await stack.enter_async_context(http)
        delivery = Delivery(http, self._endpoints, self._state, self._limits, self._is_idempotent)
        failover = FailoverHTTP(delivery, self._state, self._session_lost, self._region_changed)
        await stack.enter_async_context(failover)
        # The SDK logs the URL, so it gets one without credentials; `failover` chooses the endpoint of each request.
        transport = streamable_http_client(self._endpoints.current.name, http_client=failover)
        read, write = await stack.enter_async_context(transport)
        self._delivery, self._requests = delivery, ClientErrorDispatcher(read, write)
        if self._saved is not None:
            # Other processes may resume the session too: random ids prevent equal request ids.
            self._requests.next_request_id = secrets.randbelow(2**52)
        self._requests.prefers_sessions = mode == "auto"
        return self._requests

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {', '.join(self._endpoints.names)}>"

    async def __aenter__(self) -> Self:
        try:
            await super().__aenter__()
        except BaseExceptionGroup as group:
            raise unwrap_single(group) from group.__cause__
        if self._delivery is not None:
            self._delivery.keep_seconds = keep_seconds(self._result())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            # A task of the SDK may still forward a message into a closed stream.
            _, remaining = group.split((anyio.ClosedResourceError, anyio.BrokenResourceError))
            if remaining is not None and unwrap_single(remaining) is not error:
                raise

    def _result(self) -> dict[str, Any]:
        result = self.session.initialize_result or self.session.discover_result
        return result.model_dump(by_alias=True, mode="json", exclude_none=True) if result is not None else {}

    async def _session_lost(self) -> None:
        if self._on_session_lost is not None and inspect.isawaitable(result := self._on_session_lost()):
            await result

    async def _region_changed(self, region: str) -> None:
        if self._on_region_changed is not None and inspect.isawaitable(result := self._on_region_changed(region)):
            await result

    @property
    def region(self) -> str:
        """Return the region to which new requests go; empty if the server names none."""
        return self._endpoints.current.region or ""

    async def _is_idempotent(self, tool: str) -> bool:
        """Return whether a tool's annotations allow calling it twice."""
        async with self._tools_lock:
            if tool not in self._idempotent:
                try:
                    async with asyncio.timeout(self._limits.deadline):
                        await self._load_tool_hints()
                except Exception as error:  # the call itself must not fail because of the list of tools
                    logger.info("tools/list failed, so %s counts as not idempotent: %s", tool, error)
                    return False
            return self._idempotent.setdefault(tool, False)

    async def _load_tool_hints(self) -> None:
        cursor = None
        for _ in range(_MAX_PAGES):
            page = await self.session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
            for tool in page.tools:
                hints = tool.annotations
                is_repeatable = hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)
                self._idempotent[tool.name] = is_repeatable
            cursor = page.next_cursor
            if cursor is None:
                return

    def save_session(self) -> SavedSession:
        """Return what another process needs to resume this session; closing the client then does not end it.

        Raises:
            RuntimeError: the client is not connected.
        """
        self._state.is_saved = True
        return SavedSession(
            protocol_version=self.protocol_version,
            result=self._result(),
            session_id=self._state.id,
            initialize=self._state.initialize,
            last_event_id=self._state.position.last_event_id,
        )

    def end_session_on_close(self) -> None:
        """End the session when the client closes, also if it was saved."""
        self._state.is_saved = False

    def sync(self) -> SyncClient:
        """Return a context manager with this client for synchronous code."""
        from mcp_transport.client.sync import SyncClient

        return SyncClient(self, self.save_session)


def _resume_options(session: SavedSession) -> SDKOptions:
    """Return the options of a client that resumes a session."""
    if session.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
        return {"mode": "legacy"}
    return {
        "mode": session.protocol_version,
        "prior_discover": types.DiscoverResult.model_validate(session.result, by_name=False),
    }
