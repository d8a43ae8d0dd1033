"""Sessions in the Django admin: from the session backend, without a database query for any of them."""

from __future__ import annotations

from django.contrib import admin

from mcp_transport.admin.sessions import SessionAdmin
from mcp_transport.models import Session

__all__ = ["SessionAdmin"]

admin.site.register(Session, SessionAdmin)
