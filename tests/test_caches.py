"""Each cache of the package is known here; those that clients choose the keys of keep few and short ones."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import mcp_transport
from mcp_transport.adapters import asgi
from mcp_transport.backends.redis import codec, keys
from mcp_transport.domain import session
from mcp_transport.exceptions import ProtocolError
from mcp_transport.kernel.arguments import short_json
from mcp_transport.kernel.fast_path.cache import cached_by_json
from mcp_transport.protocol import headers, origin
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.request_checks import required_session_id

LONGEST = 1024
"""Characters of the longest key that is kept."""


@dataclass(frozen=True)
class ByClients:
    """A cache whose keys clients choose: how to reach it with a text of a length."""

    cache: Any
    reach: Callable[[str], object]


def header(name: str, value: str) -> Headers:
    return Headers.from_asgi([(name.encode(), value.encode())])


def try_session_id(text: str) -> None:
    request = HTTPRequest(method="GET", headers=header("mcp-session-id", text))
    try:
        session.session_key(required_session_id(request))
    except ProtocolError as error:
        assert error.status == 404


BY_CLIENTS = {
    "mcp_transport.protocol.headers._parse_cached": ByClients(
        headers._parse_cached, lambda text: header("accept", text).accepts
    ),
    "mcp_transport.protocol.origin._host_is_allowed": ByClients(
        origin._host_is_allowed, lambda text: origin.host_is_allowed(text, ("*",))
    ),
    "mcp_transport.domain.session.session_key": ByClients(session.session_key, try_session_id),
    "mcp_transport.backends.redis.keys._cached_digest": ByClients(
        keys._cached_digest, lambda text: keys.Keys("").facet("client", text)
    ),
    "mcp_transport.backends.redis.codec._cached_about": ByClients(
        codec._cached_about,
        lambda text: codec._about(b'{"protocol_version":"2025-11-25","user":"%b"}' % text.encode()),
    ),
}

BY_THE_SERVER = {
    "mcp_transport.adapters.asgi._encode_name",
    "mcp_transport.auth.http_client._ssl_context",
    "mcp_transport.auth.user._anonymous_kind",
    "mcp_transport.backends.redis.rates._milliseconds",  # of the costs and capacities of the limits
    "mcp_transport.backends.redis.keys.session_keys",  # of hashes, 26 characters
    "mcp_transport.backends.redis.codec._quoted",  # names of methods and tools, cut to 100 characters
    "mcp_transport.bootstrap._settings_error",
    "mcp_transport.contrib.doctor.events._node",
    "mcp_transport.deployment.rendering._engine",
    "mcp_transport.engine.codec._value_count_pattern",
    "mcp_transport.engine.session_id._cipher",
    "mcp_transport.kernel.arguments._fail_fast_validator",
    "mcp_transport.kernel.arguments._non_string_arguments",
    "mcp_transport.kernel.fast_path.path._wrapped_scalar",
    "mcp_transport.kernel.text_arguments._model",
    "mcp_transport.model_fields._plain_type",
    "mcp_transport.model_fields._plan",
    "mcp_transport.model_fields.served_fields",
    "mcp_transport.protocol.client_address._block",  # of 80 characters at most
    "mcp_transport.protocol.request_checks._served_methods",
    "mcp_transport.protocol.versions.sessionful",
    "mcp_transport.protocol.versions.sessionless",
    "mcp_transport.redaction._kind",
    "mcp_transport.redaction._code",
    "mcp_transport.return_types._schema",
    "mcp_transport.serialization._unchecked_members",
}
"""Caches of settings, of declarations and of code."""


def caches() -> dict[str, Any]:
    """Return every cached function of the package's modules."""
    found = {}
    for info in pkgutil.walk_packages(mcp_transport.__path__, "mcp_transport."):
        for name, value in vars(importlib.import_module(info.name)).items():
            if hasattr(value, "cache_info") and value.__module__ == info.name:
                found[f"{info.name}.{name}"] = value
    return found


def test_every_cache_is_known_to_be_keyed_by_clients_or_by_the_server() -> None:
    assert set(caches()) == set(BY_CLIENTS) | BY_THE_SERVER


@pytest.mark.parametrize("name", BY_CLIENTS)
def test_a_cache_that_clients_choose_the_keys_of_is_bounded_and_keeps_no_long_text(name: str) -> None:
    cache, reach = BY_CLIENTS[name].cache, BY_CLIENTS[name].reach
    assert caches()[name] is cache
    assert cache.cache_info().maxsize * LONGEST <= 4 * 1024 * 1024
    cache.cache_clear()
    for _ in range(2):
        reach("a" * 100)
    assert cache.cache_info().hits >= 1, "a short text is looked up"
    kept = cache.cache_info().currsize
    assert kept == 1
    reach("a" * (LONGEST + 1))
    assert cache.cache_info().currsize == kept


def test_what_clients_say_of_themselves_is_kept_if_it_is_short() -> None:
    reads: list[Any] = []
    recall = cached_by_json(lambda version, value: reads.append(value))
    for _ in range(2):
        recall("2026-07-28", {"name": "short"})
        recall("2026-07-28", {"name": "a" * 3000})
    assert len(reads) == 3
    assert short_json("a" * 3000) is None


def test_values_of_answers_are_not_kept() -> None:
    asgi._encode_name.cache_clear()
    for number in range(100):
        asgi._encode([("Access-Control-Allow-Headers", f"Mcp-Param-{number}")])
    assert asgi._encode_name.cache_info().currsize == 1
