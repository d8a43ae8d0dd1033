"""Limits of a request's parameters, except arguments, which only the limit of the body applies to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp_transport.engine.codec import encoded_size
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import INVALID_PARAMS
from mcp_transport.protocol.jsonrpc import MAX_ID, Message, Request
from mcp_transport.protocol.request_checks import ClassifiedPost, SessionPost

__all__ = [
    "MAX_INPUT_RESPONSES",
    "MAX_LENGTHS",
    "MAX_LISTEN_BYTES",
    "MAX_LISTEN_URIS",
    "MAX_META_BYTES",
    "VALID_BODY_BYTES",
    "check_params",
]

MAX_LENGTHS: Final[Mapping[str, int]] = {
    "name": 512,
    "uri": 2048,
    "cursor": 1024,
    "requestState": 64 * 1024,
    "ref.name": 512,
    "ref.uri": 2048,
    "argument.name": 512,
    "_meta.progressToken": MAX_ID,
}
"""Maximum characters of names, URIs, cursors and tokens."""
MAX_META_BYTES: Final = 64 * 1024
MAX_LISTEN_URIS: Final = 1000
MAX_LISTEN_BYTES: Final = 256 * 1024
MAX_INPUT_RESPONSES: Final = 100

_PATHS: Final = sorted((max_length, path, *path.rpartition(".")[::2]) for path, max_length in MAX_LENGTHS.items())
# A body of so many bytes cannot exceed any of these limits.
VALID_BODY_BYTES: Final = min(MAX_LENGTHS.values())
# A body of so many bytes has neither too many input responses nor too long a URI.
_VALID_COUNTS_BYTES: Final = min(MAX_INPUT_RESPONSES * len('"":0,'), MAX_LENGTHS["uri"])


def check_params(work: ClassifiedPost, size: int) -> ClassifiedPost:
    """Check the parameters of messages; `size` is that of the body in bytes, above VALID_BODY_BYTES.

    Return the valid part of a batch, with the errors of its other requests.

    Raises:
        ProtocolError: 400 / -32602, which names the member.
    """
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
        if size > _VALID_COUNTS_BYTES:
            _check_counts(message.params)
        if size > MAX_META_BYTES:
            _check_sizes(message.params)


def _check_lengths(params: Mapping[str, Any], size: int) -> None:
    for max_length, path, parent, member in _PATHS:
        if size <= max_length:
            return
        container = params.get(parent) if parent else params
        text = container.get(member) if isinstance(container, dict) else None
        if isinstance(text, str) and len(text) > max_length:
            raise _refusal(f"{path} may have at most {max_length} characters, got {len(text)}")


def _check_counts(params: Mapping[str, Any]) -> None:
    answers = params.get("inputResponses")
    if isinstance(answers, dict) and len(answers) > MAX_INPUT_RESPONSES:
        raise _refusal(f"inputResponses may hold at most {MAX_INPUT_RESPONSES} answers, got {len(answers)}")
    uris = _listen_filter(params).get("resourceSubscriptions")
    if isinstance(uris, list) and len(uris) > MAX_LISTEN_URIS:
        raise _refusal(f"resourceSubscriptions may hold at most {MAX_LISTEN_URIS} URIs, got {len(uris)}")
    max_length = max((len(uri) for uri in uris if isinstance(uri, str)), default=0) if isinstance(uris, list) else 0
    if max_length > MAX_LENGTHS["uri"]:
        raise _refusal(f"a URI in notifications may have at most {MAX_LENGTHS['uri']} characters, got {max_length}")


def _check_sizes(params: Mapping[str, Any]) -> None:
    if encoded_size(params.get("_meta")) > MAX_META_BYTES:
        raise _refusal(f"_meta may hold at most {MAX_META_BYTES} bytes")
    if encoded_size(_listen_filter(params)) > MAX_LISTEN_BYTES:
        raise _refusal(f"notifications may hold at most {MAX_LISTEN_BYTES} bytes")


def _listen_filter(params: Mapping[str, Any]) -> Mapping[str, Any]:
    listen_filter = params.get("notifications")
    return listen_filter if isinstance(listen_filter, dict) else {}


def _refusal(problem: str) -> ProtocolError:
    return ProtocolError(400, INVALID_PARAMS, f"Invalid params: {problem}")
