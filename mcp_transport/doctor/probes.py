"""The requests that the doctor sends, in order; `evaluation` judges the responses afterwards."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from mcp_transport.doctor.http_client import (
    EVENT_STREAM,
    EndpointClient,
    Request,
    session_request,
    sessionless_request,
)
from mcp_transport.doctor.observations import (
    SESSIONFUL,
    DoctorOptions,
    NodeReport,
    Observations,
    Response,
    StreamObservation,
    session_id_of,
)
from mcp_transport.doctor.size_probe import probe_body_limit
from mcp_transport.doctor.tls import probe_tls

__all__ = ["FOREIGN", "TOOL", "run_probes"]

TOOL: Final = "mcp_doctor_events"
"""The tool of `mcp_transport.contrib.doctor`."""

FOREIGN: Final = "https://foreign.invalid"
"""An origin that cannot exist (RFC 2606), so no server allows it."""

_HEALTH: Final = ("/healthz", "/readyz")
_FIRST_BYTES_SECONDS: Final = 3.0
_COMPRESSED_ENCODINGS: Final = "gzip, br, deflate"
_WARM_UP_CALLS, _ROUNDS, _EVENTS_PER_ROUND = 4, 7, 5
_INTERRUPTED_EVENTS, _INTERRUPT_AFTER_CHUNKS = 20, 4
_LARGE_BODY_BYTES: Final = 1_500_000
"""More than the megabyte that proxies accept by default, less than the endpoint's own 4 MiB."""
_MAX_PAGES: Final = 50


async def run_probes(options: DoctorOptions) -> Observations:
    """Send all probes; a request that fails is an observation too."""
    with _without_debug_log():
        return await _examine(options)


@contextmanager
def _without_debug_log() -> Iterator[None]:
    """Disable the HTTP client's debug log, which contains response headers and so session ids."""
    logger = logging.getLogger("httpcore2")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


async def _examine(options: DoctorOptions) -> Observations:
    observed = Observations(options=options, now=time.time())
    endpoint = EndpointClient(options)
    observed.tls = await probe_tls(options)
    observed.anonymous = await endpoint.send(replace(_initialize(), sends_token=False))
    if not observed.is_reached:
        return observed
    await _delete_session(endpoint, observed.anonymous, sends_token=False)
    await _probe_metadata(endpoint, observed)
    observed.health = {
        path: await endpoint.send(Request(method="GET", path=path, sends_token=False)) for path in _HEALTH
    }
    observed.discover = await endpoint.send(sessionless_request("server/discover"))
    observed.initialize = await endpoint.send(_initialize())
    if observed.session_id:
        observed.idle_session = await endpoint.send(_initialize())
    await asyncio.gather(_hold_idle_streams(endpoint, observed), _probe_requests(endpoint, observed))
    await _delete_session(endpoint, observed.idle_session)
    return observed


async def _probe_requests(endpoint: EndpointClient, observed: Observations) -> None:
    if observed.session_id:
        await endpoint.send(
            session_request(observed.session_id, _version(observed.initialize), "notifications/initialized")
        )
    harmless = _harmless_request(observed)
    await _probe_connections(endpoint, observed, harmless)
    await _probe_origins(endpoint, observed, harmless)
    await _probe_headers(endpoint, observed)
    await _probe_tool(endpoint, observed)
    await _probe_streams(endpoint, observed)
    if observed.session_id:
        delete = replace(_in_session(observed, "ping", 1), method="DELETE", message=None)
        observed.deleted = await endpoint.send(delete)
        observed.after_delete = await endpoint.send(_in_session(observed, "ping", 1))


# -- requests --------------------------------------------------------------------------------------------


def _initialize() -> Request:
    info = {"name": "mcp_doctor", "version": "1"}
    params = {"protocolVersion": SESSIONFUL, "capabilities": {}, "clientInfo": info}
    return session_request("", "", "initialize", params, 0)


def _version(initialized: Response) -> str:
    version = initialized.result.get("protocolVersion")
    return version if isinstance(version, str) and re.fullmatch(r"[\d-]{1,20}", version) else SESSIONFUL


def _in_session(observed: Observations, method: str, id: int | None = None, params: Any = None) -> Request:
    return session_request(observed.session_id, _version(observed.initialize), method, params, id)


def _stream_request(initialized: Response) -> Request:
    headers = {"Mcp-Session-Id": session_id_of(initialized), "MCP-Protocol-Version": _version(initialized)}
    return Request(method="GET", headers={"Accept": EVENT_STREAM, **headers})


def _listen_request() -> Request:
    return sessionless_request("subscriptions/listen", {"notifications": {"toolsListChanged": True}})


def _harmless_request(observed: Observations) -> Request:
    """Return a request that changes nothing, of a revision that the server supports."""
    return _in_session(observed, "ping", 1) if observed.session_id else sessionless_request("server/discover")


async def _delete_session(endpoint: EndpointClient, initialized: Response, *, sends_token: bool = True) -> None:
    """End a session that a probe opened."""
    if session_id_of(initialized):
        await endpoint.send(replace(_stream_request(initialized), method="DELETE", sends_token=sends_token))


# -- probes ----------------------------------------------------------------------------------------------


async def _probe_metadata(endpoint: EndpointClient, observed: Observations) -> None:
    match = re.search(r'resource_metadata="([^"]*)"', observed.anonymous.headers.get("www-authenticate", ""))
    if observed.anonymous.status != 401 or match is None:
        return
    # Only the path is used: a challenge must not make this machine send requests to other hosts.
    path = urlsplit(match[1]).path
    if path.startswith("/"):
        observed.metadata = await endpoint.send(Request(method="GET", path=path, sends_token=False))


async def _probe_connections(endpoint: EndpointClient, observed: Observations, harmless: Request) -> None:
    async with endpoint.http_client() as http:
        observed.reused_connection = (await endpoint.send(harmless, http), await endpoint.send(harmless, http))
    if observed.session_id:
        observed.pings = tuple([await endpoint.send(harmless) for _ in range(observed.options.fresh_connections)])
    padded = dict(harmless.message)
    padded["params"] = {**padded.get("params", {}), "padding": "x" * _LARGE_BODY_BYTES}
    observed.large_body = await endpoint.send(replace(harmless, message=padded))
    observed.announced_body = await probe_body_limit(observed.options)


async def _probe_origins(endpoint: EndpointClient, observed: Observations, harmless: Request) -> None:
    parts = urlsplit(observed.options.url)
    observed.foreign_origin = await endpoint.send(harmless.adding(Origin=FOREIGN))
    observed.own_origin = await endpoint.send(harmless.adding(Origin=f"{parts.scheme}://{parts.netloc}"))
    for origin in observed.options.origins:
        observed.origins[origin] = await endpoint.send(harmless.adding(Origin=origin))


async def _probe_headers(endpoint: EndpointClient, observed: Observations) -> None:
    """Send invalid header values: a server that accepts one has not received the header."""
    if observed.session_id:
        observed.invalid_version = await endpoint.send(
            _in_session(observed, "ping", 1).adding(MCP_Protocol_Version="1999-01-01")
        )
        invalid_event_id = _stream_request(observed.initialize).adding(Last_Event_ID="mcp_doctor made this up")
        observed.invalid_event_id = await endpoint.listen(invalid_event_id, _FIRST_BYTES_SECONDS, is_enough=bool)
    if observed.has_sessionless:
        observed.header_mismatch = await endpoint.send(
            sessionless_request("server/discover").adding(Mcp_Method="tools/list")
        )


async def _hold_idle_streams(endpoint: EndpointClient, observed: Observations) -> None:
    """Hold idle streams open, in a session of their own: a second GET would end the first one."""

    async def hold(request: Request, is_served: bool) -> StreamObservation | None:
        return await endpoint.listen(request, observed.options.idle) if is_served else None

    requests = (
        (_stream_request(observed.idle_session), bool(session_id_of(observed.idle_session))),
        (_listen_request(), observed.has_sessionless),
    )
    observed.idle_get_stream, observed.idle_subscription = await asyncio.gather(
        *(hold(*request) for request in requests)
    )


async def _probe_streams(endpoint: EndpointClient, observed: Observations) -> None:
    request = _stream_request(observed.initialize) if observed.session_id else _listen_request()
    if not observed.session_id and not observed.has_sessionless:
        return
    stream = observed.gzip_stream = await endpoint.listen(
        request.adding(Accept_Encoding=_COMPRESSED_ENCODINGS), _FIRST_BYTES_SECONDS, is_enough=bool
    )
    if stream.response.headers.get("content-encoding", "identity") != "identity":
        stream = await endpoint.listen(request, _FIRST_BYTES_SECONDS, is_enough=bool)
    if (
        observed.session_id
        and observed.invalid_event_id is not None
        and observed.invalid_event_id.response.status != 200
    ):
        await _resume(endpoint, observed, stream)


async def _resume(endpoint: EndpointClient, observed: Observations, stream: StreamObservation) -> None:
    """Resume a stream after an event: an interrupted call's stream with the tool, otherwise the GET stream."""
    if observed.has_tool:
        request = _session_progress_call(observed, _INTERRUPTED_EVENTS)
        stream = observed.interrupted = await endpoint.listen(
            request, _FIRST_BYTES_SECONDS, is_enough=lambda chunks: len(chunks) >= _INTERRUPT_AFTER_CHUNKS
        )
    last = next((frame.id for frame in reversed(stream.frames) if frame.id), "")
    if last.isascii() and last.isprintable() and last:
        is_enough = (lambda _: False) if observed.has_tool else bool
        resuming = _stream_request(observed.initialize).adding(Last_Event_ID=last)
        observed.resumed = await endpoint.listen(resuming, _FIRST_BYTES_SECONDS, is_enough=is_enough)


# -- the tool --------------------------------------------------------------------------------------------


async def _probe_tool(endpoint: EndpointClient, observed: Observations) -> None:
    """Call the tool of `mcp_transport.contrib.doctor`, if the server lists it."""
    observed.has_tool = await _is_listed(endpoint, observed)
    if not observed.has_tool:
        return
    # Short calls over one used connection: only there does Linux delay acknowledgements, and only once per request.
    async with endpoint.http_client() as http:
        for _ in range(_WARM_UP_CALLS):
            await endpoint.send(_progress_call(observed, 0), http)
        short = _progress_call(observed, _EVENTS_PER_ROUND)
        observed.rounds = tuple(
            [await endpoint.listen(short, _FIRST_BYTES_SECONDS, client=http) for _ in range(_ROUNDS)]
        )
    reports = [
        _node_report(await endpoint.send(_progress_call(observed, 0)))
        for _ in range(observed.options.fresh_connections)
    ]
    observed.node_reports = tuple(report for report in reports if report is not None)


async def _is_listed(endpoint: EndpointClient, observed: Observations) -> bool:
    params: dict[str, Any] = {}
    for _ in range(_MAX_PAGES):
        is_sessionless = observed.has_sessionless
        request = (
            sessionless_request("tools/list", params)
            if is_sessionless
            else _in_session(observed, "tools/list", 2, params)
        )
        result = (await endpoint.send(request)).result
        tools = result.get("tools")
        listed = tools if isinstance(tools, list) else []
        if any(isinstance(tool, dict) and tool.get("name") == TOOL for tool in listed):
            return True
        if not (cursor := result.get("nextCursor")):
            return False
        params = {"cursor": cursor}
    return False


def _progress_call(observed: Observations, events: int) -> Request:
    if observed.has_sessionless:
        return sessionless_request("tools/call", _arguments(events), progress=True)
    return _session_progress_call(observed, events)


def _session_progress_call(observed: Observations, events: int) -> Request:
    return _in_session(observed, "tools/call", 3, {**_arguments(events), "_meta": {"progressToken": "doctor"}})


def _arguments(events: int) -> dict[str, Any]:
    return {"name": TOOL, "arguments": {"events": events}}


def _node_report(response: Response) -> NodeReport | None:
    content = response.result.get("structuredContent")
    if not isinstance(content, dict) or "node" not in content:
        return None
    return NodeReport(**{name: str(content.get(name, ""))[:40] for name in ("node", "http", "connection")})
