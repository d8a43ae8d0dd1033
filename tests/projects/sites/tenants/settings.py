"""Settings of a project for several tenants."""

from __future__ import annotations

import os

from tests.projects.databases import postgres

SECRET_KEY = "a-key-for-tests-only-which-protects-nothing-at-all"
DEBUG = False
ALLOWED_HOSTS = [".localhost"]
DATABASES = {"default": postgres(ENGINE="django_tenants.postgresql_backend")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
TENANT_MODEL = "tenants.Shop"
TENANT_DOMAIN_MODEL = "tenants.Domain"
SHARED_APPS = ["django_tenants", "tests.projects.sites.tenants", "django.contrib.contenttypes"]
TENANT_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "mcp_transport",
    "mcp_transport.contrib.tokens",
]
INSTALLED_APPS = [
    *(["daphne"] if os.environ.get("SITE_DAPHNE") else []),  # replaces runserver
    *SHARED_APPS,
    *(app for app in TENANT_APPS if app not in SHARED_APPS),
]
MIDDLEWARE = [
    "django_tenants.middleware.main.TenantMainMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "tests.projects.sites.tenants.urls"
ASGI_APPLICATION = "tests.projects.sites.tenants.asgi.application"
WSGI_APPLICATION = "tests.projects.sites.tenants.wsgi.application"
USE_TZ = True
MCP_TRANSPORT = {
    "NAME": "tenants",
    "VERSION": "1.0",
    "AUTHENTICATORS": ["token", "user", None],
    "CALL_CONTEXT": "tests.projects.sites.tenants.calls.tenant_context",
}
