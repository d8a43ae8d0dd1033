"""Settings of the demonstration project; deployments configure it through the environment."""

import os
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured


def environment_list(name: str, default: str) -> list[str]:
    """Split a comma-separated environment variable."""
    return [item.strip() for item in os.environ.get(name, default).split(",") if item.strip()]


BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("DJANGO_DEBUG", "true").lower() in {"1", "true", "yes", "on"}

IS_PRODUCTION = not DEBUG

# Public, for development only: without DEBUG the site does not start with it.
DEVELOPMENT_SECRET_KEY = "insecure-development-key-never-use-this-in-production"  # noqa: S105
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", DEVELOPMENT_SECRET_KEY)
if SECRET_KEY == DEVELOPMENT_SECRET_KEY and not DEBUG:
    raise ImproperlyConfigured("Set DJANGO_SECRET_KEY: the development key is not for DJANGO_DEBUG=false.")

ALLOWED_HOSTS = environment_list("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = environment_list("DJANGO_CSRF_TRUSTED_ORIGINS", "")

INSTALLED_APPS = [
    "daphne",  # before staticfiles, so that runserver uses ASGI
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "mcp_transport",
    "mcp_transport.contrib.tokens",
    "mcp_transport.contrib.audit",
    "mcpsite.shop",
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

ROOT_URLCONF = "mcpsite.urls"
ASGI_APPLICATION = "mcpsite.asgi.application"
WSGI_APPLICATION = "mcpsite.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "mcpsite" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("MCPSITE_DATABASE", BASE_DIR / "db.sqlite3"),
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# One process needs no Redis; several processes share it.
REDIS_URL = os.environ.get("REDIS_URL", "")
CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": REDIS_URL}
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{validator}"}
    for validator in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# In production the proxy terminates TLS and sets this header; it must not forward it from clients.
if IS_PRODUCTION:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|health|metrics)$"]  # requested from inside the network
    SECURE_HSTS_SECONDS = int(os.environ.get("DJANGO_HSTS_SECONDS", "3600"))  # raise it after a successful deployment
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"

LOG_LEVEL = os.environ.get("LOG_LEVEL", "INFO").upper()
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname:<7} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "django": {"handlers": ["console"], "level": "INFO", "propagate": False},
        "mcp_transport": {"handlers": ["console"], "level": LOG_LEVEL, "propagate": False},
        "mcpsite": {"handlers": ["console"], "level": LOG_LEVEL, "propagate": False},
    },
}

MCP_TRANSPORT: dict[str, Any] = {
    # Anonymous in development; in production a caller needs a token: `manage.py mcp_tokens create USERNAME`.
    "AUTHENTICATORS": ["token"] if IS_PRODUCTION else ["token", "user", None],
    # Proxies whose X-Forwarded-For is trusted, comma-separated.
    "TRUSTED_PROXIES": [item for item in os.environ.get("DJANGO_TRUSTED_PROXIES", "").split(",") if item],
    # Of a deployment in several regions: the one of this process.
    "REGION": os.environ.get("MCP_REGION", ""),
    "NAME": "shop",
    "TITLE": "Demonstration shop",
    "VERSION": "1.0",
    "INSTRUCTIONS": (
        "A small shop. Find products with search_products, look at one with get_product, "
        "and order with place_order, which asks the user before it buys anything."
    ),
}
# On AWS Lambda, and on ECS without Redis.
if DYNAMODB_TABLE := os.environ.get("DYNAMODB_TABLE", ""):
    MCP_TRANSPORT |= {"BACKEND": "dynamodb", "DYNAMODB": {"TABLE": DYNAMODB_TABLE}}
    if regions := environment_list("DYNAMODB_REGIONS", ""):  # of a global table
        MCP_TRANSPORT["DYNAMODB"]["REGIONS"] = regions
