"""The requests that the doctor sends, in order; `evaluation` judges the responses afterwards."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from mcp_transport.doctor.connection_faults import Fault
from mcp_transport.doctor.http_client import EVENT_STREAM, EndpointClient, Request, in_session, sessionless
from mcp_transport.doctor.observations import (
    SESSIONFUL,
    DoctorOptions,
    NodeReport,
    Observations,
    Response,
    StreamObservation,
    session_id_of,
)
from mcp_transport.doctor.region_probe import probe_regions
from mcp_transport.doctor.size_probe import probe_body_limit
from mcp_transport.doctor.tls import probe_tls

__all__ = ["FOREIGN", "TOOL", "Report", "run_probes"]

TOOL: Final = "mcp_doctor_events"
"""The tool of `mcp_transport.contrib.doctor`."""

FOREIGN: Final = "https://foreign.invalid"
"""An origin that cannot exist (RFC 2606), so no server allows it."""

_HEALTH: Final = ("/healthz", "/readyz")
_STREAM_SECONDS: Final = 3.0
_ENCODINGS: Final = "gzip, br, deflate"
_WARM_UP_CALLS, _ROUNDS, _EVENTS_PER_ROUND = 4, 7, 5
_INTERRUPTED_EVENTS, _CHUNKS = 20, 4
_LARGE_BODY_BYTES: Final = 1_500_000
"""More than the megabyte that proxies accept by default, less than the endpoint's own 4 MiB."""
_MAX_PAGES: Final = 50
_SHARES: Final = (0.05, 0.1)
"""The share of the whole that is done before the handshakes, and before idle streams are held."""


Report = Callable[[str, float], None]
"""Called with what is probed, and the share of the whole that is done."""


async def run_probes(options: DoctorOptions, report: Report = lambda text, share: None) -> Observations:
    """Send all probes; a request that fails is an observation too."""
    with _without_debug_log():
        return await _examine(options, report)


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


async def _examine(options: DoctorOptions, report: Report) -> Observations:
    observed = Observations(options=options, now=time.time())
    client = EndpointClient(options)
    report("the connection", 0.0)
    observed.tls = await probe_tls(options)
    observed.anonymous = await client.send(replace(_initialize(), sends_token=False))
    if not observed.is_reached:
        if observed.anonymous.fault in (Fault.CLOSED, Fault.TIMEOUT) and await _speaks_plain_http(options):
            observed.anonymous = replace(observed.anonymous, fault=Fault.PLAIN)
        return observed
    await _delete_session(client, observed.anonymous, sends_token=False)
    await _probe_metadata(client, observed)
    observed.health = {
        path: await client.send(Request(method="GET", path=path, sends_token=False)) for path in _HEALTH
    }
    report("the handshakes", _SHARES[0])
    observed.discover = await client.send(sessionless("server/discover"))
    observed.initialize = await client.send(_initialize())
    if observed.session_id:
        observed.idle_session = await client.send(_initialize())
    await asyncio.gather(
        _hold_idle_streams(client, observed), _watch(client, observed, report), _probe_requests(client, observed)
    )
    report("the end", 1.0)
    await _delete_session(client, observed.idle_session)
    return observed


async def _probe_requests(client: EndpointClient, observed: Observations) -> None:
    if observed.session_id:
        await client.send(in_session(observed.session_id, _version(observed.initialize), "notifications/initialized"))
    harmless = _harmless_request(observed)
    await _probe_connections(client, observed, harmless)
    await _probe_origins(client, observed, harmless)
    await _probe_headers(client, observed)
    await _probe_tool(client, observed)
    await _probe_streams(client, observed)
    if observed.session_id:
        await probe_regions(observed, _session(observed, "ping", 1), _get_stream(observed.initialize))
        delete = replace(_session(observed, "ping", 1), method="DELETE", message=None)
        observed.deleted = await client.send(delete)
        observed.after_delete = await client.send(_session(observed, "ping", 1))


async def _speaks_plain_http(options: DoctorOptions) -> bool:
    """Return whether plain HTTP is answered where TLS is not: some servers wait for the rest of a handshake."""
    if urlsplit(options.url).scheme != "https":
        return False
    plain = EndpointClient(replace(options, url=options.url.replace("https", "http", 1)))
    answer = await plain.listen(Request(method="GET", sends_token=False), _STREAM_SECONDS, until=bool)
    return bool(answer.response.status)


# -- requests --------------------------------------------------------------------------------------------


def _initialize() -> Request:
    info = {"name": "mcp_doctor", "version": "1"}
    params = {"protocolVersion": SESSIONFUL, "capabilities": {}, "clientInfo": info}
    return in_session("", "", "initialize", params, 0)


def _version(initialized: Response) -> str:
    version = initialized.result.get("protocolVersion")
    return version if isinstance(version, str) and re.fullmatch(r"[\d-]{1,20}", version) else SESSIONFUL


def _session(observed: Observations, method: str, id: int | None = None, params: Any = None) -> Request:
    return in_session(observed.session_id, _version(observed.initialize), method, params, id)


def _get_stream(initialized: Response) -> Request:
    headers = {"Mcp-Session-Id": session_id_of(initialized), "MCP-Protocol-Version": _version(initialized)}
    return Request(method="GET", headers={"Accept": EVENT_STREAM, **headers})


def _listen() -> Request:
    return sessionless("subscriptions/listen", {"notifications": {"toolsListChanged": True}})


def _harmless_request(observed: Observations) -> Request:
    """Return a request that changes nothing, of a revision that the server supports."""
    return _session(observed, "ping", 1) if observed.session_id else sessionless("server/discover")


async def _delete_session(client: EndpointClient, initialized: Response, *, sends_token: bool = True) -> None:
    """End a session that a probe opened."""
    if session_id_of(initialized):
        await client.send(replace(_get_stream(initialized), method="DELETE", sends_token=sends_token))


# -- probes ----------------------------------------------------------------------------------------------


async def _probe_metadata(client: EndpointClient, observed: Observations) -> None:
    match = re.search(r'resource_metadata="([^"]*)"', observed.anonymous.headers.get("www-authenticate", ""))
    if observed.anonymous.status != 401 or match is None:
        return
    # Only the path is used: a challenge must not make this machine send requests to other hosts.
    path = urlsplit(match[1]).path
    if path.startswith("/"):
        observed.metadata = await client.send(Request(method="GET", path=path, sends_token=False))


async def _probe_connections(client: EndpointClient, observed: Observations, harmless: Request) -> None:
    async with client.http_client() as http:
        observed.reused = (await client.send(harmless, http), await client.send(harmless, http))
    if observed.session_id:
        observed.pings = tuple([await client.send(harmless) for _ in range(observed.options.connections)])
    padded = dict(harmless.message)
    padded["params"] = {**padded.get("params", {}), "padding": "x" * _LARGE_BODY_BYTES}
    observed.large_body = await client.send(replace(harmless, message=padded))
    observed.announced_body = await probe_body_limit(observed.options)


async def _probe_origins(client: EndpointClient, observed: Observations, harmless: Request) -> None:
    parts = urlsplit(observed.options.url)
    observed.foreign_origin = await client.send(harmless.adding(Origin=FOREIGN))
    observed.own_origin = await client.send(harmless.adding(Origin=f"{parts.scheme}://{parts.netloc}"))
    for origin in observed.options.origins:
        observed.origins[origin] = await client.send(harmless.adding(Origin=origin))


async def _probe_headers(client: EndpointClient, observed: Observations) -> None:
    """Send invalid header values: a server that accepts one has not received the header."""
    if observed.session_id:
        bad_version = _session(observed, "ping", 1).adding(MCP_Protocol_Version="1999-01-01")
        observed.bad_version = await client.send(bad_version)
        bad_event_id = _get_stream(observed.initialize).adding(Last_Event_ID="mcp_doctor made this up")
        observed.bad_event_id = await client.listen(bad_event_id, _STREAM_SECONDS, until=bool)
    if observed.has_sessionless:
        observed.mismatch = await client.send(sessionless("server/discover").adding(Mcp_Method="tools/list"))


async def _hold_idle_streams(client: EndpointClient, observed: Observations) -> None:
    """Hold idle streams open, in a session of their own: a second GET would end the first one."""

    async def hold(request: Request | None) -> StreamObservation | None:
        return await client.listen(request, observed.options.idle) if request is not None else None

    get = _get_stream(observed.idle_session) if session_id_of(observed.idle_session) else None
    listen = _listen() if observed.has_sessionless else None
    observed.idle_get, observed.idle_listen = await asyncio.gather(hold(get), hold(listen))


async def _watch(client: EndpointClient, observed: Observations, report: Report) -> None:
    """Send a request each second for as long as idle streams are held, to see what answers during a restart."""
    if not session_id_of(observed.idle_session) and not observed.has_sessionless:
        return
    session_id, version = session_id_of(observed.idle_session), _version(observed.idle_session)
    request = in_session(session_id, version, "ping", None, 1) if session_id else sessionless("server/discover")
    started_at, answers = time.perf_counter(), list[Response]()
    while (passed := time.perf_counter() - started_at) < observed.options.idle:
        report(
            "idle streams, and a request each second", _SHARES[1] + (1 - _SHARES[1]) * passed / observed.options.idle
        )
        answers.append(await client.send(request))
        await asyncio.sleep(max(0.0, len(answers) - (time.perf_counter() - started_at)))
    observed.watched = tuple(answers)


async def _probe_streams(client: EndpointClient, observed: Observations) -> None:
    request = _get_stream(observed.initialize) if observed.session_id else _listen()
    if not observed.session_id and not observed.has_sessionless:
        return
    compressed = request.adding(Accept_Encoding=_ENCODINGS)
    stream = observed.gzipped = await client.listen(compressed, _STREAM_SECONDS, until=bool)
    if stream.response.headers.get("content-encoding", "identity") != "identity":
        stream = await client.listen(request, _STREAM_SECONDS, until=bool)
    if observed.session_id and observed.bad_event_id is not None and observed.bad_event_id.response.status != 200:
        await _resume(client, observed, stream)


async def _resume(client: EndpointClient, observed: Observations, stream: StreamObservation) -> None:
    """Resume a stream after an event: an interrupted call's stream with the tool, otherwise the GET stream."""
    if observed.has_tool:
        request = _call_tool_in_session(observed, _INTERRUPTED_EVENTS)
        stream = observed.interrupted = await client.listen(
            request, _STREAM_SECONDS, until=lambda chunks: len(chunks) >= _CHUNKS
        )
    last = next((frame.id for frame in reversed(stream.frames) if frame.id), "")
    if last.isascii() and last.isprintable() and last:
        until = (lambda _: False) if observed.has_tool else bool
        resuming = _get_stream(observed.initialize).adding(Last_Event_ID=last)
        observed.resumed = await client.listen(resuming, _STREAM_SECONDS, until=until)


# -- the tool --------------------------------------------------------------------------------------------


async def _probe_tool(client: EndpointClient, observed: Observations) -> None:
    """Call the tool of `mcp_transport.contrib.doctor`, if the server lists it."""
    observed.has_tool = await _is_listed(client, observed)
    if not observed.has_tool:
        return
    # Short calls over one used connection: only there does Linux delay acknowledgements, and only once per request.
    async with client.http_client() as http:
        for _ in range(_WARM_UP_CALLS):
            await client.send(_call_tool(observed, 0), http)
        short = _call_tool(observed, _EVENTS_PER_ROUND)
        observed.rounds = tuple([await client.listen(short, _STREAM_SECONDS, client=http) for _ in range(_ROUNDS)])
    reports = [_node_report(await client.send(_call_tool(observed, 0))) for _ in range(observed.options.connections)]
    observed.node_reports = tuple(report for report in reports if report is not None)


async def _is_listed(client: EndpointClient, observed: Observations) -> bool:
    params: dict[str, Any] = {}
    is_listed = False
    for _ in range(_MAX_PAGES):
        is_sessionless = observed.has_sessionless
        request = sessionless("tools/list", params) if is_sessionless else _session(observed, "tools/list", 2, params)
        response = await client.send(request)
        result = response.result
        tools = result.get("tools")
        listed = tools if isinstance(tools, list) else []
        observed.tools += len(listed)
        observed.list_bytes += len(response.body) if listed else 0
        is_listed |= any(isinstance(tool, dict) and tool.get("name") == TOOL for tool in listed)
        if not (cursor := result.get("nextCursor")):
            break
        params = {"cursor": cursor}
    return is_listed


def _call_tool(observed: Observations, events: int) -> Request:
    if observed.has_sessionless:
        return sessionless("tools/call", _arguments(events), progress=True)
    return _call_tool_in_session(observed, events)


def _call_tool_in_session(observed: Observations, events: int) -> Request:
    return _session(observed, "tools/call", 3, {**_arguments(events), "_meta": {"progressToken": "doctor"}})


def _arguments(events: int) -> dict[str, Any]:
    return {"name": TOOL, "arguments": {"events": events}}


def _node_report(response: Response) -> NodeReport | None:
    content = response.result.get("structuredContent")
    if not isinstance(content, dict) or "node" not in content:
        return None
    return NodeReport(**{name: str(content.get(name, ""))[:40] for name in ("node", "http", "connection")})
