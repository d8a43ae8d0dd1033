"""Envelopes are accepted and refused exactly as by the SDK, on the fast path and otherwise."""

from __future__ import annotations

import base64
from itertools import product
from typing import Any

from mcp.server.mcpserver import MCPServer

from mcp_transport.exceptions import ProtocolError
from mcp_transport.kernel import ClientInfo, Kernel
from mcp_transport.kernel.fast_path.path import _headers_match
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.jsonrpc import Request
from tests.support.kernel import ON_THE_FAST_PATH

VERSION = "2026-07-28"
PREFIX = "io.modelcontextprotocol/"
ENCODED = f"=?base64?{base64.b64encode('größe'.encode()).decode()}?="

METAS: list[Any] = [
    {"protocolVersion": VERSION, "clientCapabilities": {}, "clientInfo": {"name": "c", "version": "1"}},
    {"protocolVersion": VERSION, "clientCapabilities": {}},
    {"protocolVersion": VERSION},
    {"clientCapabilities": {}},
    {"protocolVersion": "2027-01-01", "clientCapabilities": {}},
    {"protocolVersion": None, "clientCapabilities": {}},
    {"protocolVersion": [VERSION], "clientCapabilities": {}},
]
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("tools/list", {}),
    ("tools/call", {"name": "add"}),
    ("tools/call", {"name": 5}),
    ("tools/call", {"name": "größe"}),
    ("tools/call", {"name": ENCODED}),
    ("tools/call", {"name": "=?"}),
    ("tools/call", {}),
    ("resources/read", {"uri": "shop://a", "name": "b"}),
]
VERSIONS = [None, VERSION, "2027-01-01"]
METHODS = [None, "tools/call", "tools/list", "resources/read"]
NAMES = [None, "add", "shop://a", "b", ENCODED, "=?", "5"]


def verdict(kernel: Kernel, request: Request, headers: Headers) -> ClientInfo | tuple[int, int, str, Any]:
    try:
        return kernel.open_envelope(request, headers, (VERSION,))
    except ProtocolError as error:
        return error.status, error.code, error.message, error.data


@ON_THE_FAST_PATH
def test_both_ways_judge_the_same() -> None:
    cases = []
    for (method, params), meta, lines in product(CALLS, METAS, product(VERSIONS, METHODS, NAMES)):
        named = {f"{PREFIX}{name}": value for name, value in meta.items()}
        headers = zip(("mcp-protocol-version", "mcp-method", "mcp-name"), lines, strict=True)
        present = Headers([(name, value) for name, value in headers if value is not None])
        cases.append((Request(1, method, params | {"_meta": named}), present))
    server: MCPServer[Any] = MCPServer("envelopes")
    fast, own = ([verdict(Kernel(server, fast=fast), *case) for case in cases] for fast in (True, False))
    assert fast == own
    assert sum(_headers_match(request, headers, (VERSION,)) for request, headers in cases) > 20
    assert len({str(outcome) for outcome in fast}) > 5
