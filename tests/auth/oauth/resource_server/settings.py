"""Settings of the resource server: it knows nobody itself, and asks the authorization server about every token."""

from __future__ import annotations

import os

from tests.auth.oauth.accounts import RESOURCE_SERVER

_ISSUER = os.environ["ORDERS_ISSUER"]

SECRET_KEY = "a-key-for-tests-only-which-protects-nothing-at-all"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "mcp_transport",
    "tests.auth.oauth.resource_server",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",  # neither MCP nor the metadata may fall for it
]
ROOT_URLCONF = "tests.auth.oauth.resource_server.urls"
# All of it, so that a test can look for tokens in it.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"mcp_transport": {"handlers": ["console"], "level": "DEBUG"}},
}
MCP_TRANSPORT = {
    "NAME": "orders",
    "TITLE": "Orders",
    "RESOURCE_URL": os.environ["ORDERS_URL"],
    "REQUIRED_SCOPES": ["orders:read"],
    "AUTHENTICATORS": [
        {
            "BACKEND": "introspection",
            # The toolkit binds tokens to the `resource` that clients ask for (RFC 8707), and its introspection says
            # so as `aud`: REQUIRE_AUDIENCE stays on.
            "OPTIONS": {
                "URL": f"{_ISSUER}/introspect/",
                "ISSUER": _ISSUER,
                "CLIENT_ID": RESOURCE_SERVER.client_id,
                "CLIENT_SECRET": RESOURCE_SERVER.client_secret,
                "CACHE_SECONDS": 0,  # what these tests do to a token shows at once
            },
        }
    ],
}
