"""The context of a call: a thread of its own, and the context manager of the setting CALL_CONTEXT."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from typing import Any, TypeVar

from asgiref.sync import _restore_context, sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.utils import translation
from django.utils.module_loading import import_string

from mcp_transport import conf
from mcp_transport.auth.django_request import django_request
from mcp_transport.domain.principal import ANONYMOUS, Principal
from mcp_transport.engine.endpoint import CallContexts
from mcp_transport.kernel import is_cancellation
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.threads import CallThread

__all__ = ["ProjectContext", "SharedContexts", "call_contexts", "project_context"]

_T = TypeVar("_T")

ProjectContext = Callable[
    [HttpRequest | None, Principal | None], AbstractContextManager[Any] | AbstractAsyncContextManager[Any]
]
"""Returns the context manager of a project. The request is None if a call runs again after the loss of its node, and
for a run that several callers share; the principal is None during authentication."""

logger = logging.getLogger(__name__)


def project_context() -> ProjectContext | None:
    """Import the setting CALL_CONTEXT.

    Raises:
        ImproperlyConfigured: it cannot be imported or is not callable.
    """
    path = conf.get("CALL_CONTEXT")
    if path is None:
        return None
    try:
        context: ProjectContext = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"MCP_TRANSPORT['CALL_CONTEXT'] = {path!r} cannot be imported: {error}") from error
    if not callable(context):
        raise ImproperlyConfigured(f"MCP_TRANSPORT['CALL_CONTEXT'] = {path!r} is not callable")
    return context


def call_contexts(project: ProjectContext | None = None) -> CallContexts:
    """Return a function that builds the context of each call, including the project's context manager."""
    return _call_thread if project is None else partial(_call_context, project)


def _call_thread(request: HTTPRequest | None = None, principal: Principal | None = None) -> CallThread:
    if request is None:
        return CallThread(caller=principal.binding if principal is not None else "")
    caller = (principal or ANONYMOUS).caller(request.peer)
    # Under WSGI the loop ends with the request, on Lambda it does not.
    joins = not request.streaming and request.gateway is None
    return CallThread(joins=joins, memory=request.memory, caller=caller)


def _call_context(
    project: ProjectContext, request: HTTPRequest | None = None, principal: Principal | None = None
) -> AbstractAsyncContextManager[None]:
    thread = _call_thread(request, principal)
    if request is None and principal is None:
        return thread
    # No method of what refers to the thread: such a cycle would keep the request until garbage collection.
    thread.renew = partial(_renewed_context, project, request, principal, thread.joins, thread.caller)
    return _InProject(thread, project, request, principal)


def _renewed_context(
    project: ProjectContext, request: HTTPRequest | None, principal: Principal | None, joins: bool, caller: str
) -> AbstractAsyncContextManager[None]:
    return _InProject(CallThread(joins=joins, caller=caller), project, request, principal)


class SharedContexts:
    """Builds the context of runs without a caller: a thread, the language, the project's context for nobody."""

    def __init__(self, project: ProjectContext | None = None) -> None:
        self._project = project

    def language(self) -> str:
        """Return the active language; "" if translations are off."""
        return translation.get_language() or ""

    def variables(self, language: str) -> contextvars.Context:
        """Return context variables of which only the language is set."""
        variables = contextvars.Context()
        if language:
            variables.run(translation.activate, language)
        else:
            variables.run(translation.deactivate_all)
        return variables

    def enter(self, caller: str) -> AbstractAsyncContextManager[None]:
        """Return the context of a run; its thread counts as one of `caller`."""
        thread = CallThread(caller=caller)
        return thread if self._project is None else _InProject(thread, self._project, None, ANONYMOUS)


class _InProject:
    """Enters the project's context manager: a synchronous one in the call's thread, another one in its task."""

    def __init__(
        self, thread: CallThread, project: ProjectContext, request: HTTPRequest | None, principal: Principal | None
    ) -> None:
        self._thread, self._project = thread, project
        self._request, self._principal = request, principal
        self._manager: Any = None
        # Enter and exit run in one context, so that the manager can reset its context variables.
        self._context = contextvars.Context()

    async def __aenter__(self) -> None:
        await self._thread.__aenter__()
        try:
            self._context = contextvars.copy_context()
            await self._in_thread(self._enter)
            # Private to asgiref, whose sync_to_async uses it, too: it makes the context variables visible.
            _restore_context(self._context)
            if not isinstance(self._manager, AbstractContextManager):
                await self._manager.__aenter__()
        except BaseException as error:
            self._exit_in_background(error)
            await self._thread.__aexit__()
            raise

    def _enter(self) -> None:
        manager: Any = self._project(self._django_request(), self._principal)
        if isinstance(manager, AbstractContextManager):
            manager.__enter__()
        elif not isinstance(manager, AbstractAsyncContextManager):
            if inspect.iscoroutine(manager):
                manager.close()
            raise ImproperlyConfigured(
                "MCP_TRANSPORT['CALL_CONTEXT'] must return a context manager, as a function decorated with "
                f"@contextlib.contextmanager does, got {type(manager).__name__}"
            )
        self._manager = manager

    def _exit_in_background(self, error: BaseException) -> None:
        """Exit a manager that the thread may still enter after the waiting task was cancelled."""
        if isinstance(error, asyncio.CancelledError) and not self._thread.joins:
            self._thread.executor.submit(self._context.run, self._exit_if_entered, error)

    def _exit_if_entered(self, error: BaseException) -> None:
        if isinstance(self._manager, AbstractContextManager):
            self._manager.__exit__(type(error), error, None)

    def _django_request(self) -> HttpRequest | None:
        return None if self._request is None else self._request.source or django_request(self._request)

    async def __aexit__(self, *details: Any) -> None:
        try:
            if isinstance(self._manager, AbstractContextManager):
                await self._in_thread(lambda: self._manager.__exit__(*details))
            else:
                await self._manager.__aexit__(*details)
        except BaseException as raised:
            if is_cancellation(raised):
                raise
            logger.exception("the context manager of MCP_TRANSPORT['CALL_CONTEXT'] failed to exit")
        finally:
            await self._thread.__aexit__()

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await sync_to_async(work, thread_sensitive=True, context=self._context)()
