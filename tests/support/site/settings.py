"""Settings of the served project: what a cautious project has switched on, all of it in the endpoint's way."""

from __future__ import annotations

import os

SECRET_KEY = "a-key-for-tests-only-which-protects-nothing-at-all"
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SITE_DATABASE", ":memory:"),
        "ATOMIC_REQUESTS": True,
    }
}
INSTALLED_APPS = [
    *(["daphne"] if os.environ.get("SITE_DAPHNE") else []),  # replaces runserver
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "mcp_transport",
    "tests.support.site",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "tests.support.site.urls"
ASGI_APPLICATION = f"tests.support.site.asgi.{os.environ.get('SITE_ADAPTER', 'view')}"
WSGI_APPLICATION = "tests.support.site.wsgi.application"
# Django logs a foreign Host with a traceback, which would hide the tracebacks that matter.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"nowhere": {"class": "logging.NullHandler"}, "console": {"class": "logging.StreamHandler"}},
    "loggers": {
        "mcp_transport": {"handlers": ["console"], "level": "DEBUG"},
        "django.security.DisallowedHost": {"handlers": ["nowhere"], "propagate": False},
    },
}
MCP_TRANSPORT = {
    "NAME": "site",
    "VERSION": "1.0",
    "ALLOWED_ORIGINS": ["https://app.example"],
    "MAX_REQUEST_BYTES": 16_384,
    # Only a tool that speaks makes its answer a stream here: nothing depends on how fast the machine is.
    "SSE_AFTER_SECONDS": 60.0,
    "WRITE_TIMEOUT_SECONDS": 1.0,
}
