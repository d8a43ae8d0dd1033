"""Settings of a project that has nothing but tools."""

from __future__ import annotations

import os

SECRET_KEY = "a-key-for-tests-only-which-protects-nothing-at-all"
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
INSTALLED_APPS = [
    *(["daphne"] if os.environ.get("SITE_DAPHNE") else []),  # replaces runserver
    "mcp_transport",
    "tests.projects.sites.bare",
]
ROOT_URLCONF = "tests.projects.sites.bare.urls"
ASGI_APPLICATION = "tests.projects.sites.bare.asgi.application"
WSGI_APPLICATION = "tests.projects.sites.bare.wsgi.application"
USE_TZ = True
MCP_TRANSPORT = {"NAME": "bare", "VERSION": "1.0", "AUTHENTICATORS": [None]}
