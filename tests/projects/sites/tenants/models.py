"""Who the tenants are, and where."""

# mypy: disable-error-code="import-untyped, misc"
# (the package that it builds on has no types)
from __future__ import annotations

from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Shop(TenantMixin):
    """One tenant."""

    name = models.CharField(max_length=100)


class Domain(DomainMixin):
    """The subdomain of one."""
