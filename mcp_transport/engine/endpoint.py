"""The endpoint: answers HTTP requests, independently of the web framework."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from mcp_transport.backends.base import Backend
from mcp_transport.concurrency import ConcurrencyLimiter
from mcp_transport.domain.access_rule import AccessRule
from mcp_transport.domain.metrics import ProcessMetrics
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.principal import ANONYMOUS, Principal
from mcp_transport.domain.rate_limit import RateLimits
from mcp_transport.engine import reply as replies
from mcp_transport.engine import sessionful, sessionless
from mcp_transport.engine.authorization import Authorization, StepUp, audit_denial, insufficient_scope
from mcp_transport.engine.broadcasts import publish
from mcp_transport.engine.call import no_context
from mcp_transport.engine.call_contexts import CallContexts
from mcp_transport.engine.call_metrics import CallMetrics
from mcp_transport.engine.circuit_breakers import CircuitBreakers
from mcp_transport.engine.clock import Clock, SystemClock
from mcp_transport.engine.coalescing import SharedContexts
from mcp_transport.engine.codec import decode
from mcp_transport.engine.freezing import enter_session
from mcp_transport.engine.memory_budget import MemoryBudget, Reservation
from mcp_transport.engine.node import Node, ThreadLimits
from mcp_transport.engine.node_pool import NodePool
from mcp_transport.engine.observer import Observer
from mcp_transport.engine.param_limits import VALID_BODY_BYTES, check_params
from mcp_transport.engine.rate_limiter import RateLimiter
from mcp_transport.engine.refusals import RefusalNotes
from mcp_transport.engine.request_body import read_body
from mcp_transport.exceptions import BackendError, ClientDisconnected, ProtocolError
from mcp_transport.kernel import Kernel, continued_trace, is_cancellation
from mcp_transport.protocol.client_address import TrustedProxies
from mcp_transport.protocol.errors import INTERNAL_ERROR
from mcp_transport.protocol.headers import REGION_HEADER, Headers
from mcp_transport.protocol.http import HTTPRequest, Reply, StreamReply
from mcp_transport.protocol.idempotency import idempotency_capability
from mcp_transport.protocol.origin import cors_headers, has_allowed_origin, preflight_headers
from mcp_transport.protocol.request_checks import (
    ClassifiedPost,
    IgnoredPost,
    InitializePost,
    SessionlessPost,
    SessionPost,
    check_before_authentication,
    check_before_body,
    classify,
)
from mcp_transport.protocol.targets import Target

__all__ = ["Authenticate", "CallContexts", "Endpoint", "Throttle"]

logger = logging.getLogger(__name__)

Authenticate = Callable[[HTTPRequest], Awaitable[Principal]]
Throttle = Callable[[HTTPRequest, Principal], Awaitable[None]]


AnyReply = TypeVar("AnyReply", Reply, Reply | StreamReply)


async def _anonymous(request: HTTPRequest) -> Principal:
    return ANONYMOUS


async def _stored_principal(binding: str, name: str) -> Principal:
    return Principal.from_binding(binding, name)


class Endpoint:
    """The MCP endpoint of a process, with one node for each event loop that serves it.

    `keys` are the secrets for requests to clients, `session_keys` those for session ids: the first one signs or
    seals, each of them verifies or opens. `principal_without_request` finds the principal of a call that is run
    again. `call_context` builds the context of each call, such as a thread for synchronous code; a call that is run
    again has no request. `shared_contexts` builds that of a run for several callers. `threads` limits such threads.
    `access` holds the rules of the server's declarations; `step_up` builds the response to a caller without the
    scopes. `rate_limits` and `throttle` apply to POST and GET.
    """

    def __init__(
        self,
        kernel: Kernel,
        backend: Backend,
        policy: Policy,
        *,
        keys: Sequence[bytes],
        session_keys: Sequence[bytes] = (),
        authenticate: Authenticate = _anonymous,
        principal_without_request: sessionful.PrincipalLookup = _stored_principal,
        access: Mapping[Target, AccessRule] | None = None,
        step_up: StepUp = insufficient_scope,
        observer: Observer | None = None,
        call_context: CallContexts = no_context,
        threads: ThreadLimits = ConcurrencyLimiter,
        clock: Clock | None = None,
        rate_limits: RateLimits | None = None,
        throttle: Throttle | None = None,
        shared_contexts: SharedContexts | None = None,
    ) -> None:
        self.kernel, self.backend, self.policy = kernel, backend, policy
        self._keys, self._authenticate, self._clock = keys, authenticate, clock or SystemClock()
        self._call_context, self._threads, self._shared_contexts = call_context, threads, shared_contexts
        self._session_keys, self._principal_without_request = session_keys, principal_without_request
        self.observer, self.call_metrics = observer or Observer(), CallMetrics(self._clock, kernel.has_tool)
        self.breakers = CircuitBreakers(self._clock, self.observer)
        backend.sessions.report_events_to(self.observer.report_by_name)
        self._authorization = self._build_authorization(access, step_up) if access else None
        self.budget = MemoryBudget(policy.max_bytes_in_flight, policy.max_bytes_in_flight_per_caller, self._clock.now)
        self._limiter = self._build_limiter(rate_limits) if rate_limits and rate_limits.are_set else None
        self._throttle, self._refusals = throttle, RefusalNotes()
        self._proxies = TrustedProxies(policy.trusted_proxies) if policy.trusted_proxies else None
        self.pool = NodePool(self._build_node, backend, policy.drain)
        kernel.bus.publish_to = partial(publish, backend, kernel.bus.deliver)
        if backend.streams.keeps_answers:
            kernel.declare_experimental(idempotency_capability(policy.versions, policy.stream_keep))

    def _build_authorization(self, access: Mapping[Target, AccessRule], step_up: StepUp) -> Authorization:
        visibility, context = self.kernel.visibility(), self._call_context
        return Authorization(access, visibility, self.observer, self._clock, step_up, context)

    def _build_limiter(self, limits: RateLimits) -> RateLimiter:
        return RateLimiter(limits, self._clock.monotonic, self.kernel.tool_name)

    def client_address(self, peer: str, headers: Headers) -> str:
        """Return the address of the client, which may be behind trusted proxies."""
        return peer if self._proxies is None else self._proxies.client(peer, headers)

    async def handle(self, request: HTTPRequest, body: AsyncIterable[bytes]) -> Reply | StreamReply:
        """Answer one request; `body` is read only after the earlier checks, and may raise TimeoutError.

        Raises:
            ClientDisconnected: the client disconnected before it had sent its request.
        """
        value: Any = None
        work: ClassifiedPost | None = None
        memory: Reservation | None = None
        principal = ANONYMOUS
        try:
            check_before_authentication(request, self.policy)
            if request.method == "OPTIONS":
                return self._with_region(self._preflight(request))
            principal = await self._authenticate(request)
            check_before_body(request, self.policy)
            if request.method != "POST":
                reply: Reply | StreamReply = await self._handle_session(request, principal)
            else:
                content, memory = await read_body(body, request, principal, self.policy, self.budget)
                request = request if memory is None else replace(request, memory=memory)
                value = decode(content, self.policy.max_request_values)
                work = classify(request, value, self.policy)
                if len(content) > VALID_BODY_BYTES:
                    work = check_params(work, len(content))
                digest = hashlib.sha256(content).digest() if isinstance(work, SessionPost) else b""
                del content  # frees the memory: a call may take long
                with continued_trace(request.headers):
                    reply = await self._handle_post(request, work, digest, principal)
        except ProtocolError as error:
            if error.reason and isinstance(work, SessionlessPost | SessionPost):  # refused for load
                self._refusals.note(self.pool.running_node, request, error, work, principal)
            reply = self._refuse(request, error, principal, value, work)
        except BackendError as error:
            logger.warning("%s answered with 503: %s", request.method, error)
            self.call_metrics.record_refusal("503")
            reply = replies.error_reply(replies.store_unavailable(), value)
        except BaseException as error:  # also from an authenticator or a `visible` function
            if isinstance(error, ClientDisconnected) or is_cancellation(error):
                raise
            logger.exception("%s failed", request.method)
            reply = replies.error_reply(ProtocolError(500, INTERNAL_ERROR, "Internal server error"), value)
        finally:
            if memory is not None:
                memory.release()
        reply = self._with_region(replies.with_length(reply))
        return self._with_cors(request, replies.close_connection(reply, request) if self.pool.is_stopping else reply)

    def _refuse(
        self,
        request: HTTPRequest,
        error: ProtocolError,
        principal: Principal,
        value: Any,
        work: ClassifiedPost | None,
    ) -> Reply:
        if not error.is_logged:
            logger.info("%s refused with %d: %s", request.method, error.status, error.message)
        self.call_metrics.record_refusal(error.reason or str(error.status))
        if error.status in (401, 403):
            audit_denial(self.observer, self._clock, request, error.principal or principal, error.message, value)
        if error.reason and isinstance(work, SessionPost) and work.requests:
            return replies.refusal_in_session(error, work, request.headers.accepts)
        return replies.error_reply(error, value)

    async def _handle_post(
        self, request: HTTPRequest, work: ClassifiedPost, digest: bytes, principal: Principal
    ) -> Reply | StreamReply:
        if isinstance(work, IgnoredPost):
            return replies.accepted()
        if self._authorization is not None and isinstance(work, SessionlessPost | SessionPost):
            work = await self._authorization.authorize(request, work, principal)
        if self._throttle is not None:
            await self._throttle(request, principal)
        node = await self.pool.node_for(request)
        charges = None
        if (rates := node.rates) is not None:
            due = rates.charges(request, principal, work)
            charges = None if rates.buckets.defer(due) else await rates.admit_post(due, work)
        if isinstance(work, SessionlessPost):
            return await sessionless.serve(node, request, work.request, principal)
        if node.freezes:
            await enter_session(node, work.requests if isinstance(work, SessionPost) else ())
        elif not node.has_joined:
            await node.join()
        match work:
            case InitializePost(message):
                return await sessionful.open_session(node, request, message, principal)
            case SessionPost():
                return await sessionful.post(node, request, work, digest, principal, charges=charges)

    async def _handle_session(self, request: HTTPRequest, principal: Principal) -> Reply | StreamReply:
        handle = sessionful.get if request.method == "GET" else sessionful.delete
        node = await self.pool.node_for(request)
        if node.is_draining and request.method == "GET":
            raise replies.server_stopping(request)
        if self._throttle is not None and request.method == "GET":
            await self._throttle(request, principal)
        if node.rates is not None and request.method == "GET":
            await node.rates.admit_get(request, principal)
        await (enter_session(node) if node.freezes else node.join())
        return await handle(node, request, principal)

    def _preflight(self, request: HTTPRequest) -> Reply:
        requested = request.headers.get("access-control-request-headers")
        return Reply(status=204, headers=preflight_headers(request.headers.get("origin"), requested))

    def _with_region(self, reply: AnyReply) -> AnyReply:
        if not self.policy.region:
            return reply
        return replace(reply, headers=(*reply.headers, (REGION_HEADER, self.policy.region)))

    def _with_cors(self, request: HTTPRequest, reply: Reply | StreamReply) -> Reply | StreamReply:
        origin = request.headers.get("origin")
        if not origin or not has_allowed_origin(request, self.policy):
            return reply
        return replace(reply, headers=(*reply.headers, *cors_headers(origin)))

    def _build_node(self) -> Node:
        return Node(
            self.backend,
            self.kernel,
            self.policy,
            self._clock,
            self._keys,
            session_keys=self._session_keys,
            observer=self.observer,
            call_metrics=self.call_metrics,
            budget=self.budget,
            fail_over=sessionful.FailOver(self._principal_without_request, self._authorization),
            call_context=self._call_context,
            measure=self.process_metrics,
            threads=self._threads,
            breakers=self.breakers,
            rate_limiter=self._limiter,
            shared_contexts=self._shared_contexts,
        )

    async def close_session(self, key: str) -> bool:
        """End a session on every node, for staff; return False if it has already ended. Raises: BackendError."""
        return await sessionful.close_session_for_staff(self.backend, self.observer, self._clock.now(), key)

    def process_metrics(self) -> ProcessMetrics:
        """Return the metrics of this process for the last minutes."""
        held = self.pool.gauges()
        metrics = self.call_metrics.process_metrics(held.streams, held.load)
        return replace(metrics, breakers=self.breakers.records())
