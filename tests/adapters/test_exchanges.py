"""One table of exchanges, through every adapter and every server."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from asgiref.sync import sync_to_async

from tests.adapters.deviations import CLOSES, FUNCTIONS, NEVER_WAITS, expected
from tests.adapters.exchanges import EXCHANGES, Exchange, play_single
from tests.adapters.refusals import SINGLES
from tests.support.application_servers import ADAPTERS, ASGI, WSGI
from tests.support.http.carrier import Carrier
from tests.support.http.client import open_session, text
from tests.support.http.messages import call, fresh
from tests.support.served import Connect, InProcess
from tests.support.site.prepare import log_in

# Each server makes its scopes alike for the view and for the mount: the view is tried behind two.
SERVED = [*((server, "mounted") for server in ASGI), ("daphne", "view"), ("uvicorn-httptools", "view")]
SERVED += [(server, "wsgi") for server in WSGI]

by_adapter = pytest.mark.parametrize("adapter", [*ADAPTERS, "wsgi", *FUNCTIONS])
by_server = pytest.mark.parametrize(("server", "adapter"), SERVED)


def carried(server: str, adapter: str) -> Iterable[Exchange]:
    """Return the exchanges that a place can carry; no server: in this process."""
    for exchange in EXCHANGES:
        keeps_connections = bool(server) and server not in CLOSES
        is_buffered = adapter in ("wsgi", *FUNCTIONS)
        if (keeps_connections or not exchange.connection) and not (is_buffered and exchange.streams):
            yield exchange


async def answer_all(carrier: Carrier, server: str, adapter: str, subtests: pytest.Subtests) -> None:
    for name in SINGLES:
        with subtests.test(name):
            await play_single(carrier, expected(name, server, adapter))


@pytest.mark.servers
@by_server
async def test_server_answers_requests(
    connect: Connect, server: str, adapter: str, subtests: pytest.Subtests
) -> None:
    await answer_all(connect(server, adapter), server, adapter, subtests)


@pytest.mark.servers
@by_server
async def test_server_carries(connect: Connect, server: str, adapter: str, subtests: pytest.Subtests) -> None:
    for exchange in carried(server, adapter):
        with subtests.test(exchange.name):
            await exchange.play(connect(server, adapter))


@by_adapter
async def test_adapter_answers_requests(
    transactional_db: None, in_process: InProcess, adapter: str, subtests: pytest.Subtests
) -> None:
    await answer_all(in_process(adapter), "", adapter, subtests)


@by_adapter
async def test_adapter_carries(
    transactional_db: None, in_process: InProcess, adapter: str, subtests: pytest.Subtests
) -> None:
    for exchange in carried("", adapter):
        with subtests.test(exchange.name):
            await exchange.play(in_process(adapter))


@pytest.mark.servers
@pytest.mark.parametrize("server", CLOSES)
async def test_wsgi_server_without_kept_connections_says_so(connect: Connect, server: str) -> None:
    answer = await connect(server, "wsgi").send(call("echo", text="x"))
    assert answer.header("connection") == "close"


@pytest.mark.servers
@pytest.mark.parametrize("server", [name for name in ASGI if name not in NEVER_WAITS])
async def test_server_gives_up_a_client_that_does_not_read(connect: Connect, server: str) -> None:
    carrier, name = connect(server, "mounted"), fresh()
    answer = await carrier.send(call("flood", name=name))
    seen = await (await carrier.send(call("journal", name=name, until="cancelled"))).outcome()
    assert seen["result"]["structuredContent"]["result"] == ["cancelled", "started"]
    with pytest.raises(AssertionError, match="breaks off"):
        await answer.read()


# -- who calls ---------------------------------------------------------------------------------------


@pytest.mark.servers
@pytest.mark.parametrize(
    ("server", "adapter"), [("daphne", "view"), ("uvicorn-httptools", "view"), *((name, "wsgi") for name in WSGI)]
)
async def test_server_passes_on_the_user_of_a_session_cookie(
    connect: Connect, cookie: str, server: str, adapter: str
) -> None:
    carrier = connect(server, adapter)
    assert await text(carrier, call("whoami").adding(("Cookie", cookie))) == "ann"
    assert await text(carrier, call("whoami")) == "nobody"
    session = await open_session(carrier, ("Cookie", cookie))
    assert await text(carrier, session.call("whoami")) == "ann"
    assert (await carrier.send(session.call("whoami").without("Cookie"))).status == 404


@pytest.mark.parametrize("adapter", ["view", "wsgi"])
async def test_adapter_passes_on_the_user_of_a_session_cookie(
    transactional_db: None, in_process: InProcess, adapter: str
) -> None:
    key = await sync_to_async(log_in)("ben")
    carrier = in_process(adapter)
    assert await text(carrier, call("whoami").adding(("Cookie", f"sessionid={key}"))) == "ben"
