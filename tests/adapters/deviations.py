"""Where an answer differs, and why: each time somebody answers before the endpoint is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.adapters.refusals import OVER_WSGI, SINGLES, Single
from tests.support.application_servers import WSGI
from tests.support.aws_lambda.events import DOORS
from tests.support.served import LAMBDA

FUNCTIONS = [f"{LAMBDA}{door}" for door in DOORS]
"""Adapters: a function of AWS Lambda behind each front door."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """What comes back instead; `server` and `adapter` are the places, empty for any."""

    exchange: str
    reason: str
    status: int
    code: int | None = None
    server: str = ""
    adapter: str = ""
    headers: tuple[tuple[str, str], ...] = ()


DEVIATIONS: tuple[Deviation, ...] = (
    *(
        Deviation("foreign host", "CommonMiddleware checks the Host of what reaches Django", 400, adapter=adapter)
        for adapter in ("view", "wsgi")
    ),
    *(
        Deviation(name, "over WSGI Django reads no more than Content-Length announces", 400, -32700, server=server)
        for name in ("chunked body", "chunked body too large")
        for server in WSGI
    ),
    *(
        Deviation(name, "a function serves the endpoint, and nothing else of the project", 404, adapter=adapter)
        for name in ("page of the project", "included with a slash")
        for adapter in FUNCTIONS
    ),
    *(
        Deviation("doubled session id", "the front door lists the lines of a header", 400, -32600, adapter=adapter)
        for adapter in ("lambda-rest", "lambda-http-1", "lambda-alb-lists")
    ),
    Deviation("doubled header", "the load balancer passes on the last line of a header", 200, adapter="lambda-alb"),
)

CLOSES: dict[str, str] = {"gunicorn-sync": "its sync worker closes the connection after each answer, as documented"}
"""Servers that keep no connection, and why."""

NEVER_WAITS: dict[str, str] = dict.fromkeys(
    ("daphne", "runserver"),
    "daphne's send() never waits for the client: what is not read gathers in the server's memory",
)
"""Servers that do not let an application notice a client that reads nothing, and why."""


def expected(name: str, server: str, adapter: str) -> Single:
    """Return the row of the table as it stands for one place."""
    single = (OVER_WSGI if adapter in ("wsgi", *FUNCTIONS) else SINGLES)[name]
    for deviation in DEVIATIONS:
        if deviation.exchange == name and deviation.server in ("", server) and deviation.adapter in ("", adapter):
            return replace(single, status=deviation.status, code=deviation.code, headers=deviation.headers)
    return single
