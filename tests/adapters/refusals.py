"""Single requests and what must come back, as a table."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.http.messages import Session, alone, call, post, rpc
from tests.support.http.request import HOST, Request

ECHO = call("echo", text="x")
_LARGE = b" " * 20_000
_EVENTS = ("Accept", "text/event-stream")
_STRANGER = Session("no-such-session")
_ALLOW = (("Allow", "POST, OPTIONS, GET, DELETE"),)
_PREFLIGHT = Request(
    method="OPTIONS",
    headers=(
        HOST,
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "mcp-param-region"),
    ),
)


@dataclass(frozen=True, slots=True)
class Single:
    """A request, the status of its answer, the JSON-RPC code in it, and headers it must carry."""

    request: Request
    status: int
    code: int | None = None
    headers: tuple[tuple[str, str], ...] = ()


SINGLES: dict[str, Single] = {
    "JSON that is no message": Single(post(None), 400, -32600),
    "broken JSON": Single(Request(headers=post(None).headers, body=b"{"), 400, -32700),
    "no body": Single(Request(headers=post(None).headers), 400, -32700),
    "content type": Single(ECHO.setting("Content-Type", "text/plain"), 415, -32600),
    "no content type": Single(ECHO.without("Content-Type"), 415, -32600),
    "compressed": Single(ECHO.adding(("Content-Encoding", "gzip")), 415, -32600, (("Accept-Encoding", "identity"),)),
    "accept": Single(ECHO.setting("Accept", "text/html"), 406, -32600),
    "accept of GET": Single(_STRANGER.get().setting("Accept", "application/json"), 406, -32600),
    "PUT": Single(Request(method="PUT", headers=(HOST,)), 405, -32600, _ALLOW),
    "PATCH": Single(Request(method="PATCH", headers=(HOST,)), 405, -32600, _ALLOW),
    "HEAD": Single(Request(method="HEAD", headers=(HOST,)), 405, None, _ALLOW),
    "foreign host": Single(ECHO.setting("Host", "evil.example"), 400, -32600),
    "doubled host": Single(ECHO.adding(("Host", "evil.example")), 400),
    "foreign origin": Single(ECHO.adding(("Origin", "https://evil.example")), 403, -32600),
    "null origin": Single(ECHO.adding(("Origin", "null")), 403, -32600),
    "known origin": Single(
        ECHO.adding(("Origin", "https://app.example")),
        200,
        None,
        (("Access-Control-Allow-Origin", "https://app.example"), ("Vary", "Origin")),
    ),
    "preflight": Single(_PREFLIGHT, 204, None, (("Access-Control-Allow-Origin", "https://app.example"),)),
    "foreign preflight": Single(_PREFLIGHT.setting("Origin", "https://evil.example"), 403, -32600),
    "OPTIONS": Single(
        Request(method="OPTIONS", headers=(HOST,)), 204, None, (("Allow", "GET, POST, DELETE, OPTIONS"),)
    ),
    "non-ASCII header": Single(ECHO.setting("Mcp-Name", "caf\xe9"), 400, -32020),
    "doubled header": Single(ECHO.adding(("Mcp-Name", "echo")), 400, -32020),
    "doubled session id": Single(
        _STRANGER.call("echo", text="x").adding(("Mcp-Session-Id", "no-such-session")), 400, -32600
    ),
    "header that differs from the body": Single(ECHO.setting("Mcp-Name", "add"), 400, -32020),
    "too many headers": Single(ECHO.adding(*[(f"A{number}", "1") for number in range(250)]), 431),
    "a list that is too long": Single(ECHO.setting("Accept", "application/json" + "," * 2000), 431, -32600),
    "a session id that is too long": Single(
        _STRANGER.call("echo", text="x").setting("Mcp-Session-Id", "a" * 2000), 404, -32600
    ),
    "unknown method": Single(alone("tools/imagine", {}), 404, -32601),
    "declared body too large": Single(Request(headers=ECHO.headers, body=_LARGE), 413, -32600),
    "chunked body too large": Single(Request(headers=ECHO.headers, chunks=(_LARGE[:8000],) * 3), 413, -32600),
    "chunked body": Single(
        Request(headers=ECHO.headers, chunks=(ECHO.body[:7], ECHO.body[7:60], ECHO.body[60:])), 200
    ),
    "no session id": Single(post(rpc("tools/list")), 400, -32600),
    "no session id of GET": Single(Request(method="GET", headers=(HOST, _EVENTS)), 400, -32600),
    "unknown session": Single(_STRANGER.call("echo", text="x"), 404, -32600),
    "unknown session of GET": Single(_STRANGER.get(), 404, -32600),
    "unknown session of DELETE": Single(_STRANGER.delete(), 404, -32600),
    "trailing slash": Single(Request(path="/mcp/", headers=ECHO.headers, body=ECHO.body), 200),
    "query": Single(Request(path="/mcp?region=eu", headers=ECHO.headers, body=ECHO.body), 200),
    "included with a slash": Single(Request(path="/slashed/", headers=ECHO.headers, body=ECHO.body), 200),
    "longer path": Single(Request(path="/mcpx", headers=ECHO.headers, body=ECHO.body), 404),
    "page of the project": Single(Request(method="GET", path="/page", headers=(HOST,)), 200),
    "healthz": Single(Request(method="GET", path="/healthz", headers=(HOST,)), 200),
    "readyz": Single(Request(method="GET", path="/readyz", headers=(HOST,)), 200),
    "health": Single(Request(method="GET", path="/health", headers=(HOST,)), 200),
}

_NO_GET = (("Allow", "POST, OPTIONS, DELETE"),)

OVER_WSGI: dict[str, Single] = {
    **SINGLES,
    # WSGI sends no streams, so there is no GET: 405 before anything else about it is looked at.
    **{
        name: Single(SINGLES[name].request, 405, SINGLES[name].code, _NO_GET)
        for name in ("accept of GET", "PUT", "PATCH", "HEAD", "no session id of GET", "unknown session of GET")
    },
    # WSGI joins the lines of a header with a comma, so a doubled id is one that nobody was given.
    "doubled session id": Single(SINGLES["doubled session id"].request, 404, -32600),
}
"""The table as it is over WSGI."""
