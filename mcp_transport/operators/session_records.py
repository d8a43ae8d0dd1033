"""What operators are told in JSON of sessions, by the REST API and the shell: no ids that open a session, and nothing
clients sent but what they call themselves and their requests."""

from __future__ import annotations

import datetime
import time
from dataclasses import replace
from typing import Any

from mcp_transport.backends.records import StreamRecord
from mcp_transport.domain.history import HistoryEntry, HistoryEvent
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import InFlightRequest, Session, short_id
from mcp_transport.domain.session_query import client_of, state_of
from mcp_transport.domain.stream_messages import StreamMessage
from mcp_transport.operators.service import SessionDetail

__all__ = ["activity_record", "call_record", "detail_record", "message_record", "session_record"]


def session_record(session: Session) -> dict[str, Any]:
    """Describe a session in a list."""
    owner = Principal.from_binding(session.principal)
    return {
        "id": short_id(session.key),
        "key": session.key,
        "user": session.user,
        "issuer": owner.issuer,
        "subject": owner.subject,
        "client": client_of(session),
        "protocol": session.protocol_version,
        "initialized": session.initialized,
        "state": state_of(session, time.time()),
        "address": session.address,
        "user_agent": session.user_agent,
        "node": session.node,
        "created": _time(session.created),
        "last_seen": _time(session.last_seen),
        "ends": _time(session.ends),
        "requests": session.requests,
        "errors": session.errors,
        "calls": session.calls,
        "streams": session.streams,
    }


def detail_record(found: SessionDetail) -> dict[str, Any]:
    """Describe a session and what goes on in it."""
    session = replace(found.session, calls=len(found.flights))
    return {
        **session_record(session),
        "client_info": dict(session.client_info),
        "capabilities": dict(session.capabilities),
        "log_level": session.log_level,
        **activity_record(found),
    }


def activity_record(found: SessionDetail) -> dict[str, Any]:
    """Describe what goes on in a session, and what went on."""
    return {
        "calls": [call_record(flight) for flight in found.flights],
        "streams": [_stream_record(stream) for stream in found.streams],
        "values": list(found.state),
        "subscriptions": list(found.subscriptions),
        "history": [_history_record(entry) for entry in found.history],
    }


def call_record(flight: InFlightRequest) -> dict[str, Any]:
    """Describe a call, without what it was called with."""
    return {
        "request_id": flight.request_id,
        "operation": flight.operation,
        "node": flight.node,
        "started": _time(flight.started),
        "safe": flight.safe,
    }


def message_record(message: StreamMessage, *, payloads: bool) -> dict[str, Any]:
    """Describe a message on a stream, and say it in full only where `payloads` may be seen."""
    payload = {"payload": message.payload.decode(errors="replace")} if payloads else {}
    return {
        "stream": message.stream,
        "number": message.number,
        "kind": message.kind,
        "request_id": message.request_id,
        "progress": message.progress,
        "bytes": message.bytes,
        **payload,
    }


def _history_record(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "when": _time(entry.when),
        "what": entry.what,
        "operation": entry.operation,
        "request_id": entry.request_id,
        "ending": entry.ending,
        "seconds": entry.seconds if entry.what is HistoryEvent.ENDED else None,
        "node": entry.node,
        "stream": entry.stream,
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
