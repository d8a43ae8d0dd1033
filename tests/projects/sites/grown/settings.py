"""Settings of a project that has grown for years."""

from __future__ import annotations

import os

from tests.projects.databases import postgres

SECRET_KEY = "a-key-for-tests-only-which-protects-nothing-at-all"
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
_POOLED = {
    "ATOMIC_REQUESTS": True,
    "CONN_HEALTH_CHECKS": True,
    "OPTIONS": {"pool": {"min_size": 1, "max_size": 8, "timeout": 10}},
}
DATABASES = {"default": postgres(**_POOLED), "archive": postgres("archive", **_POOLED)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "grown.Person"
INSTALLED_APPS = [
    *(["daphne"] if os.environ.get("SITE_DAPHNE") else []),  # replaces runserver
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "mcp_transport",
    "mcp_transport.contrib.tokens",
    "tests.projects.sites.grown",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "tests.projects.middleware.TimezoneMiddleware",
]
if os.environ.get("SITE_MIDDLEWARE") == "async":
    _PLAIN = ("whitenoise.middleware.WhiteNoiseMiddleware", "tests.projects.middleware.TimezoneMiddleware")
    MIDDLEWARE = [path for path in MIDDLEWARE if path not in _PLAIN]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "tests.projects.sites.grown.urls"
ASGI_APPLICATION = "tests.projects.sites.grown.asgi.application"
WSGI_APPLICATION = "tests.projects.sites.grown.wsgi.application"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = os.environ["SITE_STATIC"]
CORS_ALLOWED_ORIGINS = ["https://app.example.com"]
CORS_URLS_REGEX = r"^/(api|mcp)"
MCP_TRANSPORT = {"NAME": "grown", "VERSION": "1.0", "AUTHENTICATORS": ["token", "user", None]}
