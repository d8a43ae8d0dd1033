"""Settings as in production of the Django projects that the package is measured against."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings

REDIS = "django.core.cache.backends.redis.RedisCache"
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"


def set_up(urls: str, app: str, **more: Any) -> None:
    """Configure a project whose URLs are in a module."""
    settings.configure(
        SECRET_KEY="a secret of the benchmark alone, and long enough for Django's check",
        ALLOWED_HOSTS=["127.0.0.1"],
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", app],
        MIDDLEWARE=[],
        ROOT_URLCONF=urls,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        LOGGING={
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"console": {"class": "logging.StreamHandler"}},
            "root": {"handlers": ["console"], "level": "ERROR"},
        },
        **more,
    )
    django.setup()
