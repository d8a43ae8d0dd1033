"""The API's description in OpenAPI 3.1; tests compare it with the routes and with real answers."""

from __future__ import annotations

from typing import Any, Final

import mcp_transport
from mcp_transport.api.paging import MAX_PAGE, MAX_TEXT, PAGE

__all__ = ["document"]

_Schema = dict[str, Any]

_TEXT: Final[_Schema] = {"type": "string"}
_WHOLE: Final[_Schema] = {"type": "integer", "minimum": 0}
_FLAG: Final[_Schema] = {"type": "boolean"}
_TIME: Final[_Schema] = {"type": "string", "format": "date-time"}
_LINK: Final[_Schema] = {"type": ["string", "null"], "format": "uri"}
_HINT: Final[_Schema] = {"type": ["boolean", "null"]}
_REQUEST_ID: Final[_Schema] = {
    "description": 'A JSON-RPC id: 7 and "7" are two.',
    "oneOf": [{"type": "string", "maxLength": 256}, {"type": "integer"}],
}


def _about(schema: _Schema, description: str) -> _Schema:
    return {**schema, "description": description}


def _object(**members: _Schema) -> _Schema:
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(schema: _Schema) -> _Schema:
    return {"type": "array", "items": schema}


_SESSION: Final[_Schema] = {
    "id": _about(_TEXT, "The short id, as in log lines."),
    "key": _about({"type": "string", "pattern": "^[A-Z2-7]{26}$"}, "A hash of the session's id; it opens nothing."),
    "user": _TEXT,
    "issuer": _about(_TEXT, "Who vouches for the caller; empty for an anonymous one."),
    "subject": _about(_TEXT, "Who the caller is for that issuer."),
    "client": _about(_TEXT, "The client's name and version, as it says itself."),
    "protocol": _TEXT,
    "initialized": _FLAG,
    "address": _TEXT,
    "user_agent": _TEXT,
    "node": _about(_TEXT, "The node that served the last request."),
    "created": _TIME,
    "last_seen": _TIME,
    "ends": _about(_TIME, "The end of it, however busy it is."),
    "requests": _WHOLE,
    "errors": _WHOLE,
}
_SCHEMAS: Final[_Schema] = {
    "Session": _object(**_SESSION),
    "SessionPage": _object(
        count=_WHOLE,
        count_is_exact=_about(_FLAG, "False: there are about this many."),
        next=_LINK,
        previous=_LINK,
        results=_list_of(_ref("Session")),
    ),
    "SessionDetail": _object(
        **_SESSION,
        client_info={"type": "object"},
        capabilities={"type": "object"},
        log_level=_TEXT,
        subscriptions=_about(_list_of(_TEXT), "URIs of resources."),
        calls=_about(_list_of(_ref("Call")), "As far as the answering process can see them."),
        streams=_list_of(_ref("Stream")),
        state=_about(_list_of(_TEXT), "Names of the values that tools keep."),
    ),
    "Call": _object(
        request_id=_REQUEST_ID,
        node=_TEXT,
        started=_TIME,
        safe=_about(_FLAG, "May it be sent again, without fear that it takes effect twice?"),
    ),
    "CallList": _object(results=_list_of(_ref("Call"))),
    "Cancellation": {"type": "object", "properties": {"request_id": _REQUEST_ID}, "required": ["request_id"]},
    "Stream": _object(
        name=_TEXT,
        writer=_about(_TEXT, "The node that runs its calls."),
        holder=_about(_TEXT, "The node with the client's socket."),
        last=_about(_WHOLE, "The number of its newest event."),
        bytes=_WHOLE,
        ended=_FLAG,
    ),
    "NodeList": _object(results=_list_of(_ref("Node"))),
    "Node": _object(name=_TEXT, host=_TEXT, pid=_WHOLE, calls=_WHOLE, draining=_FLAG),
    "ToolList": _object(results=_list_of(_ref("Tool"))),
    "Tool": _object(
        name=_TEXT,
        title={"type": ["string", "null"]},
        description={"type": ["string", "null"]},
        hints=_object(read_only=_HINT, destructive=_HINT, idempotent=_HINT, open_world=_HINT),
    ),
    "Document": {"description": "OpenAPI 3.1.", "type": "object"},
    "Error": _object(detail=_TEXT),
    "Invalid": {
        "description": "What is wrong, by parameter or member; or a sentence in `detail`.",
        "type": "object",
        "additionalProperties": {"anyOf": [_TEXT, _list_of(_TEXT)]},
    },
}


def _json(description: str, name: str, **more: Any) -> _Schema:
    return {"description": description, "content": {"application/json": {"schema": _ref(name)}}, **more}


_RETRY: Final[_Schema] = {"Retry-After": {"description": "Seconds.", "schema": _WHOLE}}
_RESPONSES: Final[_Schema] = {
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


def _operation(id: str, summary: str, permission: str, result: str, *failures: str, **more: Any) -> _Schema:
    done = {"200": _json("Done.", result)} if result else {"204": {"description": "Done."}}
    codes = sorted({*_ALWAYS, *failures})
    return {
        "operationId": id,
        "summary": summary,
        "description": f"Takes the Django permission `mcp_transport.{permission}_session`.",
        "responses": {**done, **{code: {"$ref": f"#/components/responses/{code}"} for code in codes}},
        **more,
    }


def _asked(name: str, description: str, schema: _Schema) -> _Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_FILTER: Final[_Schema] = {"type": "string", "maxLength": MAX_TEXT}
_SIZE: Final[_Schema] = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": PAGE}
_QUERY: Final = [
    _asked("search", "The beginning of a user's name, a client's, an address or an id, in either case.", _FILTER),
    _asked("user", "Exactly this user.", _FILTER),
    _asked("client", "Exactly this client, name and version as `client` has them.", _FILTER),
    _asked("protocol", "Exactly this protocol revision.", _FILTER),
    _asked("node", "Exactly this node served the last request.", _FILTER),
    _asked("page_size", "How many sessions a page has.", _SIZE),
    _asked("cursor", "From `next` or `previous`; good for the same filters only.", _TEXT),
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
_CANCELLATION: Final[_Schema] = {
    "required": True,
    "content": {"application/json": {"schema": _ref("Cancellation")}},
}
_ONE: Final = ("404", "501")

_PATHS: Final[_Schema] = {
    "/sessions/": {
        "get": _operation(
            "listSessions", "List sessions, last seen first", "view", "SessionPage", "400", "501", parameters=_QUERY
        )
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
        "components": {"schemas": _SCHEMAS, "responses": _RESPONSES},
    }
