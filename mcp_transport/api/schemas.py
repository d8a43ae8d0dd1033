"""The JSON Schemas of the OpenAPI document: the records, from their fields, and the lists and errors of the API."""

from __future__ import annotations

from typing import Final

from mcp_transport.operators.representation import kinds
from mcp_transport.operators.representation.fields import object_schema
from mcp_transport.operators.representation.kinds import Schema, array, reference
from mcp_transport.operators.representation.metrics import NODE, OVERVIEW, POINT, TRAFFIC
from mcp_transport.operators.representation.sessions import (
    CALL,
    DETAIL,
    HISTORY,
    HISTORY_PAYLOAD,
    MESSAGE,
    PAYLOAD,
    SESSION,
    STREAM,
)

__all__ = ["SCHEMAS"]

_TEXT: Final = kinds.TEXT.schema
_FLAG: Final = kinds.FLAG.schema
_LINK: Final[Schema] = {"type": ["string", "null"], "format": "uri"}
_NULLABLE_TEXT: Final[Schema] = {"type": ["string", "null"]}
_HINT: Final[Schema] = {"type": ["boolean", "null"]}


def _described(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _object(**members: Schema) -> Schema:
    return object_schema((), **members)


def _list_of(name: str) -> Schema:
    return _object(results=array(reference(name)))


def _all_processes(subject: str) -> Schema:
    return _described(_FLAG, f"{subject} of all processes? Otherwise of the answering process only.")


SCHEMAS: Final[Schema] = {
    "Session": object_schema(SESSION),
    "SessionPage": _object(
        count=kinds.COUNT.schema,
        count_is_exact=_described(_FLAG, "False: the number is an estimate."),
        next=_LINK,
        previous=_LINK,
        results=array(reference("Session")),
    ),
    "SessionDetail": object_schema(DETAIL, all_processes=_all_processes("Are the calls, streams and history those")),
    "HistoryEntry": {
        **object_schema((*HISTORY, *HISTORY_PAYLOAD)),
        "required": [field.name for field in HISTORY],
    },
    "Call": object_schema(CALL),
    "CallList": _list_of("Call"),
    "Cancellation": {
        "type": "object",
        "properties": {"request_id": kinds.REQUEST_ID.schema},
        "required": ["request_id"],
    },
    "Stream": object_schema(STREAM),
    "MessageList": _object(
        next={"type": "string", "format": "uri", "description": "The next messages; valid for this session only."},
        results=array(reference("Message")),
    ),
    "Message": {**object_schema((*MESSAGE, PAYLOAD)), "required": [field.name for field in MESSAGE]},
    "Overview": object_schema(OVERVIEW, all_processes=_all_processes("Are these the sessions")),
    "Metrics": object_schema(TRAFFIC, all_processes=_all_processes("Are these the counts")),
    "Point": object_schema(POINT),
    "NodeList": _list_of("Node"),
    "Node": object_schema(NODE),
    "ToolList": _list_of("Tool"),
    "Tool": _object(
        name=_TEXT,
        title=_NULLABLE_TEXT,
        description=_NULLABLE_TEXT,
        hints=_object(read_only=_HINT, destructive=_HINT, idempotent=_HINT, open_world=_HINT),
    ),
    "Document": {"description": "OpenAPI 3.1.", "type": "object"},
    "Error": _object(detail=_TEXT),
    "Invalid": {
        "description": "The errors by parameter or member; or a sentence in `detail`.",
        "type": "object",
        "additionalProperties": {"anyOf": [_TEXT, array(_TEXT)]},
    },
}
