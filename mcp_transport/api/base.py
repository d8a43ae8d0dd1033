"""What all views of the REST API share: who may ask, how often, and how failures are answered."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from rest_framework import exceptions, parsers, permissions, renderers, throttling, views
from rest_framework.settings import api_settings

from mcp_transport.exceptions import BackendError

__all__ = [
    "CannotList",
    "JSONText",
    "LimitedJSONParser",
    "MayOperate",
    "NotFound",
    "OperatorThrottle",
    "OperatorView",
    "StoreUnavailable",
]

if TYPE_CHECKING:  # the framework has no types, and what derives from no type cannot be checked
    from django.views import View as _View

    _Error = Exception
    _Parser = object
    _Permission = object
    _Renderer = object
    _Throttle = object
else:
    _View = views.APIView
    _Error = exceptions.APIException
    _Parser = parsers.BaseParser
    _Permission = permissions.BasePermission
    _Renderer = renderers.JSONRenderer
    _Throttle = throttling.UserRateThrottle

logger = logging.getLogger(__name__)

_RATE: Final = "120/min"
# The longest request id has 256 characters, of 12 bytes each where all of them are escaped.
_MAX_BODY: Final = 4096


class StoreUnavailable(_Error):
    """Says that the session store does not answer."""

    status_code = 503
    default_detail = "The session store does not answer. Try again."
    default_code = "store_unavailable"
    wait = 5
    """Seconds, for `Retry-After`."""


class CannotList(_Error):
    """Says that there is no list to answer with."""

    status_code = 501
    default_detail = (
        "The session backend cannot list sessions. Name a session by its whole key, or use another backend."
    )
    default_code = "cannot_list"


class NotFound(_Error):
    """Says that there is no such session or call."""

    status_code = 404
    default_detail = "There is no such session: it never began, or is over."
    default_code = "not_found"


class MayOperate(_Permission):
    """Lets in users with the permission on sessions that the view's method takes."""

    def has_permission(self, request: Any, view: Any) -> bool:
        """Tell whether the user may do this; nobody anonymous may, whatever a project grants them."""
        user = request.user
        action = view.actions.get(request.method, "view")
        known = user is not None and user.is_authenticated
        return bool(known and user.has_perm(f"mcp_transport.{action}_session"))


class OperatorThrottle(_Throttle):
    """Limits each user to the rate `mcp` of DEFAULT_THROTTLE_RATES; None there means no limit."""

    scope = "mcp"

    def get_rate(self) -> Any:
        """Return the project's rate, or a safe one."""
        return api_settings.DEFAULT_THROTTLE_RATES.get(self.scope, _RATE)

    def allow_request(self, request: Any, view: Any) -> bool:
        """Tell whether one more request is allowed. Raises: StoreUnavailable, when the cache does not answer."""
        try:
            return bool(throttling.UserRateThrottle.allow_request(self, request, view))
        except Exception as error:  # each kind of cache has its own
            logger.warning("the cache that counts requests did not answer: %s", type(error).__name__)
            raise StoreUnavailable from error


class JSONText(_Renderer):
    """Writes JSON in ASCII: clients call themselves what they like, and half of a surrogate pair has no UTF-8."""

    ensure_ascii = True


class LimitedJSONParser(_Parser):
    """Reads a small JSON document, and no further."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        """Return the decoded document. Raises: ParseError."""
        body = stream.read(_MAX_BODY + 1)
        if len(body) > _MAX_BODY:
            raise exceptions.ParseError(f"The body is longer than {_MAX_BODY} bytes.")
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise exceptions.ParseError("The body is not JSON.") from None


class OperatorView(_View):
    """The base of every view; who a caller is, the project's own authentication classes decide."""

    actions: Mapping[str, str] = MappingProxyType({})
    """Methods that take another permission than `view`."""

    permission_classes = (MayOperate,)
    throttle_classes = (OperatorThrottle,)
    renderer_classes = (JSONText,)
    parser_classes = (LimitedJSONParser,)
    versioning_class = None
    metadata_class = None
    schema = None
    """Kept out of a project's generated schema: this API has its own."""

    def handle_exception(self, exc: Exception) -> Any:
        """Answer 503 for a store that is out."""
        if isinstance(exc, BackendError):
            logger.warning("the session store did not answer the REST API: %s", exc)
            exc = StoreUnavailable()
        return views.APIView.handle_exception(self, exc)

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Keep answers out of caches, and browsers from reading them as anything but JSON."""
        response["Cache-Control"] = "no-store"
        response["X-Content-Type-Options"] = "nosniff"
        return views.APIView.finalize_response(self, request, response, *args, **kwargs)
