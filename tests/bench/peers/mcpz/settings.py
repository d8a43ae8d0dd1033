"""Settings as in production."""

from __future__ import annotations

SECRET_KEY = "a secret of the benchmark alone, and long enough for Django's check"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_mcpz"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "tests.bench.peers.mcpz.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
