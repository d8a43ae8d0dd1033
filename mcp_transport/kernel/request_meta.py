"""The envelope of a 2026-07-28 request: `_meta` and the headers that repeat the body."""

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
from mcp_transport.protocol.versions import quoted_version

__all__ = ["HeaderParameters", "open_envelope", "request_headers"]

# The prefix of a header value that may be base64 (2026-07-28, streamable-http, custom headers).
_ENCODED_PREFIX: Final = "=?"


def open_envelope(request: Request, headers: Headers, versions: Sequence[str]) -> ClientInfo:
    """Check the envelope and headers of a sessionless request; return the client's information.

    Raises:
        ProtocolError: 400 with -32602, -32020 or -32022 (2026-07-28, basic and streamable-http).
    """
    meta = request.meta
    if not _headers_match(request, meta, headers, versions):
        _check_served_version(meta, headers, versions)
        body = {"method": request.method, "params": request.params}
        result = classify_inbound_request(body, headers=headers, supported_modern_versions=versions)
        if isinstance(result, InboundLadderRejection):
            raise _protocol_error(result)
    return ClientInfo(
        protocol_version=meta[PROTOCOL_VERSION_META_KEY],
        client_info=meta.get(CLIENT_INFO_META_KEY),
        capabilities=meta[CLIENT_CAPABILITIES_META_KEY],
    )


def request_headers(method: str, params: Mapping[str, Any], schema: Any = None) -> dict[str, str]:
    """Return the headers in which a client repeats parts of a request; `schema` is the tool's, if it is known."""
    headers = {"Mcp-Method": method}
    if isinstance(name := params.get(NAME_BEARING_METHODS.get(method, "")), str):
        headers["Mcp-Name"] = encode_header_value(name)
    if schema is not None:
        headers |= mcp_param_headers(x_mcp_header_map(schema), params.get("arguments") or {})
    return headers


def _headers_match(request: Request, meta: Mapping[str, Any], headers: Headers, versions: Sequence[str]) -> bool:
    """Return whether headers and body match literally; the SDK checks everything else, at a higher cost."""
    version, method = meta.get(PROTOCOL_VERSION_META_KEY), request.method
    if version not in versions or CLIENT_CAPABILITIES_META_KEY not in meta:
        return False
    if headers.get("mcp-protocol-version") != version or headers.get("mcp-method") != method:
        return False
    if (member := NAME_BEARING_METHODS.get(method)) is None:
        return True
    name = (request.params or {}).get(member)
    return name is None or (headers.get("mcp-name") == name and not name.startswith(_ENCODED_PREFIX))


def _check_served_version(meta: Mapping[str, Any], headers: Headers, versions: Sequence[str]) -> None:
    """Refuse a revision that is not served before checking its headers: a future one may have others.

    Raises: ProtocolError with 400 / -32022.
    """
    version = meta.get(PROTOCOL_VERSION_META_KEY)
    is_consistent = isinstance(version, str) and headers.get("mcp-protocol-version") == version
    if is_consistent and CLIENT_CAPABILITIES_META_KEY in meta and version not in versions:
        data = {"supported": list(versions), "requested": quoted_version(version)}
        raise ProtocolError(400, UNSUPPORTED_VERSION, "Unsupported protocol version", data=data)


class HeaderParameters:
    """Compares arguments with the Mcp-Param-* headers that repeat them."""

    def __init__(self) -> None:
        self._annotated: dict[str, tuple[Any, bool]] = {}

    def check(self, name: str, schema: Any, arguments: Mapping[str, Any], headers: Headers) -> None:
        """Check the arguments of a call of the tool `name` against the headers.

        Raises: ProtocolError with 400 / -32020 (2026-07-28, streamable-http, "Custom headers").
        """
        if not self._has_any(name, schema):
            return
        rejection = validate_mcp_param_headers(schema, arguments, _LineView(headers))
        if rejection is not None:
            raise _protocol_error(rejection)

    def _has_any(self, name: str, schema: Any) -> bool:
        """Return whether a schema annotates any argument with a header; cached per schema object."""
        cached = self._annotated.get(name)
        if cached is None or cached[0] is not schema:
            has_any = find_invalid_x_mcp_header(schema) is None and bool(x_mcp_header_map(schema))
            cached = self._annotated[name] = (schema, has_any)
        return cached[1]


class _LineView(Mapping[str, str]):
    """Header lines as a mapping whose `items` include duplicates, which the SDK's check must see."""

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


def _protocol_error(rejection: InboundLadderRejection) -> ProtocolError:
    return ProtocolError(400, rejection.code, rejection.message, data=rejection.data)
