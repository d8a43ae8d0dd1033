"""Limits on the size of a request's parameters, other than the arguments of tools and prompts.

Validation costs more than a value's size suggests: pydantic tries an object in `inputResponses` as three models.
`engine.param_limits` checks the length of names and URIs before.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson
from mcp.shared.exceptions import MCPError
from mcp_types.methods import SPEC_CLIENT_METHODS, SPEC_CLIENT_NOTIFICATION_METHODS

from mcp_transport.kernel.arguments import short_json
from mcp_transport.protocol.errors import INVALID_PARAMS
from mcp_transport.protocol.jsonrpc import Request
from mcp_transport.protocol.quoting import truncate
from mcp_transport.protocol.targets import LISTEN, listen_uris

__all__ = ["MAX_ANSWER_BYTES", "MAX_VALUES", "LimitError", "check_answer", "json_size", "limit_params"]

# JSON values of all members together, and bytes of each member as JSON.
MAX_VALUES: Final = 2000
_MAX_MEMBER_BYTES: Final = 64 * 1024
# Bytes of what a client's user, model or file system answered, in `inputResponses` or in a response.
MAX_ANSWER_BYTES: Final = 1024 * 1024

# Members that hold answers, or URIs, whose number and length are limited before.
_LARGE_MEMBERS: Final = {"inputResponses": MAX_ANSWER_BYTES, "notifications": MAX_ANSWER_BYTES}

_SPEC_METHODS: Final = SPEC_CLIENT_METHODS | SPEC_CLIENT_NOTIFICATION_METHODS
# Members that a handler checks itself; `requestState` comes from the server and is sealed.
_UNCHECKED: Final = frozenset({"arguments", "requestState"})


class LimitError(MCPError):
    """A message of the client exceeds a size limit."""

    def __init__(self, where: str, limit: str, size: object) -> None:
        super().__init__(INVALID_PARAMS, f"{where} may hold at most {limit}, got {size}")


def limit_params(request: Request, *, counts_arguments: bool = False) -> Request:
    """Check the size of a request's parameters; return the request without duplicate subscription URIs.

    Of a method outside the specification, only `_meta` is checked.

    Raises: LimitError.
    """
    params = request.params or {}
    if request.method not in _SPEC_METHODS:
        params = {"_meta": params.get("_meta")}
    if request.method == LISTEN and (uris := listen_uris(request)):
        notifications = {**params["notifications"], "resourceSubscriptions": uris}
        params = {**params, "notifications": notifications}
        request = replace(request, params=params)
    if short_json(params) is None:
        _check_members({name: value for name, value in params.items() if counts_arguments or name not in _UNCHECKED})
    return request


def check_answer(answer: Mapping[str, Any]) -> None:
    """Check the size of a client's answer to a request of the server. Raises: LimitError."""
    if short_json(answer) is None:
        _check_count("the response to a server request", answer)
        _check_size("the response to a server request", answer, MAX_ANSWER_BYTES)


def _check_members(members: Mapping[str, Any]) -> None:
    _check_count("params, apart from arguments and requestState,", members)
    for name, value in members.items():
        if name not in _UNCHECKED:
            _check_size(f"params.{truncate(name)}", value, _LARGE_MEMBERS.get(name, _MAX_MEMBER_BYTES))


def _check_count(where: str, value: Any) -> None:
    if _holds_more(value, MAX_VALUES):
        raise LimitError(where, f"{MAX_VALUES} JSON values", "more")


def _check_size(where: str, value: Any, limit: int) -> None:
    if json_size(value) > limit:
        raise LimitError(where, f"{limit} bytes of JSON", "more")


def json_size(value: Any) -> int:
    """Return the size of a value as JSON in bytes; `sys.maxsize` if it is nested too deep to be encoded."""
    try:
        return len(orjson.dumps(value))
    except TypeError as error:
        if "64-bit" not in str(error):  # orjson refuses larger integers; the standard library encodes them
            return sys.maxsize
        return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass"))


def _holds_more(value: Any, limit: int) -> bool:
    """Return whether a container holds more than `limit` values, nested ones included; without recursion."""
    containers, remaining = [value], limit
    while containers:
        container = containers.pop()
        remaining -= len(container)
        if remaining < 0:
            return True
        items = container.values() if isinstance(container, Mapping) else container
        containers += [item for item in items if isinstance(item, dict | list)]
    return False
