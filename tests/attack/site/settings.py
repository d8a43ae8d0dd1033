"""A site whose tools misbehave; without REDIS_URL its sessions live in memory."""

from __future__ import annotations

import json
import os

SECRET_KEY = "a secret of these attacks alone, and long enough for Django's check"
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "mcp_transport", "tests.attack.site"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "tests.attack.site.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
if "REDIS_URL" in os.environ:
    CACHES["default"] = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": os.environ["REDIS_URL"]}

MCP_TRANSPORT = {"NAME": "attacked", **json.loads(os.environ.get("SITE_MCP", "{}"))}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        "mcp_transport": {"handlers": ["console"], "level": os.environ.get("SITE_LOG_LEVEL", "INFO")},
        "mcp": {"handlers": ["console"], "level": os.environ.get("SITE_LOG_LEVEL", "WARNING")},
    },
}
