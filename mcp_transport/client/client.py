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
from mcp_transport.client.dispatcher import NamedErrors
from mcp_transport.client.endpoints import Choice, Endpoints
from mcp_transport.client.errors import sole_error
from mcp_transport.client.http import FailoverHTTP
from mcp_transport.client.sessions import SavedSession, SessionState, keep_seconds

if TYPE_CHECKING:
    from mcp_transport.client.sync import SyncClient

__all__ = ["Client"]

logger = logging.getLogger(__name__)

# The SDK's own for Streamable HTTP: a server may keep a stream open without a byte.
_TIMEOUT = httpx2.Timeout(30.0, read=300.0)
# A call holds its connection until it ends; one that had to wait for a connection would look as if its endpoint hung.
_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=100)

# Pages of tools/list, as many as the SDK reads.
_MOST_PAGES = 100


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
    """An `mcp.Client` that goes to another endpoint when one fails, also in the middle of a call."""

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
        **options: Unpack[SDKOptions],
    ) -> None:
        """Take the URLs of one server, in the order of preference; all get the same credentials.

        Args:
            endpoints: URLs; the client keeps to one while it works.
            http_client: what sends requests, for TLS, proxies, HTTP/2 and the like; it stays open.
            headers: headers of each request, for a client without `http_client`.
            auth: credentials of each request, for a client without `http_client`.
            choice: "ordered" or "fastest": which endpoint is next when one fails.
            deadline: seconds until an endpoint begins a stream, or has answered in JSON, whatever fails meanwhile.
            attempt_timeout: seconds after which the next endpoint gets a request that may be repeated.
            idle_timeout: seconds without a byte after which a stream that can be resumed is taken for broken.
            session: what `save_session` returned, to go on with that session.
            on_session_lost: called when the server has lost the session, and a new one was begun.
            options: those of `mcp.Client`.

        Raises:
            ValueError: an option that cannot be used.
        """
        urls = [endpoints] if isinstance(endpoints, str) else list(endpoints)
        if http_client is not None and (headers is not None or auth is not None):
            raise ValueError("headers and auth belong to http_client: give them to it")
        self._endpoints = Endpoints(urls, choice)
        self._limits = Limits(deadline, attempt_timeout, idle_timeout)
        self._user_http, self._headers, self._auth = http_client, headers, auth
        self._saved, self._state = session, SessionState(session)
        self._on_session_lost = on_session_lost
        self._idempotent: dict[str, bool] = {}
        self._asking = asyncio.Lock()
        self._delivery: Delivery | None = None
        if session is not None:
            options |= _taking_up(session)
        super().__init__(urls[0], **options)
        self._connect = self._connect_endpoints  # a private seam of the SDK: how it gets its dispatcher

    async def _connect_endpoints(self, stack: AsyncExitStack, mode: str, _raise: bool) -> Dispatcher[Any]:
        http = self._user_http
        if http is None:
            http = httpx2.AsyncClient(timeout=_TIMEOUT, limits=_LIMITS, headers=self._headers, auth=self._auth)
            await stack.enter_async_context(http)
        delivery = Delivery(http, self._endpoints, self._state, self._limits, self._is_idempotent)
        failover = await stack.enter_async_context(FailoverHTTP(delivery, self._state, self._session_lost))
        # The SDK logs the URL; it gets one without credentials, since requests go where `failover` sends them.
        transport = streamable_http_client(self._endpoints.current.name, http_client=failover)
        read, write = await stack.enter_async_context(transport)
        self._delivery, self._requests = delivery, NamedErrors(read, write)
        if self._saved is not None:
            # Other processes may have taken up the session too: each must count where nobody else does.
            self._requests.next_request_id = secrets.randbelow(2**52)
        self._requests.prefers_sessions = mode == "auto"
        return self._requests

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {', '.join(self._endpoints.names)}>"

    async def __aenter__(self) -> Self:
        try:
            await super().__aenter__()
        except BaseExceptionGroup as group:
            raise sole_error(group) from group.__cause__
        if self._delivery is not None:
            self._delivery.keep_seconds = keep_seconds(self._result())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            # A task of the SDK that still hands on a message finds the other end closed.
            _, left = group.split((anyio.ClosedResourceError, anyio.BrokenResourceError))
            if left is not None and sole_error(left) is not error:
                raise

    def _result(self) -> dict[str, Any]:
        result = self.session.initialize_result or self.session.discover_result
        return result.model_dump(by_alias=True, mode="json", exclude_none=True) if result is not None else {}

    async def _session_lost(self) -> None:
        if self._on_session_lost is not None and inspect.isawaitable(told := self._on_session_lost()):
            await told

    async def _is_idempotent(self, tool: str) -> bool:
        """Tell whether a tool may be called twice: its annotations say so."""
        async with self._asking:
            if tool not in self._idempotent:
                try:
                    async with asyncio.timeout(self._limits.deadline):
                        await self._ask_for_tools()
                except Exception as error:  # whatever the list of tools is worth, the call goes on
                    logger.info("the server does not say whether %s is idempotent: %s", tool, error)
                    return False
            return self._idempotent.setdefault(tool, False)

    async def _ask_for_tools(self) -> None:
        cursor = None
        for _ in range(_MOST_PAGES):
            page = await self.session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
            for known in page.tools:
                hints = known.annotations
                harmless = hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)
                self._idempotent[known.name] = harmless
            cursor = page.next_cursor
            if cursor is None:
                return

    def save_session(self) -> SavedSession:
        """Return what another process needs to go on with this session, which closing the client no longer ends.

        Raises:
            RuntimeError: the client is not connected.
        """
        self._state.is_kept = True
        return SavedSession(
            protocol_version=self.protocol_version,
            result=self._result(),
            session_id=self._state.id,
            initialize=self._state.initialize,
            last_event_id=self._state.position.last_event_id,
        )

    def end_session_on_close(self) -> None:
        """End the session with the client, also one that was saved."""
        self._state.is_kept = False

    def sync(self) -> SyncClient:
        """Return this client for code that is not async, as a context manager."""
        from mcp_transport.client.sync import SyncClient

        return SyncClient(self)


def _taking_up(session: SavedSession) -> SDKOptions:
    """Return the options of a client that goes on with a session."""
    if session.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
        return {"mode": "legacy"}
    return {
        "mode": session.protocol_version,
        "prior_discover": types.DiscoverResult.model_validate(session.result, by_name=False),
    }
