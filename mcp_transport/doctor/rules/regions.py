"""The rule about regions: which one answers, and whether the others know its sessions."""

from __future__ import annotations

from mcp_transport.doctor.findings import Finding, ok, problem, unknown, warning
from mcp_transport.doctor.observations import Observations, RegionObservation, Response

__all__ = ["regions"]

_HEADER = "x-mcp-region"
_EXPOSED = "access-control-expose-headers"


def regions(observed: Observations) -> Finding:
    """Check that each region names itself, and serves sessions of the others."""
    names = {observed.options.url: _name(observed.initialize) or _name(observed.anonymous)}
    names |= {url: _name(observation.ping) for url, observation in observed.regions.items()}
    if not observed.session_id:
        return unknown("regions", "no session was opened")
    for url, observation in observed.regions.items():
        if not observation.ping.status:
            return problem("regions", f"{url}: {observation.ping.failure}", "the endpoint of each region answers")
    if missing := [url for url, name in names.items() if not name]:
        expected = "each region names itself, and no proxy removes the header"
        return problem("regions", f"no X-MCP-Region from {', '.join(missing)}", expected, fix="region-header")
    if len({*names.values()}) < len(names):
        answers = ", ".join(f"{url}: {name}" for url, name in names.items())
        return problem("regions", answers, "each URL leads to a region of its own", fix="region-names")
    for url, other in observed.regions.items():
        if (finding := _other(names[url], other)) is not None:
            return finding
    return _exposed(observed, names)


def _other(name: str, observation: RegionObservation) -> Finding | None:
    """Return what is wrong with a session of the first region in another one."""
    if observation.ping.status == 404:
        expected = "the same SECRET_KEY in all regions, and REHYDRATE on (Redis) or one global table (DynamoDB)"
        return problem("regions", f"{name} does not know a session of the first region", expected)
    if observation.ping.status != 200:
        text = f"{name} answers a ping in a session of the first region with {observation.ping.outcome}"
        return problem("regions", text, "200")
    if observation.resumed is not None and not observation.resumed.is_stream:
        text = f"{name} does not resume the session's GET stream: {observation.resumed.response.outcome}"
        return problem("regions", text, "200, and the stream continues")
    return None


def _exposed(observed: Observations, names: dict[str, str]) -> Finding:
    hidden = [
        origin
        for origin, response in observed.origins.items()
        if response.status == 200 and _HEADER not in response.headers.get(_EXPOSED, "").lower() and _name(response)
    ]
    summary = ", ".join(names.values())
    if hidden:
        expected = "Access-Control-Expose-Headers names X-MCP-Region"
        return warning("regions", f"pages of {', '.join(hidden)} cannot read the region", expected, fix="region-cors")
    if not observed.regions:
        return ok("regions", f"answered by {summary}; use --region for the URL of another one")
    return ok("regions", f"{summary}: a session of the first is served, and its stream resumed, in the others")


def _name(response: Response) -> str:
    return response.headers.get(_HEADER, "")
