"""A REST API for operators: `path("mcp-api/", include("mcp_transport.api.urls"))`; it needs the extra `rest`."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

try:
    import rest_framework  # noqa: F401
except ImportError as error:
    raise ImproperlyConfigured(
        "mcp_transport.api needs Django REST framework: pip install 'django-mcp-transport[rest]'"
    ) from error

__all__: list[str] = []
