"""The client for synchronous views, scripts and commands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import mcp_types as types
from anyio.from_thread import BlockingPortal, start_blocking_portal
from django.core.exceptions import SynchronousOnlyOperation
from mcp import Client

from mcp_transport.client.sessions import SavedSession

__all__ = ["SyncClient"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _blocking(method: Callable[Concatenate[Client, _P], Awaitable[_R]]) -> Callable[Concatenate[SyncClient, _P], _R]:
    """Return a blocking version of a method of `Client`."""

    def call(self: SyncClient, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return self._run(lambda: method(self._client, *args, **kwargs))

    call.__name__, call.__doc__ = method.__name__, method.__doc__
    return call


class SyncClient:
    """A `Client` in a background thread with its own event loop, for the `with` block; threads may share it."""

    def __init__(self, client: Client, save_session: Callable[[], SavedSession]) -> None:
        """Take a client of this package that is not connected, and its method that saves its session."""
        self._client, self._save_session = client, save_session
        self._portal: BlockingPortal | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        _refuse_in_a_loop()
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal(name="mcp-client"))
            stack.enter_context(self._portal.wrap_async_context_manager(self._client))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *details: Any) -> None:
        self._stack.__exit__(*details)
        self._portal = None

    def _run(self, call: Callable[[], Awaitable[_R]]) -> _R:
        _refuse_in_a_loop()
        if self._portal is None:
            raise RuntimeError("the client is not connected: use it within `with Client(...).sync() as client:`")
        return self._portal.call(call)

    call_tool = _blocking(Client.call_tool)
    list_tools = _blocking(Client.list_tools)
    list_prompts = _blocking(Client.list_prompts)
    get_prompt = _blocking(Client.get_prompt)
    list_resources = _blocking(Client.list_resources)
    list_resource_templates = _blocking(Client.list_resource_templates)
    read_resource = _blocking(Client.read_resource)
    complete = _blocking(Client.complete)

    @property
    def protocol_version(self) -> str:
        """Return the revision of the protocol."""
        return self._client.protocol_version

    @property
    def server_info(self) -> types.Implementation | None:
        """Return the server's name and version."""
        return self._client.server_info

    @property
    def server_capabilities(self) -> types.ServerCapabilities:
        """Return the server's capabilities."""
        return self._client.server_capabilities

    @property
    def instructions(self) -> str | None:
        """Return the server's instructions for the model."""
        return self._client.instructions

    def save_session(self) -> SavedSession:
        """Return what another process needs to resume this session."""
        return self._save_session()


def _refuse_in_a_loop() -> None:
    """Raise `SynchronousOnlyOperation` in a thread with a running event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise SynchronousOnlyOperation("a SyncClient would block this thread's event loop: use `async with Client(...)`")
