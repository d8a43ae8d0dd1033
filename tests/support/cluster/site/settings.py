"""A site whose tools a test steers from another process, through files in SITE_FOLDER."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Any

SECRET_KEY = os.environ.get("SITE_SECRET_KEY", "a secret of these tests alone, and long enough for Django's check")
SECRET_KEY_FALLBACKS = json.loads(os.environ.get("SITE_SECRET_KEY_FALLBACKS", "[]"))
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "mcp_transport", "tests.support.cluster.site"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "tests.support.cluster.site.urls"
ASGI_APPLICATION = "tests.support.cluster.site.asgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True

CACHES: dict[str, dict[str, object]] = {}
STORE: dict[str, object] = {}
if "SITE_DYNAMODB" in os.environ:
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    STORE = {"BACKEND": "dynamodb", "DYNAMODB": json.loads(os.environ["SITE_DYNAMODB"])}
elif "SITE_CACHE" in os.environ:
    CACHES = {"default": json.loads(os.environ["SITE_CACHE"])}
else:
    CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": os.environ["REDIS_URL"]}}

MCP_TRANSPORT = {"NAME": "cluster", "LEASE_SECONDS": 2.0, **STORE, **json.loads(os.environ.get("SITE_MCP", "{}"))}

if "SITE_ENDPOINTS" in os.environ:  # names of servers that no resolver knows: a region's server has a port of its own
    _endpoints, _resolve = json.loads(os.environ["SITE_ENDPOINTS"]), socket.getaddrinfo

    def _getaddrinfo(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        return _resolve(*_endpoints.get(host, (host, port)), *arguments, **options)

    setattr(socket, "getaddrinfo", _getaddrinfo)  # noqa: B010 (for mypy)

if "SITE_CLOCK_AHEAD" in os.environ:  # as on a machine whose time is wrong
    _time = time.time
    setattr(time, "time", lambda: _time() + float(os.environ["SITE_CLOCK_AHEAD"]))  # noqa: B010 (for mypy)

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"mcp_transport": {"handlers": ["console"], "level": "DEBUG"}},
}
