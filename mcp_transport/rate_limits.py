"""The rate limits of the settings and of the tools, and the throttle classes of REST framework."""

from __future__ import annotations

import inspect
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from mcp_transport import conf
from mcp_transport.discovery import declared
from mcp_transport.domain.rate_limit import KINDS, KeyFunction, RateLimits, limits
from mcp_transport.engine.endpoint import Throttle

__all__ = ["build_rate_limits", "build_throttle"]


def build_rate_limits() -> RateLimits:
    """Build the rate limits.

    Raises:
        ImproperlyConfigured: a function of RATE_LIMITS cannot be imported, or is none.
    """
    rates = conf.get("RATE_LIMITS")
    paths = [key for key in rates if key not in KINDS]
    return RateLimits(
        **{kind: limits(kind, rates[kind]) for kind in KINDS if kind in rates},
        tools={} if conf.get("SERVER") else dict(declared().rate_limits),
        functions=tuple(
            (_import_function(path), limits(path.rpartition(".")[2], rates[path], name=path)) for path in paths
        ),
        refuses_without_store=conf.get("RATE_LIMITS_WITHOUT_STORE") == "refuse",
    )


def build_throttle() -> Throttle | None:
    """Build the function that applies THROTTLE_CLASSES; None without classes. Raises: ImproperlyConfigured."""
    if not (paths := conf.get("THROTTLE_CLASSES")):
        return None
    from mcp_transport.auth.throttling import Throttles

    return Throttles(paths).check


def _import_function(path: str) -> KeyFunction:
    try:
        function: Any = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"MCP_TRANSPORT['RATE_LIMITS']: {path!r} cannot be imported: {error}") from error
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise ImproperlyConfigured(f"MCP_TRANSPORT['RATE_LIMITS']: {path!r} must be a synchronous function")
    checked: KeyFunction = function
    return checked
