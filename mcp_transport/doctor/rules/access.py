"""Rules about authentication and allowed origins."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from mcp_transport.doctor.findings import Finding, ok, problem, unknown, warning
from mcp_transport.doctor.observations import Observations, Response
from mcp_transport.doctor.rules.connectivity import LOOPBACK

__all__ = ["authentication", "origin"]

_OF_PROXIES: Final = ("basic", "digest", "negotiate", "ntlm")
"""Schemes that clients of MCP do not speak."""


def authentication(observed: Observations) -> Finding:
    """Check the challenge, and that the server accepts the token."""
    response = observed.anonymous
    if observed.options.token and 401 in (observed.initialize.status, observed.discover.status):
        text = f"the token was refused: {observed.initialize.outcome}"
        return problem("authentication", text, "the token arrives and is valid for this server", fix="token")
    if response.status == 200:
        if urlsplit(observed.options.url).hostname in LOOPBACK:
            return ok("authentication", "no credentials required")
        expected = "credentials, or a network that only its users reach"
        return warning("authentication", "anybody may open a session", expected, fix="open")
    if response.status != 401:
        return unknown("authentication", response.outcome)
    return _challenge(observed, response)


def _challenge(observed: Observations, response: Response) -> Finding:
    challenge = response.headers.get("www-authenticate", "")
    scheme = challenge.partition(" ")[0].lower()
    if scheme in _OF_PROXIES:
        text = f"401 with {challenge}: a proxy asks for a password"
        return problem("authentication", text, "a challenge of the endpoint, Bearer", fix="password")
    if not challenge:
        return problem("authentication", "401 without WWW-Authenticate", "a challenge (RFC 9110, 11.6.1)")
    if "resource_metadata=" not in challenge:
        expected = "resource_metadata, where clients look up the authorization server (not needed for static tokens)"
        return warning("authentication", "401 with a challenge without resource_metadata", expected)
    metadata = observed.metadata or Response()
    if metadata.status != 200 or not metadata.message.get("authorization_servers"):
        expected = "a document with authorization_servers (RFC 9728)"
        return problem("authentication", f"401; its resource_metadata leads to {metadata.outcome}", expected)
    resource = str(metadata.message.get("resource", ""))
    if resource.rstrip("/") != observed.options.url.rstrip("/"):
        return problem("authentication", f"401; the metadata is of {resource}", f"resource {observed.options.url}")
    used = "the token is accepted" if observed.options.token else "use --token to check more"
    return ok("authentication", f"401 with a challenge, metadata of this resource; {used}")


def origin(observed: Observations) -> Finding:
    """Check that a foreign origin is refused, and that each `--origin` is allowed."""
    if observed.foreign_origin is None or not observed.foreign_origin.status:
        return unknown("origin", "no response to a request with an Origin header")
    if not 200 <= observed.foreign_origin.status < 300 and observed.foreign_origin.status != 403:
        return unknown("origin", f"not even looked at: {observed.foreign_origin.outcome}")
    if observed.foreign_origin.status != 403:
        text = f"a foreign origin was allowed: HTTP {observed.foreign_origin.status}"
        return problem("origin", text, "403: otherwise any website can call with its visitors' permissions")
    refused = [name for name, response in observed.origins.items() if response.status == 403]
    if refused:
        return problem("origin", f"refused with 403: {', '.join(refused)}", "each --origin is allowed")
    return _cors(observed)


def _cors(observed: Observations) -> Finding:
    for name, response in observed.origins.items():
        allowed = response.headers.get("access-control-allow-origin", "")
        if allowed.lower() not in (name.lower(), "*"):
            text = f"Access-Control-Allow-Origin for {name}: {allowed or 'missing'}"
            return problem("origin", text, "that origin, once: otherwise browsers block the response", fix="cors")
    allowed = f"allowed: {', '.join(observed.origins)}" if observed.origins else "no --origin given"
    summary = f"a foreign origin gets 403; {allowed}"
    if observed.own_origin is not None and observed.own_origin.status == 403:
        return warning("origin", f"{summary}; the server's own origin gets 403", "the server's own origin is allowed")
    return ok("origin", summary)
