"""Coalescing: requests that are the same at the same time share one run of their handler."""

from __future__ import annotations

import contextvars
from collections.abc import Hashable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import Any, Final, Protocol

import orjson

from mcp_transport.domain.principal import Principal
from mcp_transport.kernel import Exchange
from mcp_transport.protocol.headers import CORRELATION_HEADERS
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.jsonrpc import LIGHT_METHODS, Outcome, Request, is_request_id

__all__ = [
    "COALESCED_METHODS",
    "READING_METHODS",
    "NoSharedContexts",
    "SharedContexts",
    "SharedRun",
    "SharedRuns",
    "Waiter",
    "request_key",
    "shared_key",
    "without_caller",
]

COALESCED_METHODS: Final = frozenset(
    {
        *("tools/list", "prompts/list", "resources/list", "resources/templates/list"),
        *("resources/read", "prompts/get"),
    }
)
"""The methods whose requests are coalesced by default."""
READING_METHODS: Final = COALESCED_METHODS | LIGHT_METHODS | {"completion/complete"}
"""The methods that change nothing which another request reads."""

# What differs in each request and says nothing about its caller.
_OWN_HEADERS: Final = CORRELATION_HEADERS | {"content-length", "idempotency-key"}
_TRACE: Final = ("traceparent", "tracestate")
_ENVELOPE: Final = "io.modelcontextprotocol/"

Key = tuple[Hashable, ...]


class Waiter(Protocol):
    """A request that starts a run or waits for one."""

    caller: str
    owner: str | None
    """The caller whose runs it may share; None for those of all callers."""
    target: str
    """A part of the key that costs nothing to compute."""
    is_admitted: bool
    """Does it run, rather than wait for a place?"""

    def exchange(self) -> Exchange:
        """Return the exchange with the request's own client."""

    def enter_admitted(self) -> None:
        """Note that the run of the request has a place."""

    def make_key(self) -> Key | None:
        """Return what must be equal in two requests that share a run; None if the request shares none."""

    def receive(self, outcome: Outcome | None, caller: str) -> None:
        """Take the outcome of the run that `caller` has started; None if it has none."""

    def restart(self, *, alone: bool) -> None:
        """Leave the run, and wait for another one; `alone` for one of its own."""

    def count_timeout(self) -> None:
        """Count that a request which waited for the handler has timed out."""

    def stop(self) -> None:
        """Cancel the handler."""


class SharedRun:
    """A run of a handler: the request that has started it, and those that wait for its outcome, too."""

    __slots__ = ("_runs", "followers", "has_left", "is_queued", "key", "leader", "spans")

    def __init__(self, runs: SharedRuns, leader: Waiter) -> None:
        self._runs, self.leader = runs, leader
        self.followers: dict[Waiter, None] = {}
        self.has_left = False
        """Has the leader been cancelled or timed out?"""
        self.is_queued = False
        """Does the run wait for a place among those of its caller?"""
        self.key: Key | None = None
        self.spans: list[Any] = []
        """The span of the handler, once it has one; those of requests that wait link to it."""

    def close(self) -> None:
        """Let no further request join."""
        self._runs.remove(self)

    def leave(self, waiter: Waiter) -> bool:
        """Remove a request; return whether it has started a handler that goes on for others.

        The handler is cancelled when nobody waits.
        """
        if waiter is not self.leader:
            self.followers.pop(waiter, None)
            if self.has_left and not self.followers:
                self.close()
                self.leader.stop()
            return False
        self.has_left = True
        if self.followers:
            return True
        self.close()
        return False

    def finish(self, outcome: Outcome | None) -> None:
        """Give the outcome to all that wait."""
        self.close()
        if self.followers:
            for follower in self._take_followers():
                follower.receive(outcome, self.leader.caller)

    def queue(self) -> None:
        """Note that the run waits for a place; requests of other callers do not wait with it."""
        self.is_queued = True
        for follower in [item for item in self.followers if item.caller != self.leader.caller]:
            del self.followers[follower]
            follower.restart(alone=False)

    def admit(self) -> None:
        """Note that the run has a place."""
        self.is_queued = False
        for follower in self.followers:
            follower.enter_admitted()

    def claim(self) -> bool:
        """Leave the run to its leader, since its handler asks the client; return whether the leader still waits."""
        self.close()
        for follower in self._take_followers():
            follower.restart(alone=True)
        if self.has_left:
            self.leader.stop()
        return not self.has_left

    def _take_followers(self) -> list[Waiter]:
        followers = [*self.followers]
        self.followers.clear()
        return followers


class SharedRuns:
    """The runs of a node that requests may join."""

    def __init__(self) -> None:
        self.by_owner: dict[str | None, dict[str, dict[Key | None, SharedRun]]] = {}
        """By owner, target and key. The key of a target's only run is computed when a second request arrives."""

    def enter(self, waiter: Waiter) -> SharedRun | None:
        """Return the run that a request joins, or a new one that it leads; None if it can share none."""
        run = SharedRun(self, waiter)
        if (targets := self.by_owner.get(waiter.owner)) is None:
            self.by_owner[waiter.owner] = {waiter.target: {None: run}}
            return run
        if (bucket := targets.get(waiter.target)) is None:
            targets[waiter.target] = {None: run}
            return run
        if (key := waiter.make_key()) is None:
            return None
        if (first := bucket.pop(None, None)) is not None and (first_key := first.leader.make_key()) is not None:
            first.key = first_key
            bucket[first_key] = first
        current = bucket.get(key)
        if current is not None and not (current.is_queued and current.leader.caller != waiter.caller):
            current.followers[waiter] = None
            return current
        run.key = key
        bucket[key] = run
        return run

    def remove(self, run: SharedRun) -> None:
        """Let no request join a run, which may have been removed before."""
        owner, target = run.leader.owner, run.leader.target
        if (targets := self.by_owner.get(owner)) is None or (bucket := targets.get(target)) is None:
            return
        if bucket.get(run.key) is run:
            del bucket[run.key]
            if not bucket:
                del targets[target]
                if not targets:
                    del self.by_owner[owner]

    def forget(self, caller: str) -> None:
        """Let nobody join the runs that a caller may share, since they may have read what has changed since."""
        self.by_owner.pop(caller, None)
        self.by_owner.pop(None, None)

    def forget_all(self) -> None:
        """Let nobody join the present runs."""
        self.by_owner.clear()


# -- keys ----------------------------------------------------------------------------------------------------


def request_key(
    request: Request, version: str, sent: HTTPRequest, principal: Principal, session: str, language: str
) -> Key | None:
    """Return all that a handler can read of a request, apart from the IDs of the request itself.

    None if that cannot be compared.
    """
    params = dict(request.params or {})
    if (meta := _readable_meta(params.pop("_meta", {}))) is None or (text := _text([params, meta])) is None:
        return None
    headers = frozenset((name, sent.headers.lines(name)) for name in sent.headers if name not in _OWN_HEADERS)
    scopes = None if principal.scopes is None else frozenset(principal.scopes)
    identity = (principal.issuer, principal.subject, principal.name, scopes)
    # A view's request has a query, which no adapter passes on.
    query = getattr(sent.source, "META", {}).get("QUERY_STRING", "")
    place = (sent.peer, sent.path, sent.scheme, query)
    return (text, request.method, version, session, language, identity, headers, place)


def shared_key(request: Request, version: str, language: str) -> Key | None:
    """Return all that the function of a tool with `shared=True` can read; None if that cannot be compared."""
    params = dict(request.params or {})
    if _readable_meta(params.pop("_meta", {})) is None or (text := _text(params)) is None:
        return None
    return (text, request.method, version, language)


def _readable_meta(meta: Any) -> Mapping[str, Any] | None:
    """Return `_meta` without the names of the request's progress and trace; None if it may be invalid."""
    if not isinstance(meta, Mapping) or not is_request_id(meta.get("progressToken", "")):
        return None
    if not all(isinstance(meta.get(name, ""), str) for name in _TRACE):
        return None
    return {name: value for name, value in meta.items() if name != "progressToken" and name not in _TRACE}


def _text(value: Any) -> bytes | None:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # for integers beyond 64 bits and lone surrogates
        return None


def without_caller(request: Request) -> Request:
    """Return a request without what its `_meta` tells of its caller, apart from the trace.

    A propagator could otherwise show it to the function, as baggage.
    """
    if not isinstance(meta := (request.params or {}).get("_meta"), Mapping):
        return request
    allowed = {name: meta[name] for name in meta if name.startswith(_ENVELOPE) or name in _TRACE}
    return replace(request, params={**(request.params or {}), "_meta": allowed})


# -- the context of runs that no caller owns -----------------------------------------------------------------


class SharedContexts(Protocol):
    """Builds the context of runs that requests of several callers share, which shows nothing of any of them."""

    def language(self) -> str:
        """Return the language that is active for the request."""

    def variables(self, language: str) -> contextvars.Context:
        """Return context variables of which only the language is set."""

    def enter(self, caller: str) -> AbstractAsyncContextManager[None]:
        """Return the context of a run; its threads count as those of `caller`."""


class NoSharedContexts:
    """The contexts without a framework."""

    def language(self) -> str:
        """Return no language."""
        return ""

    def variables(self, language: str) -> contextvars.Context:
        """Return no variables."""
        return contextvars.Context()

    def enter(self, caller: str) -> AbstractAsyncContextManager[None]:
        """Return an empty context."""
        return nullcontext()
