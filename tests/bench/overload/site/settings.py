"""Settings as in production; BENCH_BACKEND says where sessions live, BENCH_LIMITS overrides limits (JSON)."""

from __future__ import annotations

import json
import os

BACKEND = os.environ.get("BENCH_BACKEND", "memory")

SECRET_KEY = "a secret of the load bench alone, and long enough for Django's check"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "mcp_transport",
    "tests.bench.overload.site",
]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "tests.bench.overload.site.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
if BACKEND != "memory":
    CACHES["default"] = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": os.environ["REDIS_URL"],
    }

MCP_TRANSPORT = {
    "NAME": "load",
    "BACKEND": BACKEND,
    "AUTHENTICATORS": ["tests.bench.overload.site.authenticator.CallerAuthenticator"],
    **json.loads(os.environ.get("BENCH_LIMITS", "{}")),
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
