"""Asks the endpoints of other regions for a session of the first one."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from mcp_transport.doctor.http_client import EndpointClient, Request
from mcp_transport.doctor.observations import Frame, Observations, RegionObservation

__all__ = ["probe_regions"]

_STREAM_SECONDS: Final = 3.0


async def probe_regions(observed: Observations, ping: Request, get_stream: Request) -> None:
    """Use the session in each other region, by a ping and a resumption of the GET stream, and end it there."""
    last = next((frame.id for frame in reversed(_frames(observed)) if frame.id), "")
    can_resume = last.isascii() and last.isprintable() and last
    for url in observed.options.regions:
        client = EndpointClient(replace(observed.options, url=url))
        observation = RegionObservation(ping=await client.send(ping))
        if can_resume and observation.ping.status == 200:
            resumption = get_stream.adding(Last_Event_ID=last)
            observation = replace(observation, resumed=await client.listen(resumption, _STREAM_SECONDS, until=bool))
        await client.send(replace(ping, method="DELETE", message=None))
        observed.regions[url] = observation


def _frames(observed: Observations) -> list[Frame]:
    return observed.gzipped.frames if observed.gzipped is not None and observed.session_id else []
