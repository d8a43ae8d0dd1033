"""The client for tests, with synchronous methods and asynchronous ones prefixed with `a`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping
from typing import Any, Final, TypeVar

from asgiref.sync import AsyncSingleThreadContext, async_to_sync, sync_to_async
from django.core.serializers.json import DjangoJSONEncoder

from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.versions import REVISIONS
from mcp_transport.test.answers import Answers, Elicit, Roots, Sample
from mcp_transport.test.conversation import Conversation, Exchange, SessionConversation
from mcp_transport.test.http import HTTP
from mcp_transport.test.results import PromptResult, ResourceResult, Result, ToolResult
from mcp_transport.test.serving import collect_exceptions, serving

__all__ = ["MCPClient"]

_T = TypeVar("_T")
_ResultT = TypeVar("_ResultT", bound=Result)
_Members = list[dict[str, Any]]

_SingleThread: Final[Any] = AsyncSingleThreadContext  # asgiref's has no types

_SESSIONFUL: Final = "2025-11-25"
_SESSIONLESS: Final = "2026-07-28"


class MCPClient:
    """An in-process client of the project's endpoint, through its middleware.

    `user` is logged in as by `Client.force_login`; `token` is sent as a bearer token. With `session` the first
    request opens a session of 2025-11-25, without it each request is one of 2026-07-28; `protocol_version` selects
    another revision. `path` is the path of the endpoint, `headers` are sent with each request. `elicit`, `sample` and
    `roots` are the answers to requests of tools; with False the client does not declare the capability.

    With `raise_request_exception` an exception of a tool is raised in the test, unless it is a `ToolError`; without
    it the test gets the response of a client.

    Raises: ImproperlyConfigured if the project has no endpoint, or no sessions for a `user`.
    """

    def __init__(
        self,
        *,
        user: Any = None,
        token: str | None = None,
        session: bool = False,
        path: str | None = None,
        headers: Mapping[str, str] | None = None,
        protocol_version: str | None = None,
        elicit: Elicit = None,
        sample: Sample = None,
        roots: Roots = None,
        raise_request_exception: bool = True,
    ) -> None:
        version = _revision(session, protocol_version)
        credentials = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._http = HTTP(path, {**credentials, **(headers or {})}, raise_request_exception=raise_request_exception)
        self._answers = Answers(elicit, sample, roots)
        kind = SessionConversation if REVISIONS[version].sessionful else Conversation
        self._conversation = kind(self._http, version, self._answers)
        self._raises_exceptions = raise_request_exception
        self._user = user
        if user is not None and not _is_async():  # otherwise at the first request
            self._log_in_user()

    @property
    def session_id(self) -> str | None:
        """The session's id; None before the first request and without a session."""
        return getattr(self._conversation, "id", None)

    # -- requests ----------------------------------------------------------------------------------------

    async def acall(self, name: str, arguments: Mapping[str, Any] | None = None, /, **more: Any) -> ToolResult:
        """Call a tool, with arguments by name or in a mapping."""
        params = {"name": name, "arguments": {**(arguments or {}), **more}}
        return await self._request(ToolResult, "tools/call", params)

    def call(self, name: str, arguments: Mapping[str, Any] | None = None, /, **more: Any) -> ToolResult:
        """Call a tool, with arguments by name or in a mapping."""
        return _run(self.acall(name, arguments, **more))

    async def aread_resource(self, uri: str) -> ResourceResult:
        """Read a resource."""
        return await self._request(ResourceResult, "resources/read", {"uri": uri})

    def read_resource(self, uri: str) -> ResourceResult:
        """Read a resource."""
        return _run(self.aread_resource(uri))

    async def aget_prompt(
        self, name: str, arguments: Mapping[str, str] | None = None, /, **more: str
    ) -> PromptResult:
        """Get a prompt's messages, with arguments by name or in a mapping."""
        params = {"name": name, "arguments": {**(arguments or {}), **more}}
        return await self._request(PromptResult, "prompts/get", params)

    def get_prompt(self, name: str, arguments: Mapping[str, str] | None = None, /, **more: str) -> PromptResult:
        """Get a prompt's messages, with arguments by name or in a mapping."""
        return _run(self.aget_prompt(name, arguments, **more))

    async def acomplete(self, ref: str, argument: str, value: str = "", /, **context: str) -> list[str]:
        """Complete an argument of a prompt or a variable of a resource template; `context` has the values of others.

        Raises: ProtocolError.
        """
        kind = {"type": "ref/resource", "uri": ref} if "://" in ref else {"type": "ref/prompt", "name": ref}
        params: dict[str, Any] = {"ref": kind, "argument": {"name": argument, "value": value}}
        if context:
            params["context"] = {"arguments": context}
        result: list[str] = (await self._required("completion/complete", params))["completion"]["values"]
        return result

    def complete(self, ref: str, argument: str, value: str = "", /, **context: str) -> list[str]:
        """Complete an argument of a prompt or a variable of a resource template; `context` has the values of others.

        Raises: ProtocolError.
        """
        return _run(self.acomplete(ref, argument, value, **context))

    async def alist_tools(self) -> _Members:
        """Return the tools that are visible to this client. Raises: ProtocolError."""
        return await self._list("tools/list", "tools")

    def list_tools(self) -> _Members:
        """Return the tools that are visible to this client. Raises: ProtocolError."""
        return _run(self.alist_tools())

    async def alist_resources(self) -> _Members:
        """Return the resources that are visible to this client. Raises: ProtocolError."""
        return await self._list("resources/list", "resources")

    def list_resources(self) -> _Members:
        """Return the resources that are visible to this client. Raises: ProtocolError."""
        return _run(self.alist_resources())

    async def alist_resource_templates(self) -> _Members:
        """Return the resource templates that are visible to this client. Raises: ProtocolError."""
        return await self._list("resources/templates/list", "resourceTemplates")

    def list_resource_templates(self) -> _Members:
        """Return the resource templates that are visible to this client. Raises: ProtocolError."""
        return _run(self.alist_resource_templates())

    async def alist_prompts(self) -> _Members:
        """Return the prompts that are visible to this client. Raises: ProtocolError."""
        return await self._list("prompts/list", "prompts")

    def list_prompts(self) -> _Members:
        """Return the prompts that are visible to this client. Raises: ProtocolError."""
        return _run(self.alist_prompts())

    # -- closing -----------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """End the session, if there is one; the next request opens a new one."""
        if self.session_id is not None:
            async with serving():
                await self._conversation.close()

    def close(self) -> None:
        """End the session, if there is one; the next request opens a new one."""
        _run(self.aclose())

    def __enter__(self) -> MCPClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> MCPClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # -- internals ---------------------------------------------------------------------------------------

    def _log_in_user(self) -> None:
        user, self._user = self._user, None
        self._http.log_in(user)

    async def _exchange(self, method: str, params: Mapping[str, Any]) -> Exchange:
        with collect_exceptions() as raised:
            async with serving() as lock:
                async with lock:  # only one of concurrent first requests opens the session
                    if self._user is not None:
                        await sync_to_async(self._log_in_user)()
                    refusal = await self._conversation.open()
                exchange = refusal or await self._conversation.request(method, params)
        response = exchange.response
        if raised and self._raises_exceptions and ("error" in response or response["result"].get("isError")):
            raise raised[0]
        return exchange

    async def _request(self, kind: type[_ResultT], method: str, params: Mapping[str, Any]) -> _ResultT:
        exchange = await self._exchange(method, params)
        return kind(
            request=f"{method} {json.dumps(params, cls=DjangoJSONEncoder, ensure_ascii=False)}",
            status=exchange.status,
            headers=exchange.headers,
            raw=exchange.response,
            progress=exchange.progress,
            logs=exchange.logs,
        )

    async def _required(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        exchange = await self._exchange(method, params)
        response = exchange.response
        if "error" in response:
            error = response["error"]
            raise ProtocolError(exchange.status, error["code"], error["message"], data=error.get("data"))
        result: Mapping[str, Any] = response["result"]
        return result

    async def _list(self, method: str, member: str) -> _Members:
        result: _Members = []
        params: dict[str, Any] = {}
        while True:
            page = await self._required(method, params)
            result += page[member]
            if not (cursor := page.get("nextCursor")):
                return result
            params = {"cursor": cursor}


def _revision(session: bool, protocol_version: str | None) -> str:
    version = protocol_version or (_SESSIONFUL if session else _SESSIONLESS)
    if version not in REVISIONS:
        raise ValueError(f"protocol_version must be one of {', '.join(REVISIONS)}, got {version!r}")
    if session and not REVISIONS[version].sessionful:
        raise ValueError(f"revision {version} has no sessions: omit session or protocol_version")
    return version


def _is_async() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a request on a new event loop, as `async_to_sync` does."""
    if _is_async():
        work.close()
        raise RuntimeError("use the client's asynchronous methods in asynchronous code, such as acall() for call()")

    async def awaited() -> _T:
        return await work

    with _SingleThread():  # joins the loop's thread at the end
        return async_to_sync(awaited)()
