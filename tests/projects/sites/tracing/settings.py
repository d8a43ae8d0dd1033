"""Settings of a project with traces."""

from __future__ import annotations

import os

from tests.projects.databases import postgres

SECRET_KEY = "a-key-for-tests-only-which-protects-nothing-at-all"
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
DATABASES = {"default": postgres()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    *(["daphne"] if os.environ.get("SITE_DAPHNE") else []),  # replaces runserver
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "mcp_transport",
    "mcp_transport.contrib.tokens",
    "tests.projects.sites.tracing",
]
MIDDLEWARE = [
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
ROOT_URLCONF = "tests.projects.sites.tracing.urls"
ASGI_APPLICATION = "tests.projects.sites.tracing.asgi.application"
WSGI_APPLICATION = "tests.projects.sites.tracing.wsgi.application"
USE_TZ = True
MCP_TRANSPORT = {"NAME": "tracing", "VERSION": "1.0", "AUTHENTICATORS": ["token", "user", None]}
