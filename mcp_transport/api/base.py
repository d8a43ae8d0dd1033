"""The base of the REST API's views: permissions, throttling, parsing and error responses."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from rest_framework import exceptions, parsers, permissions, renderers, throttling, views
from rest_framework.settings import api_settings

from mcp_transport.exceptions import BackendError

__all__ = [
    "CannotList",
    "JSONText",
    "LimitedJSONParser",
    "MayOperate",
    "OperatorThrottle",
    "OperatorView",
    "SessionNotFound",
    "StoreUnavailable",
]

logger = logging.getLogger(__name__)

_DEFAULT_RATE: Final = "120/min"
# A request id has up to 256 characters, of 12 bytes each if all of them are escaped.
_MAX_BODY_BYTES: Final = 4096


class StoreUnavailable(exceptions.APIException):
    """Raised while the session store is unavailable; answered with 503."""

    status_code = 503
    default_detail = "The session store does not answer. Try again."
    default_code = "store_unavailable"
    wait = 5
    """Seconds, for `Retry-After`."""


class CannotList(exceptions.APIException):
    """Raised if there is nothing to list; answered with 501."""

    status_code = 501
    default_detail = "The session backend cannot list sessions. Give a session's whole key, or use another backend."
    default_code = "cannot_list"


class SessionNotFound(exceptions.NotFound):
    """Raised if there is no such session; answered with 404."""

    default_detail = "There is no such session: it has ended, or never existed."


class MayOperate(permissions.BasePermission):
    """Requires the permission on sessions that the view declares for the method."""

    def has_permission(self, request: Any, view: Any) -> bool:
        """Return whether the user has the permission; anonymous users are refused, whatever is granted to them."""
        user = request.user
        action = view.actions.get(request.method, "view")
        is_authenticated = user is not None and user.is_authenticated
        return bool(is_authenticated and user.has_perm(f"mcp_transport.{action}_session"))


class OperatorThrottle(throttling.UserRateThrottle):
    """Limits each user to the rate `mcp` of DEFAULT_THROTTLE_RATES; None there means no limit."""

    scope = "mcp"

    def get_rate(self) -> Any:
        """Return the project's rate, or the default."""
        return api_settings.DEFAULT_THROTTLE_RATES.get(self.scope, _DEFAULT_RATE)

    def allow_request(self, request: Any, view: Any) -> bool:
        """Return whether another request is allowed. Raises: StoreUnavailable, if the cache is unavailable."""
        try:
            return bool(super().allow_request(request, view))
        except Exception as error:  # each cache backend raises its own
            logger.warning("the cache that counts requests did not answer: %s", type(error).__name__)
            raise StoreUnavailable from error


class JSONText(renderers.JSONRenderer):
    """Renders JSON in ASCII: a client's name may contain a lone surrogate, which UTF-8 cannot encode."""

    ensure_ascii = True


class LimitedJSONParser(parsers.BaseParser):
    """Parses a small JSON document, and reads no more than its limit."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        """Return the decoded document. Raises: ParseError."""
        body = stream.read(_MAX_BODY_BYTES + 1)
        if len(body) > _MAX_BODY_BYTES:
            raise exceptions.ParseError(f"The body is longer than {_MAX_BODY_BYTES} bytes.")
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise exceptions.ParseError("The body is not JSON.") from None


class OperatorView(views.APIView):
    """The base of every view; callers are authenticated by the project's authentication classes."""

    actions: Mapping[str, str] = MappingProxyType({})
    """The permissions of methods that require another one than `view`."""

    permission_classes = (MayOperate,)
    throttle_classes = (OperatorThrottle,)
    renderer_classes = (JSONText,)
    parser_classes = (LimitedJSONParser,)
    versioning_class = None
    metadata_class = None
    schema = None
    """Excludes the views from a project's generated schema: this API has its own."""

    def handle_exception(self, exc: Exception) -> Any:
        """Answer 503 while the store is unavailable."""
        if isinstance(exc, BackendError):
            logger.warning("the session store did not answer the REST API: %s", exc)
            exc = StoreUnavailable()
        return super().handle_exception(exc)

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Forbid caching, and that browsers guess another content type."""
        response["Cache-Control"] = "no-store"
        response["X-Content-Type-Options"] = "nosniff"
        return super().finalize_response(request, response, *args, **kwargs)
