"""The shapes of what the API takes and answers, in JSON Schema."""

from __future__ import annotations

from typing import Any, Final

from mcp_transport.domain.history import Ending, HistoryEvent
from mcp_transport.domain.session_query import State

__all__ = ["FLAG", "SHAPES", "STATE", "TEXT", "TIME", "WHOLE", "Shape", "ref"]

Shape = dict[str, Any]

TEXT: Final[Shape] = {"type": "string"}
WHOLE: Final[Shape] = {"type": "integer", "minimum": 0}
FLAG: Final[Shape] = {"type": "boolean"}
_NUMBER: Final[Shape] = {"type": "number", "minimum": 0}
_SHARE: Final[Shape] = {"type": ["number", "null"], "minimum": 0}
TIME: Final[Shape] = {"type": "string", "format": "date-time"}
_LINK: Final[Shape] = {"type": ["string", "null"], "format": "uri"}
_HINT: Final[Shape] = {"type": ["boolean", "null"]}
_IDS: Final[list[Shape]] = [{"type": "string", "maxLength": 256}, {"type": "integer"}]
_REQUEST_ID: Final[Shape] = {"description": 'A JSON-RPC id: 7 and "7" are two.', "oneOf": _IDS}
_NO_OR_ID: Final[Shape] = {"description": "A JSON-RPC id, or null.", "oneOf": [*_IDS, {"type": "null"}]}
STATE: Final[Shape] = {"type": "string", "enum": list(State)}
_SEEN: Final = "As far as the answering process can see them."


def _about(schema: Shape, description: str) -> Shape:
    return {**schema, "description": description}


def _object(**members: Shape) -> Shape:
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


def ref(name: str) -> Shape:
    """Refer to one of `SHAPES`."""
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(schema: Shape) -> Shape:
    return {"type": "array", "items": schema}


_SESSION: Final[Shape] = {
    "id": _about(TEXT, "The short id, as in log lines."),
    "key": _about({"type": "string", "pattern": "^[A-Z2-7]{26}$"}, "A hash of the session's id; it opens nothing."),
    "user": TEXT,
    "issuer": _about(TEXT, "Who vouches for the caller; empty for an anonymous one."),
    "subject": _about(TEXT, "Who the caller is for that issuer."),
    "client": _about(TEXT, "The client's name and version, as it says itself."),
    "protocol": TEXT,
    "initialized": FLAG,
    "state": _about(STATE, "The first that fits; `active`: used within the last minute."),
    "address": TEXT,
    "user_agent": TEXT,
    "node": _about(TEXT, "The node that served the last request."),
    "created": TIME,
    "last_seen": TIME,
    "ends": _about(TIME, "The end of it, however busy it is."),
    "requests": WHOLE,
    "errors": WHOLE,
    "calls": _about(WHOLE, "Its requests in flight."),
    "streams": _about(WHOLE, "Its streams that are open, with a socket."),
}
_TALLY: Final[Shape] = {
    "calls": WHOLE,
    "errors": WHOLE,
    "calls_per_second": _NUMBER,
    "error_rate": _about(_SHARE, "From 0 to 1; null without calls."),
    "p95": _about(_SHARE, "The seconds within which 95 of 100 calls ended; null without calls."),
}


def _shared_by(kind: str) -> Shape:
    counted = _object(value=TEXT, sessions=WHOLE)
    return _about(_list_of(counted), f"The commonest {kind}, and how many sessions have each.")


SHAPES: Final[Shape] = {
    "Session": _object(**_SESSION),
    "SessionPage": _object(
        count=WHOLE,
        count_is_exact=_about(FLAG, "False: there are about this many."),
        next=_LINK,
        previous=_LINK,
        results=_list_of(ref("Session")),
    ),
    "SessionDetail": _object(
        **{
            **_SESSION,
            "client_info": {"type": "object"},
            "capabilities": {"type": "object"},
            "log_level": TEXT,
            "subscriptions": _about(_list_of(TEXT), "URIs of resources."),
            "calls": _about(_list_of(ref("Call")), _SEEN),
            "streams": _about(_list_of(ref("Stream")), _SEEN),
            "values": _about(_list_of(TEXT), "Names of the values that tools keep."),
            "history": _about(_list_of(ref("Happening")), f"The newest first. {_SEEN}"),
        }
    ),
    "Happening": _object(
        when=TIME,
        what={"type": "string", "enum": list(HistoryEvent)},
        operation=_about(TEXT, "As of a call."),
        request_id=_NO_OR_ID,
        ending={"enum": [*Ending, None]},
        seconds=_about(_SHARE, "How long the request ran; null for what is no request's end."),
        node=TEXT,
        stream=TEXT,
    ),
    "Call": _object(
        request_id=_REQUEST_ID,
        operation=_about(TEXT, "What it asks for: a method and, for a tool or a prompt, its name."),
        node=TEXT,
        started=TIME,
        safe=_about(FLAG, "May it be sent again, without fear that it takes effect twice?"),
    ),
    "CallList": _object(results=_list_of(ref("Call"))),
    "Cancellation": {"type": "object", "properties": {"request_id": _REQUEST_ID}, "required": ["request_id"]},
    "Stream": _object(
        name=TEXT,
        writer=_about(TEXT, "The node that runs its calls."),
        holder=_about(TEXT, "The node with the client's socket."),
        last=_about(WHOLE, "The number of its newest event."),
        bytes=WHOLE,
        ended=FLAG,
    ),
    "MessageList": _object(
        next={
            "type": "string",
            "format": "uri",
            "description": "What comes behind these; good for this session only.",
        },
        results=_list_of(ref("Message")),
    ),
    "Message": {
        **_object(
            stream=TEXT,
            number=WHOLE,
            kind=_about(TEXT, "A method; or `result`, `error`, `tool error`, `end`, `unreadable`."),
            request_id=_NO_OR_ID,
            progress=_about(TEXT, "How far a call is: `3 of 10`."),
            bytes=WHOLE,
            payload=_about(TEXT, "The message itself, where it is asked for."),
        ),
        "required": ["stream", "number", "kind", "request_id", "progress", "bytes"],
    },
    "Overview": _object(
        all_processes=_about(FLAG, "Are these the sessions of all processes? Else of the answering one."),
        sessions=WHOLE,
        opened=_about(WHOLE, "Began within the last minute, and live."),
        mean_duration=_about(_NUMBER, "Seconds from a session's beginning to its last use."),
        median_duration=_NUMBER,
        sampled=_about(WHOLE, "Of so many sessions the durations were looked at."),
        memory=_about({"type": ["integer", "null"]}, "Bytes that the store holds, of whatever; null: not known."),
        memory_limit=_about({"type": ["integer", "null"]}, "Bytes; null: none, or not known."),
        clients=_shared_by("clients"),
        users=_shared_by("users"),
        protocols=_shared_by("protocol revisions"),
        nodes=_shared_by("nodes"),
    ),
    "Metrics": _object(
        all_processes=_about(FLAG, "Was this counted by all processes? Else by the answering one."),
        processes=WHOLE,
        seconds=_about(_NUMBER, "Over how long it was counted, up to now."),
        **_TALLY,
        operations=_list_of(_object(operation=TEXT, **_TALLY)),
        protocols=_list_of(_object(value=TEXT, calls=WHOLE)),
        refused=_about(
            _list_of(_object(reason=TEXT, requests=WHOLE)),
            "By HTTP status; `room`: sessions that made room for new ones.",
        ),
        opened=_about(WHOLE, "New sessions."),
        points=_about(_list_of(ref("Point")), "The oldest first."),
    ),
    "Point": _object(
        age=_about(_NUMBER, "Seconds before now."),
        calls_per_second=_NUMBER,
        errors_per_second=_NUMBER,
        p95=_about(_SHARE, "As above."),
        streams=_about(WHOLE, "Sockets of streams that were held."),
    ),
    "NodeList": _object(results=_list_of(ref("Node"))),
    "Node": _object(
        name=TEXT,
        host=TEXT,
        pid=WHOLE,
        calls=WHOLE,
        draining=FLAG,
        age=_about(_NUMBER, "Seconds since it renewed its lease."),
    ),
    "ToolList": _object(results=_list_of(ref("Tool"))),
    "Tool": _object(
        name=TEXT,
        title={"type": ["string", "null"]},
        description={"type": ["string", "null"]},
        hints=_object(read_only=_HINT, destructive=_HINT, idempotent=_HINT, open_world=_HINT),
    ),
    "Document": {"description": "OpenAPI 3.1.", "type": "object"},
    "Error": _object(detail=TEXT),
    "Invalid": {
        "description": "What is wrong, by parameter or member; or a sentence in `detail`.",
        "type": "object",
        "additionalProperties": {"anyOf": [TEXT, _list_of(TEXT)]},
    },
}
