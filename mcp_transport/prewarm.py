"""The warm-up of this project: what a process builds, opens and runs before `/readyz` answers 200."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from mcp_transport import bootstrap, conf
from mcp_transport.bootstrap import Misconfigured
from mcp_transport.process import startup
from mcp_transport.process.sigterm import drain_before_sigterm
from mcp_transport.process.warm_up import WarmUp
from mcp_transport.threads import CallThread

__all__ = [
    "begin",
    "begin_before_requests",
    "begin_without_loop",
    "call_once",
    "drain_and_stop",
    "prewarm_functions",
    "unready_reason",
]

logger = logging.getLogger(__name__)

_NODE_SECONDS: Final = 60.0  # for the server's lifespan; the store has timeouts of its own


def begin() -> None:
    """Prepare the process for SIGTERM, and start its warm-up in the running loop, once."""
    startup.skip()
    if not _is_test_run():
        drain_before_sigterm(drain_and_stop)
        _warm_up.begin()


def begin_before_requests(scope_type: str) -> None:
    """Begin already when the server starts its lifespan, whether the application has one or not.

    The first request begins again, for servers that set their own handler of SIGTERM between the two.
    """
    if scope_type == "lifespan" and not startup.is_prepared:
        begin()
        startup.is_prepared = _is_test_run()


def begin_without_loop() -> None:
    """Start the warm-up of a process whose requests have a loop each, under WSGI."""
    startup.skip()
    if not _is_test_run():
        _warm_up.begin_in_thread()


def _is_test_run() -> bool:
    return hasattr(mail, "outbox")  # set by Django's test environment


def unready_reason() -> str:
    """Return why the process is not warm, or "" if it is; the text is public."""
    return _warm_up.reason


async def drain_and_stop(ports_closed: bool) -> None:
    """Stop the warm-up, then drain and stop the endpoint at SIGTERM; see `NodePool.drain_and_stop`."""
    startup.skip()
    await _warm_up.stop("draining")
    with suppress(Misconfigured):
        await bootstrap.endpoint().pool.drain_and_stop(ports_closed)


def prewarm_functions() -> list[Callable[[], Any]]:
    """Import the functions of the setting PREWARM.

    Raises:
        ImproperlyConfigured: one cannot be imported, or cannot be called without arguments.
    """
    return [_imported(path) for path in conf.get("PREWARM")]


def _imported(path: Any) -> Callable[[], Any]:
    try:
        function: Callable[[], Any] = import_string(path)
    except (ImportError, AttributeError, TypeError) as error:
        raise ImproperlyConfigured(f"{path!r} cannot be imported: {error}") from error
    if not callable(function):
        raise ImproperlyConfigured(f"{path!r} is not callable")
    with suppress(ValueError):  # built-in functions without a signature
        try:
            inspect.signature(function).bind()
        except TypeError as error:
            raise ImproperlyConfigured(f"{path!r} must be callable without arguments: {error}") from error
    return function


async def _warm(warm_up: WarmUp, has_node: bool) -> None:
    try:
        served = bootstrap.endpoint()
    except Misconfigured:
        return  # which /readyz reports
    if has_node:
        node = served.pool.node
        await warm_up.until_done("the start of the server's lifespan", node, seconds=_NODE_SECONDS, cancels=False)
    for _ in served.kernel.warm(served.policy.versions):
        await asyncio.sleep(0)  # requests are served meanwhile
    await _call(_start_thread)
    seconds = conf.get("PREWARM_TIMEOUT_SECONDS")
    for number, function in enumerate(prewarm_functions()):
        name, is_async = f"PREWARM[{number}]", inspect.iscoroutinefunction(inspect.unwrap(function))
        await warm_up.until_done(name, partial(_call, function), seconds=seconds, cancels=is_async)
    if has_node:
        startup.freeze_gc()


def _start_thread() -> None:
    """Run in a thread, which a call that comes soon finds idle."""


async def call_once() -> None:
    """Call the functions of PREWARM once, for a process that is warm when this ends; log what they raise."""
    for number, function in enumerate(prewarm_functions()):
        try:
            async with asyncio.timeout(conf.get("PREWARM_TIMEOUT_SECONDS")):
                await _call(function)
        except Exception:
            logger.exception("PREWARM[%d] failed", number)


async def _call(function: Callable[[], Any]) -> None:
    """Call a function as tools are called: a synchronous one in a thread, with connections that end afterwards."""
    thread = CallThread()
    async with thread:
        try:
            if inspect.iscoroutinefunction(function):
                await function()
                return
            # Not `in_thread`, whose cancellation waits for the function.
            result = await asyncio.wrap_future(thread.executor.submit(function))
            if inspect.isawaitable(result):  # of a wrapper of a coroutine function
                await result
        except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:  # which would end the loop
            raise RuntimeError(f"a function of PREWARM raised {type(error).__name__}") from error


_warm_up: Final = WarmUp(_warm)
