"""The views: each one is an operation of `mcp_transport.operators.service`, and a permission."""

from __future__ import annotations

import logging
import re
from types import MappingProxyType
from typing import Any, Final

from asgiref.sync import async_to_sync
from rest_framework import exceptions
from rest_framework.response import Response

from mcp_transport import bootstrap
from mcp_transport.api.base import CannotList, NotFound, OperatorView
from mcp_transport.api.openapi import document
from mcp_transport.api.paging import MessageQuery, Place, Tail
from mcp_transport.api.tools import knows_tools, tool_records
from mcp_transport.domain.session import short_id
from mcp_transport.operators import service
from mcp_transport.operators.metric_records import node_record, overview_record, traffic_record
from mcp_transport.operators.session_records import call_record, detail_record, message_record, session_record
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
# As long as a short id at least: one or two letters would end whatever session happens to begin with them.
_BEGINNING: Final = re.compile(r"[A-Za-z2-7]{10,25}")


class SessionList(OperatorView):
    """Lists sessions."""

    def get(self, request: Any) -> Any:
        """Return a page."""
        place = Place(request)
        if not service.can_list():
            raise CannotList
        page = async_to_sync(service.sessions)(place.offset, place.size, place.query, place.order)
        return Response(place.answer(page, [session_record(session) for session in page.sessions]))


class SessionDetail(OperatorView):
    """Shows one session, or ends it."""

    actions = MappingProxyType({"DELETE": "delete"})

    def get(self, request: Any, id: str) -> Any:
        """Return what is known of it."""
        return Response(detail_record(_look_into(id)))

    def delete(self, request: Any, id: str) -> Any:
        """End it, everywhere."""
        key = _key(id)
        if not async_to_sync(service.end_session)(key):
            raise NotFound
        logger.info("user %s ended session %s", request.user.pk, short_id(key))
        return Response(status=204)


class CallList(OperatorView):
    """Lists the calls that a session has in flight."""

    def get(self, request: Any, id: str) -> Any:
        """Return all of them."""
        return Response({"results": [call_record(flight) for flight in _look_into(id).flights]})


class CallCancel(OperatorView):
    """Cancels a call of a session."""

    actions = MappingProxyType({"POST": "change"})

    def post(self, request: Any, id: str) -> Any:
        """Cancel the call that the body names."""
        request_id = _request_id(request.data)
        key = _key(id)
        if not async_to_sync(service.cancel_call)(key, request_id):
            raise NotFound("No such call runs in this session.")
        logger.info("user %s cancelled a call of session %s", request.user.pk, short_id(key))
        return Response(status=204)


class MessageList(OperatorView):
    """Lists what the streams of a session have had."""

    def get(self, request: Any, id: str) -> Any:
        """Return what comes next behind the cursor."""
        payloads = _wants_payloads(request)
        key = _key(id)
        tail = Tail(request, key)
        news = async_to_sync(service.new_messages)(key, tail.after)
        if news is None:
            raise NotFound
        if payloads:
            logger.info("user %s read payloads of session %s", request.user.pk, short_id(key))
        results = [message_record(message, payloads=payloads) for message in news.messages]
        return Response({"next": tail.link(news.cursor), "results": results})


class Overview(OperatorView):
    """Sums all sessions up."""

    def get(self, request: Any) -> Any:
        """Return how many there are, and what they have in common."""
        if not service.can_list():
            raise CannotList
        known = async_to_sync(service.overview)()
        return Response(overview_record(known, all_processes=bootstrap.endpoint().backend.shares_sessions))


class Metrics(OperatorView):
    """Tells of the traffic within the last minutes."""

    def get(self, request: Any) -> Any:
        """Return how many calls there were, how long they took, and how many failed."""
        traffic = async_to_sync(service.traffic)()
        return Response(traffic_record(traffic, all_processes=bootstrap.endpoint().backend.shares_streams))


class NodeList(OperatorView):
    """Lists the living nodes."""

    def get(self, request: Any) -> Any:
        """Return all of them."""
        return Response({"results": [node_record(node) for node in async_to_sync(service.nodes)()]})


class ToolList(OperatorView):
    """Lists the tools that are declared, whoever may use them."""

    def get(self, request: Any) -> Any:
        """Return all of them."""
        if not knows_tools():
            raise CannotList("MCP_TRANSPORT['SERVER'] has tools of its own: see `manage.py mcp_tools list`.")
        return Response({"results": tool_records()})


class Schema(OperatorView):
    """Describes this API by OpenAPI."""

    def get(self, request: Any) -> Any:
        """Return the document, for where the API is mounted."""
        return Response(document(request.path.removesuffix("schema/").rstrip("/")))


def _key(id: str) -> str:
    """Return the key of the session that an operator means. Raises: NotFound, CannotList, BackendError."""
    if _KEY.fullmatch(id):
        return id.upper()
    if not _BEGINNING.fullmatch(id):
        raise NotFound
    if not service.can_list():
        raise CannotList
    try:
        return async_to_sync(service.find_session)(id).key
    except LookupError as error:
        raise NotFound(str(error)) from None


def _look_into(id: str) -> service.SessionDetail:
    """Return what is known of a session. Raises: NotFound, CannotList, BackendError."""
    found = async_to_sync(service.look_into)(_key(id))
    if found is None:
        raise NotFound
    return found


def _wants_payloads(request: Any) -> bool:
    """Tell whether payloads are asked for. Raises: ValidationError; PermissionDenied for who may not see them."""
    query = MessageQuery(data=request.query_params)
    query.is_valid(raise_exception=True)
    wanted = bool(query.validated_data["payloads"])
    if wanted and not request.user.has_perm("mcp_transport.view_mcp_payloads"):
        raise exceptions.PermissionDenied("Payloads take the permission mcp_transport.view_mcp_payloads.")
    return wanted


def _request_id(body: Any) -> RequestId:
    """Read the body of a cancellation. Raises: ValidationError, answered with 400."""
    request_id = body.get("request_id") if isinstance(body, dict) else None
    if not is_request_id(request_id):
        raise exceptions.ValidationError({"request_id": ['Give a string or an integer: 7 and "7" are two ids.']})
    return request_id
