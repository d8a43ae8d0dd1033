"""What the settings of several projects share."""

from __future__ import annotations

import json
import os
from typing import Any

SECRET_KEY = "a-key-for-tests-only-which-protects-nothing-at-all"
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
DAPHNE = ["daphne"] if os.environ.get("SITE_DAPHNE") else []
"""The app that replaces runserver."""
CONTRIB = [f"django.contrib.{name}" for name in ("admin", "auth", "contenttypes", "sessions", "messages")]
MCP_APPS = ["mcp_transport", "mcp_transport.contrib.tokens", "tests.projects.sites"]
INSTALLED_APPS = [*DAPHNE, *CONTRIB, *MCP_APPS]
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
ROOT_URLCONF = "tests.projects.sites.urls"
ASGI_APPLICATION = "tests.projects.sites.asgi.application"
WSGI_APPLICATION = "tests.projects.sites.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
MCP_TRANSPORT: dict[str, Any] = {
    "NAME": "project",
    "VERSION": "1.0",
    "AUTHENTICATORS": ["token", "user", None],
    "QUEUE_TIMEOUT_SECONDS": 60,  # calls side by side on a busy machine are not refused
}


def postgres(alias: str = "default", **settings: Any) -> dict[str, Any]:
    """Return one entry of DATABASES; SITE_DATABASE_OPTIONS, as JSON, adds to all of them."""
    name = os.environ["SITE_DATABASE"] + ("" if alias == "default" else f"_{alias}")
    varied = json.loads(os.environ.get("SITE_DATABASE_OPTIONS", "{}"))
    options = {"application_name": name, **settings.pop("OPTIONS", {}), **varied.pop("OPTIONS", {})}
    if options.get("pool") is None:
        options.pop("pool", None)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": os.environ["SITE_POSTGRES_PORT"],
        "USER": "postgres",
        "NAME": name,
        **settings,
        **varied,
        "OPTIONS": options,
    }
