"""The context of a request, with which tools, resources and prompts access the caller, the client and the session."""

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

# The limits of one value in bytes and of the values of a session: state is for a cart or a cursor, not for documents.
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
            raise ToolError("this request was not received over HTTP, so it has no user, headers or session")
        return caller

    @property
    def user(self) -> Any:
        """Return the Django user of the caller, or AnonymousUser."""
        return self._caller.user

    @property
    def principal(self) -> Principal:
        """Return the principal of the caller: issuer, subject, scopes and user."""
        return self._caller.principal

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the request's headers by lower-case name; clients can forge them, so they do not authenticate."""
        return self._caller.headers

    @property
    def request(self) -> HttpRequest:
        """Return Django's request, with the attributes set by the project's middleware.

        With the ASGI mount no middleware has run. A call that runs again has a request without headers.
        """
        request = self._caller.http_request
        return request.source if request.source is not None else django_request(request)

    @property
    def protocol_version(self) -> str:
        """Return the protocol revision of this request."""
        return self.request_context.protocol_version

    @property
    def cancelled(self) -> bool:
        """Return whether the client has cancelled the request; long synchronous tools should check it regularly."""
        return self._caller.cancelled

    @property
    def session(self) -> SessionState:
        """Return the state of this client's session; in 2026-07-28 there are no sessions, and its methods raise."""
        return SessionState(self._caller.own_session)

    async def log(self, level: str, data: Any, *, logger_name: str | None = None) -> None:
        """Send the client a log message if it has enabled that level; `data` may be anything that a result may be."""
        await send_log(self, level, await to_wire_async(data), logger_name)

    async def report_progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Send the client a progress notification if it has requested progress.

        Raises:
            ToolError: a number cannot be represented in JSON.
        """
        await super().report_progress(*(to_wire(value) for value in (progress, total, message)))

    async def elicit(self, message: str, schema: type[ElicitSchemaModelT]) -> ElicitationResult[ElicitSchemaModelT]:
        """Ask the user to fill in a form, described by a pydantic model of strings, numbers and booleans.

        Raises:
            MCPError: the client does not support elicitation, or did not reply in time.
        """
        return await super().elicit(str(message), translated_form(schema))

    async def notify_resource_updated(self, uri: str | AnyUrl) -> None:
        """Notify the subscribers of a resource that it has changed; its URI may be written as declared."""
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
        """Ask the user to fill in a form, described by JSON Schema.

        Raises:
            MCPError: the client does not support elicitation, or did not reply in time.
        """
        params = ElicitRequestFormParams(message=str(message), requested_schema=to_wire(schema))
        return await request_client(self, ElicitRequest(params=params), ElicitResult)

    async def sample(
        self, messages: str | Sequence[SamplingMessage], *, max_tokens: int, **options: Any
    ) -> CreateMessageResult:
        """Request a completion from the client's model; `options` are the other members of sampling/createMessage.

        Raises:
            MCPError: the client does not support sampling, or did not reply in time.
        """
        if isinstance(messages, str | Promise):
            messages = [SamplingMessage(role="user", content=TextContent(type="text", text=str(messages)))]
        params = CreateMessageRequestParams(messages=list(messages), max_tokens=max_tokens, **options)
        return await request_client(self, CreateMessageRequest(params=params), CreateMessageResult)

    async def list_roots(self) -> ListRootsResult:
        """Request the client's root folders.

        Raises:
            MCPError: the client does not support roots, or did not reply in time.
        """
        return await request_client(self, ListRootsRequest(), ListRootsResult)


class SessionState:
    """JSON values by key, stored with the session for all nodes, and deleted with it."""

    def __init__(self, session: CallerSession | None) -> None:
        self._session = session

    @property
    def exists(self) -> bool:
        """Return whether there is a session."""
        return self._session is not None

    @property
    def short_id(self) -> str:
        """Return the short session ID, as in logs and in the admin (not a credential)."""
        return self._required().short_id

    async def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a key, or `default`."""
        session = self._required()
        stored = await session.read()
        return session.from_json(stored[name]) if name in stored else default

    async def set(self, name: str, value: Any) -> None:
        """Store a JSON-serializable value.

        Raises:
            ToolError: the value is not JSON-serializable or too large, or there are too many.
        """
        session = self._required()
        try:
            encoded = session.to_json(translated(value))
        except (TypeError, ValueError, RecursionError) as error:
            raise ToolError(f"session state {name!r} must be JSON-serializable: {error}") from error
        if len(encoded) > MAX_VALUE_BYTES:
            raise ToolError(f"session state {name!r} must have at most {MAX_VALUE_BYTES} bytes, got {len(encoded)}")
        stored = await session.read()
        if name not in stored and len(stored) >= MAX_VALUES:
            raise ToolError(f"session state must have at most {MAX_VALUES} keys")
        await session.write(name, encoded)

    async def delete(self, name: str) -> bool:
        """Delete a key; return whether it existed."""
        return await self._required().write(name, None)

    async def keys(self) -> list[str]:
        """Return the sorted keys."""
        return sorted(await self._required().read())

    async def clear(self) -> None:
        """Delete all keys."""
        session = self._required()
        for name in await session.read():
            await session.write(name, None)

    def _required(self) -> CallerSession:
        if self._session is None:
            raise ToolError(
                "there is no session to store state in: in 2026-07-28 every request is independent. Return an "
                "explicit handle from one tool and accept it as an argument of the next"
            )
        return self._session
