"""Throttling with the classes of Django REST framework."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from mcp_transport.auth.django_request import django_request
from mcp_transport.auth.user import anonymous_user
from mcp_transport.domain.principal import Principal
from mcp_transport.protocol.errors import refused_for_load
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.threads import in_thread

try:
    from rest_framework.request import Request
except ImportError as error:
    raise ImproperlyConfigured(
        "MCP_TRANSPORT['THROTTLE_CLASSES'] needs Django REST framework: pip install 'django-mcp-transport[rest]'"
    ) from error

__all__ = ["Throttles"]

_DEFAULT_WAIT_SECONDS: Final = 1.0  # for a class that cannot say how long


class _View:
    """The view that a throttle class is called for; the scope is that of ScopedRateThrottle."""

    throttle_scope = "mcp"


class Throttles:
    """Throttle classes, each of which a request must pass, as in a view of REST framework."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Import the classes. Raises: ImproperlyConfigured, also for a class without the rate that it needs."""
        self._kinds = [_import_class(path) for path in paths]
        for kind in self._kinds:
            kind()

    async def check(self, request: HTTPRequest, principal: Principal) -> None:
        """Apply the classes in a thread. Raises: ProtocolError: 429 if one refuses."""
        wait = await in_thread(partial(self._wait, request, principal))
        if wait is not None:
            message = "too many requests: a throttle class refuses this one"
            raise refused_for_load(429, message, limit="THROTTLE_CLASSES", key="throttle", seconds=wait)

    def _wait(self, request: HTTPRequest, principal: Principal) -> float | None:
        """Return how long to wait, in seconds, or None for a request that all classes allow."""
        source = django_request(request)
        # The address is already that of the client, by TRUSTED_PROXIES; anybody can send this header.
        source.META.pop("HTTP_X_FORWARDED_FOR", None)
        drf_request, view = Request(source, authenticators=()), _View()
        drf_request.user = principal.user if principal.user is not None else anonymous_user()
        throttles = [kind() for kind in self._kinds]
        refusing = [each for each in throttles if not each.allow_request(drf_request, view)]  # all count
        waits = [float(_DEFAULT_WAIT_SECONDS if (wait := each.wait()) is None else wait) for each in refusing]
        return max(waits, default=None)


def _import_class(path: str) -> Any:
    try:
        kind = import_string(path)
    except (ImportError, RuntimeError) as error:  # RuntimeError: its models belong to no installed app
        raise ImproperlyConfigured(
            f"MCP_TRANSPORT['THROTTLE_CLASSES']: {path!r} cannot be imported: {error}"
        ) from error
    if not isinstance(kind, type) or not callable(getattr(kind, "allow_request", None)):
        raise ImproperlyConfigured(f"MCP_TRANSPORT['THROTTLE_CLASSES']: {path!r} is not a throttle class")
    return kind
