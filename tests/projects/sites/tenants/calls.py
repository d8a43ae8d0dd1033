"""What surrounds each call."""

# mypy: disable-error-code="import-untyped, attr-defined"
# (the package that it builds on has no types)
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.http import HttpRequest
from django_tenants.utils import tenant_context as tenant_of

from mcp_transport import Principal


@contextmanager
def tenant_context(request: HttpRequest | None, principal: Principal | None) -> Iterator[None]:
    """Enter the tenant that the middleware found, in the thread and on the connection of the call."""
    tenant = getattr(request, "tenant", None)
    if tenant is None:
        connection.set_schema_to_public()
        yield
        return
    with tenant_of(tenant):
        yield
