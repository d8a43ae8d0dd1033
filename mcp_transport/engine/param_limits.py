"""How much a request's parameters may hold besides arguments, which only the whole body bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp_transport.engine.codec import encoded_size
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import INVALID_PARAMS
from mcp_transport.protocol.jsonrpc import MAX_ID, Message, Request
from mcp_transport.protocol.request_checks import ClassifiedPost, SessionPost

__all__ = ["LONGEST", "MAX_INPUT_RESPONSES", "MAX_LISTENED", "MAX_LISTENED_BYTES", "MAX_META_BYTES", "check_params"]

LONGEST: Final[Mapping[str, int]] = {
    "name": 512,
    "uri": 2048,
    "cursor": 1024,
    "requestState": 64 * 1024,
    "ref.name": 512,
    "ref.uri": 2048,
    "argument.name": 512,
    "_meta.progressToken": MAX_ID,
}
"""Characters of the strings that name something, or that a server gave out."""
MAX_META_BYTES: Final = 64 * 1024
MAX_LISTENED: Final = 1000
MAX_LISTENED_BYTES: Final = 256 * 1024
MAX_INPUT_RESPONSES: Final = 100

_PATHS: Final = sorted((longest, path, *path.rpartition(".")[::2]) for path, longest in LONGEST.items())
# A body of so many bytes can break none of these limits.
_SHORT: Final = min(LONGEST.values())
# One of so many bytes has neither too many input responses nor too long a URI.
_FEW: Final = min(MAX_INPUT_RESPONSES * len('"":0,'), LONGEST["uri"])


def check_params(work: ClassifiedPost, size: int) -> ClassifiedPost:
    """Refuse parameters that are too long; `size` is that of the body which holds the messages.

    Return what is left of a batch: one of its requests costs the others nothing.

    Raises:
        ProtocolError: 400 / -32602, naming the member.
    """
    if size <= _SHORT:
        return work
    if isinstance(work, SessionPost) and work.batch:
        return _checked_batch(work, size)
    for message in work.messages:
        _check(message, size)
    return work


def _checked_batch(work: SessionPost, size: int) -> SessionPost:
    messages, faults = [], list(work.faults)
    for message in work.messages:
        try:
            _check(message, size)
            messages.append(message)
        except ProtocolError as error:
            error.request_id = message.id if isinstance(message, Request) else None
            faults.append(error)
    return SessionPost(tuple(messages), True, tuple(faults))


def _check(message: Message, size: int) -> None:
    if isinstance(message, Request) and message.params:
        _check_lengths(message.params, size)
        if size > _FEW:
            _check_counts(message.params)
        if size > MAX_META_BYTES:
            _check_sizes(message.params)


def _check_lengths(params: Mapping[str, Any], size: int) -> None:
    for longest, path, parent, member in _PATHS:
        if size <= longest:
            return
        holder = params.get(parent) if parent else params
        word = holder.get(member) if isinstance(holder, dict) else None
        if isinstance(word, str) and len(word) > longest:
            raise _refusal(f"{path} may have {longest} characters, got {len(word)}")


def _check_counts(params: Mapping[str, Any]) -> None:
    answers = params.get("inputResponses")
    if isinstance(answers, dict) and len(answers) > MAX_INPUT_RESPONSES:
        raise _refusal(f"inputResponses may hold {MAX_INPUT_RESPONSES} answers, got {len(answers)}")
    uris = _listened(params).get("resourceSubscriptions")
    if isinstance(uris, list) and len(uris) > MAX_LISTENED:
        raise _refusal(f"notifications.resourceSubscriptions may hold {MAX_LISTENED} URIs, got {len(uris)}")
    longest = max((len(uri) for uri in uris if isinstance(uri, str)), default=0) if isinstance(uris, list) else 0
    if longest > LONGEST["uri"]:
        raise _refusal(f"a URI in notifications may have {LONGEST['uri']} characters, got {longest}")


def _check_sizes(params: Mapping[str, Any]) -> None:
    if encoded_size(params.get("_meta")) > MAX_META_BYTES:
        raise _refusal(f"_meta may hold {MAX_META_BYTES} bytes, it holds more")
    if encoded_size(_listened(params)) > MAX_LISTENED_BYTES:
        raise _refusal(f"notifications may hold {MAX_LISTENED_BYTES} bytes, it holds more")


def _listened(params: Mapping[str, Any]) -> Mapping[str, Any]:
    listened = params.get("notifications")
    return listened if isinstance(listened, dict) else {}


def _refusal(problem: str) -> ProtocolError:
    return ProtocolError(400, INVALID_PARAMS, f"Invalid params: {problem}")
