"""Settings of a project that nginx serves at /shop."""

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
    "tests.projects.sites.subpath",
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
ROOT_URLCONF = "tests.projects.sites.subpath.urls"
ASGI_APPLICATION = "tests.projects.sites.subpath.asgi.application"
WSGI_APPLICATION = "tests.projects.sites.subpath.wsgi.application"
USE_TZ = True
MCP_TRANSPORT = {"NAME": "subpath", "VERSION": "1.0", "AUTHENTICATORS": ["token", "user", None]}
FORCE_SCRIPT_NAME = "/shop"
