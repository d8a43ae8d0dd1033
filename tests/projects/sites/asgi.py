"""The endpoint as a view at /mcp, and mounted at /mounted."""

from __future__ import annotations

from django.conf import settings
from django.core.asgi import get_asgi_application

from mcp_transport.asgi import mount

if getattr(settings, "IS_TRACED", False):
    from opentelemetry.instrumentation.django import DjangoInstrumentor

    DjangoInstrumentor().instrument()

application = mount(get_asgi_application(), path="/mounted")
