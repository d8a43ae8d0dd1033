"""The examination of one endpoint: what is asked, in which order; judging comes later."""

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

from mcp_transport.doctor.http_client import EVENTS, Call, Wire, alone, in_session
from mcp_transport.doctor.observations import (
    SESSIONFUL,
    Answer,
    DoctorOptions,
    Observations,
    StreamObservation,
    Visit,
    session_of,
)
from mcp_transport.doctor.size_probe import announce
from mcp_transport.doctor.tls import shake_hands

__all__ = ["FOREIGN", "TOOL", "examine"]

TOOL: Final = "mcp_doctor_events"
"""The tool of `mcp_transport.contrib.doctor`."""

FOREIGN: Final = "https://foreign.invalid"
"""An origin that nobody can have (RFC 2606), and so nobody lists."""

_HEALTH: Final = ("/healthz", "/readyz")
_FIRST_BYTES: Final = 3.0
_COMPRESSED: Final = "gzip, br, deflate"
_WARM_UPS, _ROUNDS, _SHORT = 4, 7, 5
_LONG, _LEFT_AFTER = 20, 4
_LARGE: Final = 1_500_000
"""More than the megabyte that proxies let through by default, less than the endpoint's own 4 MiB."""
_PAGES: Final = 50


async def examine(asked: DoctorOptions) -> Observations:
    """Look at everything; a failed request is an observation, too."""
    with _hushed():
        return await _examine(asked)


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep the HTTP client's debug log off: it repeats headers of answers, and so session ids."""
    logger = logging.getLogger("httpcore2")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


async def _examine(asked: DoctorOptions) -> Observations:
    seen = Observations(asked=asked, now=time.time())
    wire = Wire(asked)
    seen.tls = await shake_hands(asked)
    seen.anonymous = await wire.ask(replace(_initialize(), has_token=False))
    if not seen.is_reached:
        return seen
    await _forget(wire, seen.anonymous, has_token=False)
    await _look_at_access(wire, seen)
    seen.health = {path: await wire.ask(Call(method="GET", path=path, has_token=False)) for path in _HEALTH}
    seen.discover = await wire.ask(alone("server/discover"))
    seen.initialize = await wire.ask(_initialize())
    if seen.session_id:
        seen.quiet = await wire.ask(_initialize())
    await asyncio.gather(_hold(wire, seen), _look_around(wire, seen))
    await _forget(wire, seen.quiet)
    return seen


async def _look_around(wire: Wire, seen: Observations) -> None:
    if seen.session_id:
        await wire.ask(in_session(seen.session_id, _version(seen.initialize), "notifications/initialized"))
    ordinary = _ordinary(seen)
    await _look_at_connections(wire, seen, ordinary)
    await _look_at_origins(wire, seen, ordinary)
    await _look_at_headers(wire, seen)
    await _use_tool(wire, seen)
    await _look_at_streams(wire, seen)
    if seen.session_id:
        farewell = replace(_in(seen, "ping", 1), method="DELETE", message=None)
        seen.deleted = await wire.ask(farewell)
        seen.after_delete = await wire.ask(_in(seen, "ping", 1))


# -- requests --------------------------------------------------------------------------------------------


def _initialize() -> Call:
    info = {"name": "mcp_doctor", "version": "1"}
    params = {"protocolVersion": SESSIONFUL, "capabilities": {}, "clientInfo": info}
    return in_session("", "", "initialize", params, 0)


def _version(initialized: Answer) -> str:
    version = initialized.result.get("protocolVersion")
    return version if isinstance(version, str) and re.fullmatch(r"[\d-]{1,20}", version) else SESSIONFUL


def _in(seen: Observations, method: str, id: int | None = None, params: Any = None) -> Call:
    return in_session(seen.session_id, _version(seen.initialize), method, params, id)


def _get(initialized: Answer) -> Call:
    headers = {"Mcp-Session-Id": session_of(initialized), "MCP-Protocol-Version": _version(initialized)}
    return Call(method="GET", headers={"Accept": EVENTS, **headers})


def _listening() -> Call:
    return alone("subscriptions/listen", {"notifications": {"toolsListChanged": True}})


def _ordinary(seen: Observations) -> Call:
    """Return a request that does nothing, of an era that is served."""
    return _in(seen, "ping", 1) if seen.session_id else alone("server/discover")


async def _forget(wire: Wire, initialized: Answer, *, has_token: bool = True) -> None:
    """End a session that was opened on the way."""
    if session_of(initialized):
        await wire.ask(replace(_get(initialized), method="DELETE", has_token=has_token))


# -- what is looked at -----------------------------------------------------------------------------------


async def _look_at_access(wire: Wire, seen: Observations) -> None:
    found = re.search(r'resource_metadata="([^"]*)"', seen.anonymous.headers.get("www-authenticate", ""))
    if seen.anonymous.status != 401 or found is None:
        return
    # Only the path is taken: what a challenge names must not make us ask other machines.
    path = urlsplit(found[1]).path
    if path.startswith("/"):
        seen.metadata = await wire.ask(Call(method="GET", path=path, has_token=False))


async def _look_at_connections(wire: Wire, seen: Observations, ordinary: Call) -> None:
    async with wire.client() as client:
        seen.kept = (await wire.ask(ordinary, client), await wire.ask(ordinary, client))
    if seen.session_id:
        seen.pings = tuple([await wire.ask(ordinary) for _ in range(seen.asked.visits)])
    padded = dict(ordinary.message)
    padded["params"] = {**padded.get("params", {}), "padding": "x" * _LARGE}
    seen.large = await wire.ask(replace(ordinary, message=padded))
    seen.announced = await announce(seen.asked)


async def _look_at_origins(wire: Wire, seen: Observations, ordinary: Call) -> None:
    parts = urlsplit(seen.asked.url)
    seen.foreign = await wire.ask(ordinary.adding(Origin=FOREIGN))
    seen.own = await wire.ask(ordinary.adding(Origin=f"{parts.scheme}://{parts.netloc}"))
    for origin in seen.asked.origins:
        seen.origins[origin] = await wire.ask(ordinary.adding(Origin=origin))


async def _look_at_headers(wire: Wire, seen: Observations) -> None:
    """Send what a server must refuse: where it does not, it has not seen the header."""
    if seen.session_id:
        seen.false_version = await wire.ask(_in(seen, "ping", 1).adding(MCP_Protocol_Version="1999-01-01"))
        false_event = _get(seen.initialize).adding(Last_Event_ID="mcp_doctor made this up")
        seen.false_event = await wire.listen(false_event, _FIRST_BYTES, enough=bool)
    if seen.has_sessionless:
        seen.crossed = await wire.ask(alone("server/discover").adding(Mcp_Method="tools/list"))


async def _hold(wire: Wire, seen: Observations) -> None:
    """Hold streams on which nothing happens; a session of its own, since a second GET would end the first one."""

    async def hold(call: Call, is_served: bool) -> StreamObservation | None:
        return await wire.listen(call, seen.asked.idle) if is_served else None

    calls = (_get(seen.quiet), bool(session_of(seen.quiet))), (_listening(), seen.has_sessionless)
    seen.held, seen.listened = await asyncio.gather(*(hold(*call) for call in calls))


async def _look_at_streams(wire: Wire, seen: Observations) -> None:
    call = _get(seen.initialize) if seen.session_id else _listening()
    if not seen.session_id and not seen.has_sessionless:
        return
    plain = seen.zipped = await wire.listen(call.adding(Accept_Encoding=_COMPRESSED), _FIRST_BYTES, enough=bool)
    if plain.answer.headers.get("content-encoding", "identity") != "identity":
        plain = await wire.listen(call, _FIRST_BYTES, enough=bool)
    if seen.session_id and seen.false_event is not None and seen.false_event.answer.status != 200:
        await _resume(wire, seen, plain)


async def _resume(wire: Wire, seen: Observations, plain: StreamObservation) -> None:
    """Go on with a stream after an event: that of a call that was left, or else the GET stream from its beginning."""
    if seen.has_tool:
        call = _in_session_reporting(seen, _LONG)
        plain = seen.cut = await wire.listen(call, _FIRST_BYTES, enough=lambda pieces: len(pieces) >= _LEFT_AFTER)
    last = next((frame.id for frame in reversed(plain.frames) if frame.id), "")
    if last.isascii() and last.isprintable() and last:
        enough = (lambda _: False) if seen.has_tool else bool
        resuming = _get(seen.initialize).adding(Last_Event_ID=last)
        seen.resumed = await wire.listen(resuming, _FIRST_BYTES, enough=enough)


# -- the tool --------------------------------------------------------------------------------------------


async def _use_tool(wire: Wire, seen: Observations) -> None:
    """Call the tool of `mcp_transport.contrib.doctor`, if it is there."""
    seen.has_tool = await _is_listed(wire, seen)
    if not seen.has_tool:
        return
    # Short ones, by one connection that was used before: Linux delays acknowledgements there alone, and only once
    # after each request.
    async with wire.client() as client:
        for _ in range(_WARM_UPS):
            await wire.ask(_reporting(seen, 0), client)
        short = _reporting(seen, _SHORT)
        seen.rounds = tuple([await wire.listen(short, _FIRST_BYTES, client=client) for _ in range(_ROUNDS)])
    found = [_visit(await wire.ask(_reporting(seen, 0))) for _ in range(seen.asked.visits)]
    seen.visits = tuple(visit for visit in found if visit is not None)


async def _is_listed(wire: Wire, seen: Observations) -> bool:
    params: dict[str, Any] = {}
    for _ in range(_PAGES):
        call = _in(seen, "tools/list", 2, params) if not seen.has_sessionless else alone("tools/list", params)
        result = (await wire.ask(call)).result
        tools = result.get("tools")
        listed = tools if isinstance(tools, list) else []
        if any(isinstance(tool, dict) and tool.get("name") == TOOL for tool in listed):
            return True
        if not (cursor := result.get("nextCursor")):
            return False
        params = {"cursor": cursor}
    return False


def _reporting(seen: Observations, events: int) -> Call:
    if seen.has_sessionless:
        return alone("tools/call", _arguments(events), progress=True)
    return _in_session_reporting(seen, events)


def _in_session_reporting(seen: Observations, events: int) -> Call:
    return _in(seen, "tools/call", 3, {**_arguments(events), "_meta": {"progressToken": "doctor"}})


def _arguments(events: int) -> dict[str, Any]:
    return {"name": TOOL, "arguments": {"events": events}}


def _visit(answer: Answer) -> Visit | None:
    said = answer.result.get("structuredContent")
    if not isinstance(said, dict) or "node" not in said:
        return None
    told = {name: str(said.get(name, ""))[:40] for name in ("node", "http", "connection")}
    return Visit(**told)
