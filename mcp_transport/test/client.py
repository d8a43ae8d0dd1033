"""The client that tests use: synchronous in a `TestCase`, and with an `a` before each name in asynchronous tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Final, TypeVar

from asgiref.sync import AsyncSingleThreadContext, async_to_sync, sync_to_async
from django.core.serializers.json import DjangoJSONEncoder

from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.versions import REVISIONS
from mcp_transport.test.answers import Answers, Elicit, Roots, Sample
from mcp_transport.test.conversation import Conversation, Exchange, SessionConversation
from mcp_transport.test.http import HTTP
from mcp_transport.test.results import PromptResult, ResourceResult, Result, ToolResult
from mcp_transport.test.serving import crashes, serving

__all__ = ["MCPClient"]

_T = TypeVar("_T")
_ResultT = TypeVar("_ResultT", bound=Result)
_Members = list[dict[str, Any]]

_SingleThread: Final[Any] = AsyncSingleThreadContext  # asgiref's has no types

_SESSIONFUL: Final = "2025-11-25"
_SESSIONLESS: Final = "2026-07-28"


class MCPClient:
    """A client of the project's endpoint, in the same process, through its middleware.

    `user` is logged in as by `Client.force_login`; `token` is sent as a bearer token. With `session` it opens a
    session of 2025-11-25 at the first request, without it each request is one of 2026-07-28; `protocol_version` names
    another revision. `path` is the endpoint's, `headers` go with each request. `elicit`, `sample` and `roots` are
    what the test answers when it is asked; False means that the client cannot be asked.

    With `raise_request_exception`, what a tool raises is raised in the test, unless it is a `ToolError`; without it
    the test sees what a client sees.

    Raises: ImproperlyConfigured when the project has no endpoint, or no sessions for a `user`.
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
        self._raises = raise_request_exception
        self._user = user
        if user is not None and not _is_async():  # else with the first request
            self._log_in()

    @property
    def session_id(self) -> str | None:
        """The session's id; None before the first request and without a session."""
        return getattr(self._conversation, "id", None)

    # -- what it asks ------------------------------------------------------------------------------------

    async def acall(self, name: str, arguments: Mapping[str, Any] | None = None, /, **more: Any) -> ToolResult:
        """Call a tool, with arguments by name or in a mapping."""
        params = {"name": name, "arguments": {**(arguments or {}), **more}}
        return await self._ask(ToolResult, "tools/call", params)

    def call(self, name: str, arguments: Mapping[str, Any] | None = None, /, **more: Any) -> ToolResult:
        """Call a tool, with arguments by name or in a mapping."""
        return _run(self.acall(name, arguments, **more))

    async def aread_resource(self, uri: str) -> ResourceResult:
        """Read a resource."""
        return await self._ask(ResourceResult, "resources/read", {"uri": uri})

    def read_resource(self, uri: str) -> ResourceResult:
        """Read a resource."""
        return _run(self.aread_resource(uri))

    async def aget_prompt(
        self, name: str, arguments: Mapping[str, str] | None = None, /, **more: str
    ) -> PromptResult:
        """Get a prompt's messages, with arguments by name or in a mapping."""
        params = {"name": name, "arguments": {**(arguments or {}), **more}}
        return await self._ask(PromptResult, "prompts/get", params)

    def get_prompt(self, name: str, arguments: Mapping[str, str] | None = None, /, **more: str) -> PromptResult:
        """Get a prompt's messages, with arguments by name or in a mapping."""
        return _run(self.aget_prompt(name, arguments, **more))

    async def acomplete(self, ref: str, argument: str, value: str = "", /, **known: str) -> list[str]:
        """Complete an argument of a prompt, or a variable of a resource template; `known` are the other ones.

        Raises: ProtocolError.
        """
        kind = {"type": "ref/resource", "uri": ref} if "://" in ref else {"type": "ref/prompt", "name": ref}
        params: dict[str, Any] = {"ref": kind, "argument": {"name": argument, "value": value}}
        if known:
            params["context"] = {"arguments": known}
        found: list[str] = (await self._required("completion/complete", params))["completion"]["values"]
        return found

    def complete(self, ref: str, argument: str, value: str = "", /, **known: str) -> list[str]:
        """Complete an argument of a prompt, or a variable of a resource template; `known` are the other ones.

        Raises: ProtocolError.
        """
        return _run(self.acomplete(ref, argument, value, **known))

    async def alist_tools(self) -> _Members:
        """Return the tools that this client sees. Raises: ProtocolError."""
        return await self._list("tools/list", "tools")

    def list_tools(self) -> _Members:
        """Return the tools that this client sees. Raises: ProtocolError."""
        return _run(self.alist_tools())

    async def alist_resources(self) -> _Members:
        """Return the resources that this client sees. Raises: ProtocolError."""
        return await self._list("resources/list", "resources")

    def list_resources(self) -> _Members:
        """Return the resources that this client sees. Raises: ProtocolError."""
        return _run(self.alist_resources())

    async def alist_resource_templates(self) -> _Members:
        """Return the resource templates that this client sees. Raises: ProtocolError."""
        return await self._list("resources/templates/list", "resourceTemplates")

    def list_resource_templates(self) -> _Members:
        """Return the resource templates that this client sees. Raises: ProtocolError."""
        return _run(self.alist_resource_templates())

    async def alist_prompts(self) -> _Members:
        """Return the prompts that this client sees. Raises: ProtocolError."""
        return await self._list("prompts/list", "prompts")

    def list_prompts(self) -> _Members:
        """Return the prompts that this client sees. Raises: ProtocolError."""
        return _run(self.alist_prompts())

    # -- its end -----------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """End the session, if there is one; a further request opens another one."""
        if self.session_id is not None:
            async with serving():
                await self._conversation.end()

    def close(self) -> None:
        """End the session, if there is one; a further request opens another one."""
        _run(self.aclose())

    def __enter__(self) -> MCPClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> MCPClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- how it asks -------------------------------------------------------------------------------------

    def _log_in(self) -> None:
        user, self._user = self._user, None
        self._http.log_in(user)

    async def _exchange(self, method: str, params: Mapping[str, Any]) -> Exchange:
        with crashes() as raised:
            async with serving() as alone:
                async with alone:  # of several first requests, one begins
                    if self._user is not None:
                        await sync_to_async(self._log_in)()
                    refusal = await self._conversation.begin()
                exchange = refusal or await self._conversation.ask(method, params)
        response = exchange.response
        if raised and self._raises and ("error" in response or response["result"].get("isError")):
            raise raised[0]
        return exchange

    async def _ask(self, kind: type[_ResultT], method: str, params: Mapping[str, Any]) -> _ResultT:
        exchange = await self._exchange(method, params)
        return kind(
            asked=f"{method} {json.dumps(params, cls=DjangoJSONEncoder, ensure_ascii=False)}",
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
        found: Mapping[str, Any] = response["result"]
        return found

    async def _list(self, method: str, member: str) -> _Members:
        found: _Members = []
        params: dict[str, Any] = {}
        while True:
            page = await self._required(method, params)
            found += page[member]
            if not (cursor := page.get("nextCursor")):
                return found
            params = {"cursor": cursor}


def _revision(session: bool, wanted: str | None) -> str:
    version = wanted or (_SESSIONFUL if session else _SESSIONLESS)
    if version not in REVISIONS:
        raise ValueError(f"protocol_version must be one of {', '.join(REVISIONS)}, got {version!r}")
    if session and not REVISIONS[version].sessionful:
        raise ValueError(f"there are no sessions in {version}: leave session or protocol_version out")
    return version


def _is_async() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a request on an event loop of its own, as Django runs asynchronous code for synchronous code."""
    if _is_async():
        work.close()
        raise RuntimeError("in asynchronous code use the client's asynchronous methods, such as acall() for call()")

    async def awaited() -> _T:
        return await work

    with _SingleThread():  # at whose end the loop's thread has ended, too
        return async_to_sync(awaited)()
