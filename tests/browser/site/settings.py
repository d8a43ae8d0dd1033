"""A site with the admin and a strict Content-Security-Policy, of which several nodes run."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(os.environ["SITE_FOLDER"])

SECRET_KEY = "a secret of these tests alone, and long enough for Django's check"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
_CONTRIB = ("admin", "auth", "contenttypes", "sessions", "messages", "staticfiles")
INSTALLED_APPS = [*(f"django.contrib.{name}" for name in _CONTRIB), "channels", "mcp_transport", "tests.browser.site"]
MIDDLEWARE = [
    "tests.browser.site.urls.content_security_policy",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "tests.browser.site.urls"
ASGI_APPLICATION = "tests.browser.site.asgi.application"
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
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "db.sqlite3",
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": os.environ["REDIS_URL"]}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # the others are slow on purpose
STATIC_URL = "static/"
USE_TZ, TIME_ZONE = True, "UTC"

# A short lease, because a session is found by an index that is written with the lease.
MCP_TRANSPORT = {
    "NAME": "browser",
    "LEASE_SECONDS": 3.0,
    "DRAIN_SECONDS": 1.0,
    "FAILURE_PAYLOADS": True,
    "LOG_EXCEPTION_TEXTS": True,
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {"mcp_transport": {"level": "DEBUG"}},
}
