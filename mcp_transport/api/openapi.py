"""The API's description in OpenAPI 3.1; tests compare it with the routes and with real answers."""

from __future__ import annotations

from typing import Any, Final

import mcp_transport
from mcp_transport.api.paging import MAX_PAGE_SIZE, MAX_TEXT, ORDERINGS, PAGE_SIZE
from mcp_transport.api.schemas import SCHEMAS
from mcp_transport.operators.representation.kinds import COUNT, FLAG, TEXT, TIME, Schema, reference
from mcp_transport.operators.representation.sessions import STATE

__all__ = ["document"]


def _json(description: str, name: str, **more: Any) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": reference(name)}}, **more}


_RETRY: Final[Schema] = {"Retry-After": {"description": "Seconds.", "schema": COUNT.schema}}
_RESPONSES: Final[Schema] = {
    "400": _json("The request is malformed.", "Invalid"),
    "401": _json("Credentials are missing or wrong.", "Error"),
    "403": _json("The user lacks the permission, or is not logged in.", "Error"),
    "404": _json("There is no such session or call.", "Error"),
    "406": _json("The caller does not accept JSON.", "Error"),
    "415": _json("The body is not declared as JSON.", "Error"),
    "429": _json("Too many requests.", "Error", headers=_RETRY),
    "501": _json("The session backend cannot list sessions, or the server's tools are not declared.", "Error"),
    "503": _json("The session store does not answer.", "Error", headers=_RETRY),
}
_COMMON_FAILURES: Final = ("401", "403", "406", "429", "503")


def _operation(id: str, summary: str, permission: str, result: str, *failures: str, **more: Any) -> Schema:
    done = {"200": _json("Done.", result)} if result else {"204": {"description": "Done."}}
    codes = sorted({*_COMMON_FAILURES, *failures})
    return {
        "operationId": id,
        "summary": summary,
        "description": f"Requires the Django permission `mcp_transport.{permission}_session`.",
        "responses": {**done, **{code: {"$ref": f"#/components/responses/{code}"} for code in codes}},
        **more,
    }


def _query(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_FILTER: Final[Schema] = {"type": "string", "maxLength": MAX_TEXT}
_SIZE: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": PAGE_SIZE}
_ORDERING: Final[Schema] = {"type": "string", "enum": list(ORDERINGS), "default": "-last_seen"}
_LIST_QUERY: Final = [
    _query("search", "Prefix of a user, client, IP address or session ID; case-insensitive.", _FILTER),
    _query("user", "Exactly this user.", _FILTER),
    _query("client", "Exactly this client: name and version, as in `client`.", _FILTER),
    _query("protocol", "Exactly this protocol revision.", _FILTER),
    _query("node", "Exactly this node served the last request.", _FILTER),
    _query("state", "Exactly this state.", STATE.schema),
    _query("created_after", "Created then or later; with an offset.", TIME.schema),
    _query("created_before", "Created then or earlier; with an offset.", TIME.schema),
    _query("ordering", 'The field to order by; with "-", in descending order.', _ORDERING),
    _query("page_size", "The number of sessions per page.", _SIZE),
    _query("cursor", "From `next` or `previous`; valid for the same filters and ordering only.", TEXT.schema),
]
_PAYLOADS: Final = _query(
    "payloads", "Include payloads? Also requires `mcp_transport.view_mcp_payloads`.", FLAG.schema
)
_MESSAGE_QUERY: Final = [
    _PAYLOADS,
    _query("cursor", "From `next`; without it, from the first stored message.", TEXT.schema),
]
_ID: Final = [
    {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "A session's key, or its short ID.",
        "schema": {"type": "string"},
    }
]
_CANCELLATION: Final[Schema] = {
    "required": True,
    "content": {"application/json": {"schema": reference("Cancellation")}},
}
_LOOKUP: Final = ("404", "501")

_PATHS: Final[Schema] = {
    "/sessions/": {
        "get": _operation(
            "listSessions", "List sessions", "view", "SessionPage", "400", "501", parameters=_LIST_QUERY
        )
    },
    "/sessions/{id}/": {
        "parameters": _ID,
        "get": _operation(
            "showSession", "Show a session", "view", "SessionDetail", "400", *_LOOKUP, parameters=[_PAYLOADS]
        ),
        "delete": _operation("endSession", "End a session, its calls and its streams", "delete", "", *_LOOKUP),
    },
    "/sessions/{id}/calls/": {
        "parameters": _ID,
        "get": _operation("listCalls", "List a session's running calls", "view", "CallList", *_LOOKUP),
    },
    "/sessions/{id}/calls/cancel/": {
        "parameters": _ID,
        "post": _operation(
            "cancelCall", "Cancel a call", "change", "", "400", "415", *_LOOKUP, requestBody=_CANCELLATION
        ),
    },
    "/sessions/{id}/messages/": {
        "parameters": _ID,
        "get": _operation(
            "listMessages",
            "List the messages on a session's streams, as far as the answering process can see them",
            "view",
            "MessageList",
            "400",
            *_LOOKUP,
            parameters=_MESSAGE_QUERY,
        ),
    },
    "/overview/": {"get": _operation("showOverview", "Summarize all sessions", "view", "Overview", "501")},
    "/metrics/": {"get": _operation("showMetrics", "Show the traffic of the last minutes", "view", "Metrics")},
    "/nodes/": {"get": _operation("listNodes", "List the living nodes", "view", "NodeList")},
    "/tools/": {"get": _operation("listTools", "List the declared tools", "view", "ToolList", "501")},
    "/schema/": {"get": _operation("showSchema", "Show this document", "view", "Document")},
}


def document(base: str) -> dict[str, Any]:
    """Return the OpenAPI document of the API at the path `base`, which ends without a slash."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "django-mcp-transport, for operators",
            "version": mcp_transport.__version__,
            "description": "Authentication is the default of this project's Django REST framework.",
        },
        "servers": [{"url": base or "/"}],
        "paths": _PATHS,
        "components": {"schemas": SCHEMAS, "responses": _RESPONSES},
    }
