"""Settings as in production; BENCH_CACHE says whether sessions live in LocMem or in Redis."""

from __future__ import annotations

import os

SECRET_KEY = "a secret of the benchmark alone, and long enough for Django's check"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "rest_framework"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "tests.bench.peers.drf.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True

if os.environ["BENCH_CACHE"] == "redis":
    CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": os.environ["REDIS_URL"]}
    }
else:
    # A LocMem cache keeps 300 entries unless told otherwise: sessions would be lost.
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "OPTIONS": {"MAX_ENTRIES": 1_000_000},
        }
    }

# Without authentication, and with as many streams as are asked for.
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None}
REST_FRAMEWORK_MCP = {"REQUIRE_TOOL_PERMISSIONS": False, "MAX_CONCURRENT_SSE_STREAMS": 100_000}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "ERROR"},
}
