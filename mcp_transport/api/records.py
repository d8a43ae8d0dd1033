"""What operators are told of sessions, calls, streams and nodes: no ids that open a session, and nothing clients sent
but their own names."""

from __future__ import annotations

import datetime
from typing import Any

from mcp_transport.backends.records import NodeRecord, StreamRecord
from mcp_transport.operations import SessionDetail
from mcp_transport.protocol.principal import Principal
from mcp_transport.protocol.search import client_of
from mcp_transport.protocol.session import Flight, Session, short_id

__all__ = ["call_record", "detail_record", "node_record", "session_record"]


def session_record(session: Session) -> dict[str, Any]:
    """Describe a session in a list."""
    owner = Principal.of(session.principal)
    return {
        "id": short_id(session.key),
        "key": session.key,
        "user": session.user,
        "issuer": owner.issuer,
        "subject": owner.subject,
        "client": client_of(session),
        "protocol": session.protocol_version,
        "initialized": session.initialized,
        "address": session.address,
        "user_agent": session.user_agent,
        "node": session.node,
        "created": _time(session.created),
        "last_seen": _time(session.last_seen),
        "ends": _time(session.ends),
        "requests": session.requests,
        "errors": session.errors,
    }


def detail_record(found: SessionDetail) -> dict[str, Any]:
    """Describe a session and what goes on in it."""
    session = found.session
    return session_record(session) | {
        "client_info": dict(session.client_info),
        "capabilities": dict(session.capabilities),
        "log_level": session.log_level,
        "subscriptions": list(session.subscriptions),
        "calls": [call_record(flight) for flight in found.flights],
        "streams": [_stream_record(stream) for stream in found.streams],
        "state": list(found.state),
    }


def call_record(flight: Flight) -> dict[str, Any]:
    """Describe a call, without what it was called with."""
    return {
        "request_id": flight.request_id,
        "node": flight.node,
        "started": _time(flight.started),
        "safe": flight.safe,
    }


def node_record(node: NodeRecord) -> dict[str, Any]:
    """Describe a node."""
    return {
        "name": node.name,
        "host": node.host,
        "pid": node.pid,
        "calls": node.calls,
        "draining": node.draining,
    }


def _stream_record(stream: StreamRecord) -> dict[str, Any]:
    return {
        "name": stream.name,
        "writer": stream.writer,
        "holder": stream.holder,
        "last": stream.last,
        "bytes": stream.bytes,
        "ended": stream.ended,
    }


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")
