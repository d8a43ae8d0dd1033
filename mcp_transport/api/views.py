"""The views: each calls an operation of `mcp_transport.operators.service` and requires a permission."""

from __future__ import annotations

import logging
import re
from types import MappingProxyType
from typing import Any, Final

from asgiref.sync import async_to_sync
from rest_framework import exceptions
from rest_framework.response import Response

from mcp_transport import bootstrap, conf
from mcp_transport.api.base import CannotList, OperatorView, SessionNotFound
from mcp_transport.api.openapi import document
from mcp_transport.api.paging import MessageCursor, MessageQuery, SessionCursor
from mcp_transport.discovery import declared
from mcp_transport.domain.session import short_id
from mcp_transport.operators import records, service
from mcp_transport.operators.representation.fields import to_json
from mcp_transport.operators.representation.metrics import NODE, OVERVIEW, TRAFFIC
from mcp_transport.operators.representation.sessions import (
    CALL,
    DETAIL,
    DETAIL_WITH_PAYLOADS,
    MESSAGE,
    PAYLOAD,
    SESSION,
)
from mcp_transport.protocol.jsonrpc import RequestId, is_request_id

__all__ = [
    "CallCancel",
    "CallList",
    "MessageList",
    "Metrics",
    "NodeList",
    "Overview",
    "Schema",
    "SessionDetail",
    "SessionList",
    "ToolList",
]

logger = logging.getLogger(__name__)

_KEY: Final = re.compile(r"[A-Za-z2-7]{26}")
# At least a short ID: a prefix of one or two letters could end the wrong session.
_PREFIX: Final = re.compile(r"[A-Za-z2-7]{10,25}")


class SessionList(OperatorView):
    """Lists sessions."""

    def get(self, request: Any) -> Any:
        """Return a page."""
        cursor = SessionCursor(request)
        if not service.can_list():
            raise CannotList
        page = async_to_sync(service.sessions)(cursor.offset, cursor.size, cursor.query, cursor.order)
        return Response(cursor.page_json(page, [to_json(SESSION, session) for session in page.sessions]))


class SessionDetail(OperatorView):
    """Shows one session, or ends it."""

    actions = MappingProxyType({"DELETE": "delete"})

    def get(self, request: Any, id: str) -> Any:
        """Return its fields and activity, and what failed requests say if payloads are requested."""
        payloads = _includes_payloads(request)
        detail = _session_detail(id)
        if payloads:
            logger.info("user %s read payloads of session %s", request.user.pk, short_id(detail.session.key))
        fields = DETAIL_WITH_PAYLOADS if payloads else DETAIL
        return Response(to_json(fields, detail, all_processes=_shares_streams()))

    def delete(self, request: Any, id: str) -> Any:
        """End it on every node."""
        key = _key(id)
        if not async_to_sync(service.end_session)(key):
            raise SessionNotFound
        logger.info("user %s ended session %s", request.user.pk, short_id(key))
        return Response(status=204)


class CallList(OperatorView):
    """Lists the running calls of a session."""

    def get(self, request: Any, id: str) -> Any:
        """Return all of them."""
        return Response({"results": [to_json(CALL, call) for call in _session_detail(id).calls]})


class CallCancel(OperatorView):
    """Cancels a call of a session."""

    actions = MappingProxyType({"POST": "change"})

    def post(self, request: Any, id: str) -> Any:
        """Cancel the call that the body names."""
        request_id = _request_id(request.data)
        key = _key(id)
        if not async_to_sync(service.cancel_call)(key, request_id):
            raise exceptions.NotFound("No such call is running in this session.")
        logger.info("user %s cancelled a call of session %s", request.user.pk, short_id(key))
        return Response(status=204)


class MessageList(OperatorView):
    """Lists the messages on the streams of a session."""

    def get(self, request: Any, id: str) -> Any:
        """Return the messages after the cursor."""
        payloads = _includes_payloads(request)
        key = _key(id)
        cursor = MessageCursor(request, key)
        batch = async_to_sync(service.new_messages)(key, cursor.after)
        if batch is None:
            raise SessionNotFound
        if payloads:
            logger.info("user %s read payloads of session %s", request.user.pk, short_id(key))
        fields = (*MESSAGE, PAYLOAD) if payloads else MESSAGE
        results = [to_json(fields, message) for message in batch.messages]
        return Response({"next": cursor.link(batch.cursor), "results": results})


class Overview(OperatorView):
    """Summarizes all sessions."""

    def get(self, request: Any) -> Any:
        """Return their number, and the most common values."""
        if not service.can_list():
            raise CannotList
        all_processes = bootstrap.endpoint().backend.shares_sessions
        return Response(to_json(OVERVIEW, async_to_sync(service.overview)(), all_processes=all_processes))


class Metrics(OperatorView):
    """Shows the traffic within the last minutes."""

    def get(self, request: Any) -> Any:
        """Return the number, durations and errors of calls."""
        return Response(to_json(TRAFFIC, async_to_sync(service.traffic)(), all_processes=_shares_streams()))


class NodeList(OperatorView):
    """Lists the live nodes."""

    def get(self, request: Any) -> Any:
        """Return all of them."""
        return Response({"results": [to_json(NODE, node) for node in async_to_sync(service.nodes)()]})


class ToolList(OperatorView):
    """Lists all declared tools, regardless of their access rules."""

    def get(self, request: Any) -> Any:
        """Return all of them."""
        if conf.get("SERVER") is not None:  # it would have to run to list them
            raise CannotList("MCP_TRANSPORT['SERVER'] has tools of its own: see `manage.py mcp_tools list`.")
        return Response({"results": [_tool_json(tool) for tool in declared().tools.values()]})


class Schema(OperatorView):
    """Describes this API by OpenAPI."""

    def get(self, request: Any) -> Any:
        """Return the document, with the path at which the API is mounted."""
        return Response(document(request.path.removesuffix("schema/").rstrip("/")))


def _key(id: str) -> str:
    """Return the key of the session with this key or short ID. Raises: SessionNotFound, CannotList, BackendError."""
    if _KEY.fullmatch(id):
        return id.upper()
    if not _PREFIX.fullmatch(id):
        raise SessionNotFound
    if not service.can_list():
        raise CannotList
    try:
        return async_to_sync(service.find_session)(id).key
    except LookupError as error:
        raise SessionNotFound(str(error)) from None


def _session_detail(id: str) -> records.SessionDetail:
    """Return a session with its activity. Raises: SessionNotFound, CannotList, BackendError."""
    detail = async_to_sync(service.session_detail)(_key(id))
    if detail is None:
        raise SessionNotFound
    return detail


def _shares_streams() -> bool:
    return bootstrap.endpoint().backend.shares_streams


def _tool_json(tool: Any) -> dict[str, Any]:
    hints = ("read_only", "destructive", "idempotent", "open_world")
    return {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description or None,
        "hints": {name: getattr(tool.annotations, f"{name}_hint", None) for name in hints},
    }


def _includes_payloads(request: Any) -> bool:
    """Return whether payloads are requested. Raises: ValidationError; PermissionDenied without the permission."""
    query = MessageQuery(data=request.query_params)
    query.is_valid(raise_exception=True)
    requested = bool(query.validated_data["payloads"])
    if requested and not request.user.has_perm("mcp_transport.view_mcp_payloads"):
        raise exceptions.PermissionDenied("Payloads require the permission mcp_transport.view_mcp_payloads.")
    return requested


def _request_id(body: Any) -> RequestId:
    """Read the request id from the body of a cancellation. Raises: ValidationError, answered with 400."""
    request_id = body.get("request_id") if isinstance(body, dict) else None
    if not is_request_id(request_id):
        error = 'Expected a string or an integer: 7 and "7" are different ids.'
        raise exceptions.ValidationError({"request_id": [error]})
    return request_id
