"""What a tool, resource or prompt may know and do while it serves a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.http import HttpRequest
from django.utils.functional import Promise
from mcp.server.mcpserver import Context as SDKContext
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)
from pydantic import AnyUrl

from mcp_transport.auth.django_request import django_request
from mcp_transport.domain.principal import Principal
from mcp_transport.kernel import (
    Caller,
    CallerSession,
    ElicitationResult,
    ElicitSchemaModelT,
    request_client,
    send_log,
)
from mcp_transport.parameters import translated, translated_form
from mcp_transport.resource_uris import normalized
from mcp_transport.serialization import to_wire, to_wire_async

__all__ = ["Context", "SessionState"]

# Session state is for a cart or a cursor, not for documents: bytes of one value, and values of a session.
MAX_VALUE_BYTES: Final = 64 * 1024
MAX_VALUES: Final = 256


class Context(SDKContext[Any, Caller]):
    """The request being served; a parameter annotated with this class receives it.

    Its methods are coroutines. A synchronous tool calls them with `asgiref.sync.async_to_sync`.
    """

    @property
    def _caller(self) -> Caller:
        caller = self.request_context.request
        if caller is None:
            raise ToolError("this request did not come over HTTP, so it has no user, headers or session")
        return caller

    @property
    def user(self) -> Any:
        """Return the Django user who calls, or AnonymousUser."""
        return self._caller.user

    @property
    def principal(self) -> Principal:
        """Return who calls: issuer, subject, scopes and, if there is one, user."""
        return self._caller.principal

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the request's headers by lower-case name; they are the client's word, never proof of who it is."""
        return self._caller.headers

    @property
    def request(self) -> HttpRequest:
        """Return Django's request, with all that the project's middleware has put on it.

        Behind the ASGI mount no middleware has run. A call that is run again has a request without headers.
        """
        request = self._caller.http_request
        return request.source if request.source is not None else django_request(request)

    @property
    def protocol_version(self) -> str:
        """Return the protocol revision of this request."""
        return self.request_context.protocol_version

    @property
    def cancelled(self) -> bool:
        """Tell whether the client gave the request up; long synchronous work should look now and then."""
        return self._caller.cancelled

    @property
    def session(self) -> SessionState:
        """Return the state kept for this client's session; in 2026-07-28 there is none, and its methods say so."""
        return SessionState(self._caller.own_session)

    async def log(self, level: str, data: Any, *, logger_name: str | None = None) -> None:
        """Send the client a log message, if it asked for that level; `data` may be what a result may be."""
        await send_log(self, level, await to_wire_async(data), logger_name)

    async def report_progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Tell the client how far the call is, if it asked for that.

        Raises:
            ToolError: a number has no form in JSON.
        """
        await super().report_progress(*(to_wire(value) for value in (progress, total, message)))

    async def elicit(self, message: str, schema: type[ElicitSchemaModelT]) -> ElicitationResult[ElicitSchemaModelT]:
        """Ask the user by a form made of a pydantic model of texts, numbers and booleans.

        Raises:
            MCPError: the client cannot be asked, or did not answer in time.
        """
        return await super().elicit(str(message), translated_form(schema))

    async def notify_resource_updated(self, uri: str | AnyUrl) -> None:
        """Tell who subscribed to a resource that it has changed; its URI may be written as it was declared."""
        await super().notify_resource_updated(normalized(str(uri)))

    async def debug(self, data: Any, *, logger_name: str | None = None) -> None:
        """Send a log message of level debug."""
        await self.log("debug", data, logger_name=logger_name)

    async def info(self, data: Any, *, logger_name: str | None = None) -> None:
        """Send a log message of level info."""
        await self.log("info", data, logger_name=logger_name)

    async def notice(self, data: Any, *, logger_name: str | None = None) -> None:
        """Send a log message of level notice."""
        await self.log("notice", data, logger_name=logger_name)

    async def warning(self, data: Any, *, logger_name: str | None = None) -> None:
        """Send a log message of level warning."""
        await self.log("warning", data, logger_name=logger_name)

    async def error(self, data: Any, *, logger_name: str | None = None) -> None:
        """Send a log message of level error."""
        await self.log("error", data, logger_name=logger_name)

    async def elicit_form(self, message: str, schema: dict[str, Any]) -> ElicitResult:
        """Ask the user by a form given as JSON Schema; `elicit` does the same with a pydantic model.

        Raises:
            MCPError: the client cannot be asked, or did not answer in time.
        """
        params = ElicitRequestFormParams(message=str(message), requested_schema=to_wire(schema))
        return await request_client(self, ElicitRequest(params=params), ElicitResult)

    async def sample(
        self, messages: str | Sequence[SamplingMessage], *, max_tokens: int, **options: Any
    ) -> CreateMessageResult:
        """Have the client's model write an answer; `options` are the other members of sampling/createMessage.

        Raises:
            MCPError: the client cannot be asked, or did not answer in time.
        """
        if isinstance(messages, str | Promise):
            messages = [SamplingMessage(role="user", content=TextContent(type="text", text=str(messages)))]
        params = CreateMessageRequestParams(messages=list(messages), max_tokens=max_tokens, **options)
        return await request_client(self, CreateMessageRequest(params=params), CreateMessageResult)

    async def list_roots(self) -> ListRootsResult:
        """Ask the client for the folders it works in.

        Raises:
            MCPError: the client cannot be asked, or did not answer in time.
        """
        return await request_client(self, ListRootsRequest(), ListRootsResult)


class SessionState:
    """JSON values by name, kept with the session on whichever node serves it, and gone with it."""

    def __init__(self, session: CallerSession | None) -> None:
        self._session = session

    @property
    def exists(self) -> bool:
        """Tell whether there is a session."""
        return self._session is not None

    @property
    def short_id(self) -> str:
        """Return the session's name in logs and in the admin; it opens nothing."""
        return self._required().short_id

    async def get(self, name: str, default: Any = None) -> Any:
        """Return a value, or `default`."""
        session = self._required()
        stored = await session.read()
        return session.from_json(stored[name]) if name in stored else default

    async def set(self, name: str, value: Any) -> None:
        """Store a JSON-serialisable value.

        Raises:
            ToolError: it is no JSON, or too large.
        """
        session = self._required()
        try:
            encoded = session.to_json(translated(value))
        except (TypeError, ValueError, RecursionError) as error:
            raise ToolError(f"session state {name!r} must be JSON-serialisable: {error}") from error
        if len(encoded) > MAX_VALUE_BYTES:
            raise ToolError(f"session state {name!r} may hold {MAX_VALUE_BYTES} bytes, got {len(encoded)}")
        stored = await session.read()
        if name not in stored and len(stored) >= MAX_VALUES:
            raise ToolError(f"a session may hold {MAX_VALUES} values")
        await session.write(name, encoded)

    async def delete(self, name: str) -> bool:
        """Drop a value; return whether there was one."""
        return await self._required().write(name, None)

    async def keys(self) -> list[str]:
        """Return the names of the stored values."""
        return sorted(await self._required().read())

    async def clear(self) -> None:
        """Drop every value."""
        session = self._required()
        for name in await session.read():
            await session.write(name, None)

    def _required(self) -> CallerSession:
        if self._session is None:
            raise ToolError(
                "there is no session to keep state in: in 2026-07-28 every request stands alone. Return an explicit "
                "handle from one tool and take it as an argument of the next"
            )
        return self._session
