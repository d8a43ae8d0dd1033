"""The first rule: an MCP endpoint answers, or what answers in its place."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from mcp_transport.doctor.connection_faults import Fault
from mcp_transport.doctor.findings import Finding, ok, problem
from mcp_transport.doctor.observations import Observations, Response

__all__ = ["reachable"]

_EXPECTED: Final = "the endpoint answers initialize: 200, or 401 if it requires credentials"
_TITLE: Final = re.compile(rb"<(title|h1)\b[^>]*>\s*(.{1,80}?)\s*</\1>", re.I | re.S)
_WANTS_TLS: Final = re.compile(
    rb"plain HTTP request was sent to HTTPS port|HTTP request to an HTTPS server|speaking plain HTTP", re.I
)

_FAULTS: Final = {
    Fault.REFUSED: ("nothing listens on {address}", "listen"),
    Fault.UNRESOLVED: ("the name {host} has no address", "dns"),
    Fault.PLAIN: ("{address} speaks plain HTTP, not TLS", "plain-http"),
    Fault.CERTIFICATE: ("the certificate is not trusted: {failure}", "certificate"),
    Fault.CLOSED: ("{address} closed the connection without an answer", "closed"),
    Fault.TIMEOUT: ("{address} does not answer: {failure}", "unanswered"),
}


def reachable(observed: Observations) -> Finding:
    """Check that an MCP endpoint answered."""
    response, parts = observed.anonymous, urlsplit(observed.options.url)
    if not response.status:
        return _without_answer(response, parts)
    if 300 <= response.status < 400:
        return _redirected(response, parts)
    if response.status == 500 and b"APPEND_SLASH" in response.body:  # Django's page, with DEBUG
        return problem("reachable", f"{response.outcome}, a page that names APPEND_SLASH", _EXPECTED, fix="slash")
    if _WANTS_TLS.search(response.body) and parts.scheme == "http":
        return problem("reachable", f"{_described(response)}: this port speaks TLS", _EXPECTED, fix="https")
    if _refuses_host(response):
        return problem("reachable", _described(response), _EXPECTED, fix="host")
    if not observed.is_reached or response.status >= 500:
        return problem("reachable", _described(response), _EXPECTED, fix=_fix_of(response))
    return ok("reachable", f"{response.outcome} within {response.seconds * 1000:.0f} ms")


def _without_answer(response: Response, parts: SplitResult) -> Finding:
    if response.fault not in _FAULTS:
        return problem("reachable", response.failure, _EXPECTED)
    text, fix = _FAULTS[response.fault]
    port = parts.port or (443 if parts.scheme == "https" else 80)
    values = {"host": parts.hostname, "address": f"{parts.hostname}:{port}", "failure": response.failure}
    return problem("reachable", text.format(**values), _EXPECTED, fix=fix)


def _redirected(response: Response, parts: SplitResult) -> Finding:
    where = response.headers.get("location", "")
    return problem("reachable", f"HTTP {response.status} to {where}", "no redirect", fix=_redirect_fix(where, parts))


def _redirect_fix(location: str, parts: SplitResult) -> str:
    try:
        target = urlsplit(location)
    except ValueError:  # the server may send anything
        return "redirect"
    if target.path == f"{parts.path}/":
        return "slash"
    is_upgrade = parts.scheme == "http" and target.scheme == "https" and target.hostname == parts.hostname
    if is_upgrade:
        return "https"
    return "login" if "login" in target.path or "signin" in target.path else "redirect"


def _described(response: Response) -> str:
    """Return the outcome and, if it is not JSON-RPC, what kind of answer it is."""
    if response.message:
        return response.outcome
    kind = response.headers.get("content-type", "").partition(";")[0]
    heading = _TITLE.search(response.body)
    title = f' ("{heading[2].decode(errors="replace")}")' if heading else ""
    if not response.body:
        return f"{response.outcome} without a body: not an MCP endpoint"
    return f"{response.outcome}, {kind or 'no Content-Type'}{title}: not an MCP endpoint"


def _fix_of(response: Response) -> str:
    """Return the fix of an answer that is no endpoint's."""
    is_page = response.status == 200 and b"<html" in response.body[:2000].lower()
    return "page" if is_page else "no-route" if response.status == 404 and not response.message else "reachable"


def _refuses_host(response: Response) -> bool:
    """Return whether the endpoint, a page of Django or the SDK's application refused the Host header."""
    is_page = response.status == 400 and not response.message
    return is_page or response.status == 421 or (response.status == 400 and "Host header" in response.outcome)
