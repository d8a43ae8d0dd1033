"""The API's description in OpenAPI 3.1; tests compare it with the routes and with real answers."""

from __future__ import annotations

from typing import Any, Final

import mcp_transport
from mcp_transport.api.paging import MAX_PAGE, MAX_TEXT, ORDERINGS, PAGE
from mcp_transport.api.schemas import FLAG, SHAPES, STATE, TEXT, TIME, WHOLE, Shape, ref

__all__ = ["document"]


def _json(description: str, name: str, **more: Any) -> Shape:
    return {"description": description, "content": {"application/json": {"schema": ref(name)}}, **more}


_RETRY: Final[Shape] = {"Retry-After": {"description": "Seconds.", "schema": WHOLE}}
_RESPONSES: Final[Shape] = {
    "400": _json("The request is malformed.", "Invalid"),
    "401": _json("Credentials are missing or wrong.", "Error"),
    "403": _json("The user lacks the permission, or nobody is logged in.", "Error"),
    "404": _json("There is no such session or call.", "Error"),
    "406": _json("The caller accepts no JSON.", "Error"),
    "415": _json("The body is not declared as JSON.", "Error"),
    "429": _json("Too many requests.", "Error", headers=_RETRY),
    "501": _json("The session backend cannot list sessions, or the server's tools are not declared.", "Error"),
    "503": _json("The session store does not answer.", "Error", headers=_RETRY),
}
_ALWAYS: Final = ("401", "403", "406", "429", "503")


def _operation(id: str, summary: str, permission: str, result: str, *failures: str, **more: Any) -> Shape:
    done = {"200": _json("Done.", result)} if result else {"204": {"description": "Done."}}
    codes = sorted({*_ALWAYS, *failures})
    return {
        "operationId": id,
        "summary": summary,
        "description": f"Takes the Django permission `mcp_transport.{permission}_session`.",
        "responses": {**done, **{code: {"$ref": f"#/components/responses/{code}"} for code in codes}},
        **more,
    }


def _asked(name: str, description: str, schema: Shape) -> Shape:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_FILTER: Final[Shape] = {"type": "string", "maxLength": MAX_TEXT}
_SIZE: Final[Shape] = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": PAGE}
_ORDERING: Final[Shape] = {"type": "string", "enum": list(ORDERINGS), "default": "-last_seen"}
_QUERY: Final = [
    _asked("search", "The beginning of a user's name, a client's, an address or an id, in either case.", _FILTER),
    _asked("user", "Exactly this user.", _FILTER),
    _asked("client", "Exactly this client, name and version as `client` has them.", _FILTER),
    _asked("protocol", "Exactly this protocol revision.", _FILTER),
    _asked("node", "Exactly this node served the last request.", _FILTER),
    _asked("state", "Exactly this state.", STATE),
    _asked("created_after", "Began then or later; with an offset.", TIME),
    _asked("created_before", "Began then or earlier; with an offset.", TIME),
    _asked("ordering", 'What to order by; with "-", the greatest first.', _ORDERING),
    _asked("page_size", "How many sessions a page has.", _SIZE),
    _asked("cursor", "From `next` or `previous`; good for the same filters and ordering only.", TEXT),
]
_MESSAGE_QUERY: Final = [
    _asked("payloads", "Shall each message be told in full? Takes `mcp_transport.view_mcp_payloads`, too.", FLAG),
    _asked("cursor", "From `next`; without it, from the first message that is kept.", TEXT),
]
_ID: Final = [
    {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "A session's key, or its short id.",
        "schema": {"type": "string"},
    }
]
_CANCELLATION: Final[Shape] = {
    "required": True,
    "content": {"application/json": {"schema": ref("Cancellation")}},
}
_ONE: Final = ("404", "501")

_PATHS: Final[Shape] = {
    "/sessions/": {
        "get": _operation("listSessions", "List sessions", "view", "SessionPage", "400", "501", parameters=_QUERY)
    },
    "/sessions/{id}/": {
        "parameters": _ID,
        "get": _operation("showSession", "Show a session", "view", "SessionDetail", *_ONE),
        "delete": _operation("endSession", "End a session, its calls and its streams", "delete", "", *_ONE),
    },
    "/sessions/{id}/calls/": {
        "parameters": _ID,
        "get": _operation("listCalls", "List a session's calls in flight", "view", "CallList", *_ONE),
    },
    "/sessions/{id}/calls/cancel/": {
        "parameters": _ID,
        "post": _operation(
            "cancelCall", "Cancel a call", "change", "", "400", "415", *_ONE, requestBody=_CANCELLATION
        ),
    },
    "/sessions/{id}/messages/": {
        "parameters": _ID,
        "get": _operation(
            "listMessages",
            "List what a session's streams have had, as far as the answering process can see them",
            "view",
            "MessageList",
            "400",
            *_ONE,
            parameters=_MESSAGE_QUERY,
        ),
    },
    "/overview/": {"get": _operation("showOverview", "Sum all sessions up", "view", "Overview", "501")},
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
            "description": "Credentials are what this project's Django REST framework takes by default.",
        },
        "servers": [{"url": base or "/"}],
        "paths": _PATHS,
        "components": {"schemas": SHAPES, "responses": _RESPONSES},
    }
