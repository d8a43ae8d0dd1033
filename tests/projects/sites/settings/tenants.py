"""A project of several tenants, each with a schema and a subdomain of its own."""

from __future__ import annotations

from tests.projects.sites.settings.base import *  # noqa: F403 (settings are names in a module)
from tests.projects.sites.settings.base import CONTRIB, DAPHNE, MCP_APPS, MCP_TRANSPORT, MIDDLEWARE, postgres

ALLOWED_HOSTS = [".localhost"]
DATABASES = {"default": postgres(ENGINE="django_tenants.postgresql_backend")}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
TENANT_MODEL = "tenants.Shop"
TENANT_DOMAIN_MODEL = "tenants.Domain"
SHARED_APPS = ["django_tenants", "tests.projects.sites.tenants", "django.contrib.contenttypes"]
TENANT_APPS = [*CONTRIB, *MCP_APPS]
INSTALLED_APPS = [*DAPHNE, *dict.fromkeys([*SHARED_APPS, *TENANT_APPS])]
MIDDLEWARE = ["django_tenants.middleware.main.TenantMainMiddleware", *MIDDLEWARE]
MCP_TRANSPORT = {**MCP_TRANSPORT, "CALL_CONTEXT": "tests.projects.sites.tenants.calls.tenant_context"}
