"""How many values a request's parameters may hold, apart from what a tool or a prompt is given.

Each costs more than it weighs: an object in `inputResponses` is tried as three models. How long names and URIs may be
is judged before the kernel (`engine.param_limits`).
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

from mcp_transport.kernel.parse_cache import in_short
from mcp_transport.protocol.errors import INVALID_PARAMS
from mcp_transport.protocol.jsonrpc import Request
from mcp_transport.protocol.quoting import cut

__all__ = ["MAX_ANSWER_BYTES", "MAX_VALUES", "TooMuch", "bounded", "check_answer", "json_size", "subscribed"]

# JSON values of all members together, and bytes of each as JSON.
MAX_VALUES: Final = 2000
_MAX_BYTES: Final = 64 * 1024
# What a client's user, model or file system answered, in a request or in a reply.
MAX_ANSWER_BYTES: Final = 1024 * 1024

# What holds answers, or URIs, which are bounded before.
_LARGER: Final = {"inputResponses": MAX_ANSWER_BYTES, "notifications": MAX_ANSWER_BYTES}

_LISTEN: Final = "subscriptions/listen"
_KNOWN: Final = SPEC_CLIENT_METHODS | SPEC_CLIENT_NOTIFICATION_METHODS
# What a handler judges itself; `requestState` is a server's own, and sealed.
_FREE: Final = frozenset({"arguments", "requestState"})


class TooMuch(MCPError):
    """A client sent more than it may."""

    def __init__(self, where: str, most: str, got: object) -> None:
        super().__init__(INVALID_PARAMS, f"{where} may hold {most}, got {got}")


def bounded(request: Request, *, counts_arguments: bool = False) -> Request:
    """Return a request whose parameters hold no more values than they may, each URI of a subscription once.

    A method that MCP does not know has parameters of its own; of these only `_meta` is looked at.

    Raises: TooMuch.
    """
    params = request.params or {}
    if request.method not in _KNOWN:
        params = {"_meta": params.get("_meta")}
    if request.method == _LISTEN and (uris := subscribed(request)):
        wanted = {**params["notifications"], "resourceSubscriptions": uris}
        params = {**params, "notifications": wanted}
        request = replace(request, params=params)
    if in_short(params) is None:
        _check_members({name: value for name, value in params.items() if counts_arguments or name not in _FREE})
    return request


def check_answer(answer: Mapping[str, Any]) -> None:
    """Refuse a client's answer to a question that is too long. Raises: TooMuch."""
    if in_short(answer) is None:
        _check_count("the answer to a question", answer)
        _check_size("the answer to a question", answer, MAX_ANSWER_BYTES)


def subscribed(request: Request) -> list[Any]:
    """Return the URIs that `subscriptions/listen` names, each once; nothing where it is malformed."""
    wanted = (request.params or {}).get("notifications")
    uris = wanted.get("resourceSubscriptions") if isinstance(wanted, Mapping) else None
    if not isinstance(uris, list):
        return []
    odd = next(([uri] for uri in uris if not isinstance(uri, str)), [])  # which is the SDK's to refuse
    return [*dict.fromkeys(uri for uri in uris if isinstance(uri, str)), *odd]


def _check_members(members: Mapping[str, Any]) -> None:
    _check_count("params, apart from arguments and requestState,", members)
    for name, value in members.items():
        if name not in _FREE:
            _check_size(f"params.{cut(name)}", value, _LARGER.get(name, _MAX_BYTES))


def _check_count(where: str, value: Any) -> None:
    if _holds_more(value, MAX_VALUES):
        raise TooMuch(where, f"{MAX_VALUES} JSON values", "more")


def _check_size(where: str, value: Any, most: int) -> None:
    if json_size(value) > most:
        raise TooMuch(where, f"{most} bytes of JSON", "more")


def json_size(value: Any) -> int:
    """Return how many bytes a value takes as JSON, or more than fit anywhere for one that is nested too deep."""
    try:
        return len(orjson.dumps(value))
    except TypeError as error:
        if "64-bit" not in str(error):  # orjson's words for an integer that only the standard library writes
            return sys.maxsize
        return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def _holds_more(value: Any, most: int) -> bool:
    """Tell whether there are more than `most` values inside."""
    waiting, left = [value], most
    while waiting:
        inside = waiting.pop()
        left -= len(inside)
        if left < 0:
            return True
        items = inside.values() if isinstance(inside, Mapping) else inside
        waiting += [item for item in items if isinstance(item, dict | list)]
    return False
