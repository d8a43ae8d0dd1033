"""Who is let in: credentials and origins."""

from __future__ import annotations

from mcp_transport.doctor.findings import Finding, Status, ok, problem, unknown, warning
from mcp_transport.doctor.observations import Answer, Observations

__all__ = ["authentication", "origin"]


def authentication(seen: Observations) -> Finding:
    """Judge the challenge, and whether the token that was given is taken."""
    answer = seen.anonymous
    if seen.asked.token and 401 in (seen.initialize.status, seen.discover.status):
        said = f"the token was refused: {seen.initialize.outcome}"
        return problem("authentication", said, "the token is valid here and comes through", fix="token")
    if answer.status == 200:
        return ok("authentication", "anybody may open a session")
    if answer.status != 401:
        return unknown("authentication", answer.outcome)
    return _challenge(seen, answer)


def _challenge(seen: Observations, answer: Answer) -> Finding:
    challenge = answer.headers.get("www-authenticate", "")
    if not challenge:
        return problem("authentication", "401 without WWW-Authenticate", "a challenge that says what is wanted")
    if "resource_metadata=" not in challenge:
        wanted = "resource_metadata, by which clients find the authorization server; tokens made by hand need none"
        return warning("authentication", "401 whose challenge names no resource_metadata", wanted)
    metadata = seen.metadata or Answer()
    if metadata.status != 200 or not metadata.message.get("authorization_servers"):
        wanted = "a document with authorization_servers (RFC 9728)"
        return problem("authentication", f"401; its resource_metadata leads to {metadata.outcome}", wanted)
    resource = str(metadata.message.get("resource", ""))
    if resource.rstrip("/") != seen.asked.url.rstrip("/"):
        return problem("authentication", f"401; the metadata is of {resource}", f"resource {seen.asked.url}")
    used = "the token is taken" if seen.asked.token else "give --token to look further"
    return ok("authentication", f"401 with a challenge, metadata of this resource; {used}")


def origin(seen: Observations) -> Finding:
    """Judge which pages may call: not a foreign one, and those that were named."""
    if seen.foreign is None or not seen.foreign.status:
        return unknown("origin", "no answer to a request with an Origin")
    if seen.foreign.status != 403:
        said = f"a page of a foreign origin was let in: HTTP {seen.foreign.status}"
        return problem("origin", said, "403, or pages of any site can call with what their visitors may do")
    refused = [name for name, answer in seen.origins.items() if answer.status == 403]
    if refused:
        return problem("origin", f"refused with 403: {', '.join(refused)}", "the origins that were named are let in")
    return _cors(seen)


def _cors(seen: Observations) -> Finding:
    for name, answer in seen.origins.items():
        allowed = answer.headers.get("access-control-allow-origin", "")
        if allowed.lower() not in (name.lower(), "*"):
            said = f"Access-Control-Allow-Origin for {name}: {allowed or 'missing'}"
            return problem("origin", said, "the origin itself, once: else browsers refuse the answer", fix="cors")
    passed = f"a foreign origin gets 403; let in: {', '.join(seen.origins) or 'none were named'}"
    if seen.own is not None and seen.own.status == 403:
        return warning(
            "origin", f"{passed}; pages of the server's own origin get 403", "the server's own pages may call"
        )
    return Finding("origin", Status.OK, passed)
