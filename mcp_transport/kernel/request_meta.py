"""What a request of 2026-07-28 says of itself, in `_meta` and in headers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mcp.shared.inbound import (
    NAME_BEARING_METHODS,
    InboundLadderRejection,
    classify_inbound_request,
    encode_header_value,
    find_invalid_x_mcp_header,
    mcp_param_headers,
    validate_mcp_param_headers,
    x_mcp_header_map,
)
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY

from mcp_transport.exceptions import ProtocolError
from mcp_transport.kernel.types import ClientInfo
from mcp_transport.protocol.errors import UNSUPPORTED_VERSION
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.jsonrpc import Request
from mcp_transport.protocol.versions import named_version

__all__ = ["HeaderParameters", "open_envelope", "request_headers"]

# A header that begins so may be base64 (2026-07-28, streamable-http, custom headers).
_ENCODED: Final = "=?"


def open_envelope(request: Request, headers: Headers, versions: Sequence[str]) -> ClientInfo:
    """Check a sessionless request's envelope and headers, and read the client's facts from it.

    Raises:
        ProtocolError: 400 with -32602, -32020 or -32022 (2026-07-28, basic and streamable-http).
    """
    meta = request.meta
    if not _agrees(request, meta, headers, versions):
        _check_served_version(meta, headers, versions)
        body = {"method": request.method, "params": request.params}
        verdict = classify_inbound_request(body, headers=headers, supported_modern_versions=versions)
        if isinstance(verdict, InboundLadderRejection):
            raise _rejection(verdict)
    return ClientInfo(
        protocol_version=meta[PROTOCOL_VERSION_META_KEY],
        client_info=meta.get(CLIENT_INFO_META_KEY),
        capabilities=meta[CLIENT_CAPABILITIES_META_KEY],
    )


def request_headers(method: str, params: Mapping[str, Any], schema: Any = None) -> dict[str, str]:
    """Return the headers in which a client repeats what a request says; `schema` is the called tool's, if known."""
    headers = {"Mcp-Method": method}
    if isinstance(named := params.get(NAME_BEARING_METHODS.get(method, "")), str):
        headers["Mcp-Name"] = encode_header_value(named)
    if schema is not None:
        headers |= mcp_param_headers(x_mcp_header_map(schema), params.get("arguments") or {})
    return headers


def _agrees(request: Request, meta: Mapping[str, Any], headers: Headers, versions: Sequence[str]) -> bool:
    """Tell whether body and headers say the same to the letter; anything else is for the SDK to judge."""
    version, method = meta.get(PROTOCOL_VERSION_META_KEY), request.method
    if version not in versions or CLIENT_CAPABILITIES_META_KEY not in meta:
        return False
    if headers.get("mcp-protocol-version") != version or headers.get("mcp-method") != method:
        return False
    if (member := NAME_BEARING_METHODS.get(method)) is None:
        return True
    named = (request.params or {}).get(member)
    return named is None or (headers.get("mcp-name") == named and not named.startswith(_ENCODED))


def _check_served_version(meta: Mapping[str, Any], headers: Headers, versions: Sequence[str]) -> None:
    """Refuse another revision before its headers are judged: those of a future one may be others.

    Raises: ProtocolError with 400 / -32022.
    """
    version = meta.get(PROTOCOL_VERSION_META_KEY)
    agreed = isinstance(version, str) and headers.get("mcp-protocol-version") == version
    if agreed and CLIENT_CAPABILITIES_META_KEY in meta and version not in versions:
        data = {"supported": list(versions), "requested": named_version(version)}
        raise ProtocolError(400, UNSUPPORTED_VERSION, "Unsupported protocol version", data=data)


class HeaderParameters:
    """Compares arguments with the Mcp-Param-* headers that repeat them."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, bool]] = {}

    def check(self, name: str, schema: Any, arguments: Mapping[str, Any], headers: Headers) -> None:
        """Compare the arguments of a call of the tool `name`.

        Raises: ProtocolError with 400 / -32020 (2026-07-28, streamable-http, "Custom headers").
        """
        if not self._has_any(name, schema):
            return
        rejection = validate_mcp_param_headers(schema, arguments, _LineView(headers))
        if rejection is not None:
            raise _rejection(rejection)

    def _has_any(self, name: str, schema: Any) -> bool:
        """Tell whether a tool takes any argument from a header; a schema is looked through once."""
        known = self._known.get(name)
        if known is None or known[0] is not schema:
            has_any = find_invalid_x_mcp_header(schema) is None and bool(x_mcp_header_map(schema))
            known = self._known[name] = (schema, has_any)
        return known[1]


class _LineView(Mapping[str, str]):
    """All header lines under their own names, duplicates included, as the SDK's check wants to see them."""

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        return self._headers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)

    def items(self) -> Any:
        return self._headers.pairs()


def _rejection(verdict: InboundLadderRejection) -> ProtocolError:
    return ProtocolError(400, verdict.code, verdict.message, data=verdict.data)
