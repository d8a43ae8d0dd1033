"""Builds the authentication from the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from mcp_transport import conf
from mcp_transport.auth.authentication import Authentication
from mcp_transport.auth.authenticator import Authenticator
from mcp_transport.auth.options import check_keys, keyword_arguments
from mcp_transport.auth.resource import Resource
from mcp_transport.engine.endpoint import CallContexts

__all__ = ["AUTHENTICATORS", "build_authentication", "build_resource"]

AUTHENTICATORS: Final[Mapping[str, str]] = {
    "user": "mcp_transport.auth.request_user.UserAuthenticator",
    "session": "mcp_transport.auth.session_cookie.SessionAuthenticator",
    "jwt": "mcp_transport.auth.jwt.JWTAuthenticator",
    "introspection": "mcp_transport.auth.introspection.IntrospectionAuthenticator",
    "token": "mcp_transport.contrib.tokens.authenticator.TokenAuthenticator",
    "drf": "mcp_transport.auth.drf.DRFAuthenticator",
    "aws": "mcp_transport.auth.aws.AWSAuthenticator",
}
"""The bundled authenticators, by their names in the settings."""


def build_authentication(context: CallContexts | None = None) -> Authentication:
    """Build the authentication; `context` is entered around its authenticators.

    Raises:
        ImproperlyConfigured: an entry of AUTHENTICATORS cannot be imported, or its options are invalid.
    """
    entries = conf.get("AUTHENTICATORS")
    authenticators = [_build(entry) for entry in entries if entry is not None]
    return Authentication(
        authenticators,
        is_open=None in entries,
        resource=build_resource(authenticators),
        implied=conf.get("IMPLIED_SCOPES"),
        context=context,
    )


def build_resource(authenticators: list[Authenticator]) -> Resource:
    """Build the protected resource, from which unauthenticated clients discover how to get credentials."""
    servers = conf.get("AUTHORIZATION_SERVERS")
    if servers is None:
        servers = [server for authenticator in authenticators for server in authenticator.authorization_servers]
    named = dict.fromkeys(authenticator.scheme for authenticator in authenticators)  # a set would lose the order
    schemes = sorted(named, key=lambda name: name != "Bearer")
    return Resource(
        url=conf.get("RESOURCE_URL"),
        name=conf.get("TITLE") or conf.get("NAME"),
        documentation=conf.get("WEBSITE_URL") or "",
        authorization_servers=tuple(dict.fromkeys(servers)),
        scopes=tuple(conf.get("REQUIRED_SCOPES")),
        schemes=tuple(schemes) or ("Bearer",),
    )


def _build(entry: Any) -> Authenticator:
    config: Any = {"BACKEND": entry} if isinstance(entry, str) else entry
    if not isinstance(config, Mapping) or not isinstance(config.get("BACKEND"), str):
        raise ImproperlyConfigured(
            "an entry of MCP_TRANSPORT['AUTHENTICATORS'] must be a name, a dotted path, None or a dict of BACKEND "
            f"and OPTIONS, got {type(entry).__name__}"
        )
    name = config["BACKEND"]
    check_keys(f"MCP_TRANSPORT['AUTHENTICATORS']: the entry of {name!r}", config, ("BACKEND", "OPTIONS"))
    try:
        kind = import_string(AUTHENTICATORS.get(name, name))
    except ImportError as error:
        fault = f"must be one of {', '.join(AUTHENTICATORS)}, or the dotted path of a class: {error}"
        if name in AUTHENTICATORS:
            command = f"pip install 'django-mcp-transport[{'rest' if name == 'drf' else 'oauth'}]'"
            fault = f"needs packages that are not installed ({error}): {command}"
        raise ImproperlyConfigured(f"MCP_TRANSPORT['AUTHENTICATORS']: {name!r} {fault}") from error
    try:
        built = kind(**keyword_arguments(kind, name, config.get("OPTIONS", {})))
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"MCP_TRANSPORT['AUTHENTICATORS']: {name!r}: {error}") from error
    if not isinstance(built, Authenticator):
        raise ImproperlyConfigured(f"MCP_TRANSPORT['AUTHENTICATORS']: {name!r} is not a subclass of Authenticator")
    return built
