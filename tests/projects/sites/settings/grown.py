"""What years add: a user model, middleware of others and of one's own, transactions, PostgreSQL, a pool."""

from __future__ import annotations

import os
from typing import Any

from tests.projects.sites.settings.base import *  # noqa: F403 (settings are names in a module)
from tests.projects.sites.settings.base import CONTRIB, DAPHNE, MCP_APPS, postgres

_POOLED: dict[str, Any] = {
    "ATOMIC_REQUESTS": True,
    "CONN_HEALTH_CHECKS": True,
    "OPTIONS": {"pool": {"min_size": 1, "max_size": 8, "timeout": 10}},
}
DATABASES = {"default": postgres(**_POOLED), "archive": postgres("archive", **_POOLED)}
AUTH_USER_MODEL = "grown.Person"
_OTHERS = ["whitenoise.runserver_nostatic", "django.contrib.staticfiles", "corsheaders", "rest_framework"]
INSTALLED_APPS = [*DAPHNE, *CONTRIB, *_OTHERS, *MCP_APPS, "tests.projects.sites.grown"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "tests.projects.sites.middleware.TimezoneMiddleware",
]
if os.environ.get("SITE_MIDDLEWARE") == "async":
    _PLAIN = ("whitenoise.middleware.WhiteNoiseMiddleware", "tests.projects.sites.middleware.TimezoneMiddleware")
    MIDDLEWARE = [path for path in MIDDLEWARE if path not in _PLAIN]
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
TIME_ZONE = "UTC"
STATIC_URL = "static/"
STATIC_ROOT = os.environ["SITE_STATIC"]
CORS_ALLOWED_ORIGINS = ["https://app.example.com"]
CORS_URLS_REGEX = r"^/(api|mcp)"
