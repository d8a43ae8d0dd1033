"""Settings as in production; BENCH_BACKEND says where sessions live, BENCH_MIDDLEWARE=default adds Django's own."""

from __future__ import annotations

import json
import os

BACKEND = os.environ.get("BENCH_BACKEND", "memory")

SECRET_KEY = "a secret of the benchmark alone, and long enough for Django's check"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = [
    *(f"django.contrib.{name}" for name in ("contenttypes", "auth", "sessions", "messages")),
    "mcp_transport",
    "tests.bench.site",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
if os.environ.get("BENCH_MIDDLEWARE") != "default":
    MIDDLEWARE = []
ROOT_URLCONF = "tests.bench.site.urls"
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("BENCH_DATABASE", ":memory:")}
}
USE_TZ = True

if BACKEND == "memory":
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
else:
    CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": os.environ["REDIS_URL"]}
    }

# All clients of a benchmark are one anonymous caller, and leave their sessions behind.
MCP_TRANSPORT = {"NAME": "bench", "BACKEND": BACKEND, "MAX_SESSIONS_PER_PRINCIPAL": 1_000_000}
MCP_TRANSPORT |= json.loads(os.environ.get("BENCH_MCP", "{}"))

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
