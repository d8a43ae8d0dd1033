"""One table of exchanges, through every adapter and every server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.adapters.deviations import CLOSES, NEVER_WAITS, expected
from tests.adapters.exchanges import EXCHANGES, Exchange, play_single
from tests.adapters.refusals import SINGLES
from tests.support.application_servers import ADAPTERS, ASGI, WSGI
from tests.support.requests import Session, call, fresh, text
from tests.support.served import Connect
from tests.support.site.prepare import log_in
from tests.support.wire import Carrier

InProcess = Callable[[str], Carrier]

asgi_servers = pytest.mark.parametrize("server", ASGI)
wsgi_servers = pytest.mark.parametrize("server", WSGI)
adapters = pytest.mark.parametrize("adapter", ADAPTERS)
singles = pytest.mark.parametrize("name", SINGLES)


def exchanges(fits: Callable[[Exchange], bool]) -> Any:
    """Parametrise with the exchanges that fit a kind of carrier."""
    chosen = [item for item in EXCHANGES if fits(item)]
    return pytest.mark.parametrize("exchange", chosen, ids=[item.name for item in chosen])


@asgi_servers
@adapters
@singles
async def test_server_answers_a_request(connect: Connect, server: str, adapter: str, name: str) -> None:
    await play_single(connect(server, adapter), expected(name, server, adapter))


@asgi_servers
@adapters
@exchanges(lambda exchange: True)
async def test_server_carries(connect: Connect, server: str, adapter: str, exchange: Exchange) -> None:
    await exchange.play(connect(server, adapter))


@wsgi_servers
@singles
async def test_wsgi_server_answers_a_request(connect: Connect, server: str, name: str) -> None:
    await play_single(connect(server, "wsgi"), expected(name, server, "wsgi"))


@wsgi_servers
@exchanges(lambda exchange: not exchange.streams and not exchange.connection)
async def test_wsgi_server_carries(connect: Connect, server: str, exchange: Exchange) -> None:
    await exchange.play(connect(server, "wsgi"))


@pytest.mark.parametrize("server", [name for name in WSGI if name not in CLOSES])
@exchanges(lambda exchange: not exchange.streams and exchange.connection)
async def test_wsgi_server_keeps_a_connection(connect: Connect, server: str, exchange: Exchange) -> None:
    await exchange.play(connect(server, "wsgi"))


@pytest.mark.parametrize("server", CLOSES)
async def test_wsgi_server_without_kept_connections_says_so(connect: Connect, server: str) -> None:
    answer = await connect(server, "wsgi").send(call("echo", text="x"))
    assert answer.header("connection") == "close"


@pytest.mark.parametrize("adapter", [*ADAPTERS, "wsgi"])
@singles
async def test_adapter_answers_a_request(in_process: InProcess, adapter: str, name: str) -> None:
    await play_single(in_process(adapter), expected(name, "", adapter))


@adapters
@exchanges(lambda exchange: not exchange.connection)
async def test_adapter_carries(in_process: InProcess, adapter: str, exchange: Exchange) -> None:
    await exchange.play(in_process(adapter))


@exchanges(lambda exchange: not exchange.connection and not exchange.streams)
async def test_wsgi_carries(in_process: InProcess, exchange: Exchange) -> None:
    await exchange.play(in_process("wsgi"))


@pytest.mark.parametrize("server", [name for name in ASGI if name not in NEVER_WAITS])
async def test_server_gives_up_a_client_that_does_not_read(connect: Connect, server: str) -> None:
    carrier, name = connect(server, "mounted"), fresh()
    answer = await carrier.send(call("flood", name=name))
    seen = await (await carrier.send(call("journal", name=name, until="cancelled"))).outcome()
    assert seen["result"]["structuredContent"]["result"] == ["cancelled", "started"]
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await answer.read()


# -- who calls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "adapter"), [*((name, "view") for name in ASGI), *((name, "wsgi") for name in WSGI)]
)
async def test_server_passes_on_the_user_of_a_session_cookie(
    connect: Connect, cookie: str, server: str, adapter: str
) -> None:
    carrier = connect(server, adapter)
    assert await text(carrier, call("whoami").adding(("Cookie", cookie))) == "ann"
    assert await text(carrier, call("whoami")) == "nobody"


async def test_session_belongs_to_the_user_who_opened_it(connect: Connect, cookie: str) -> None:
    carrier = connect("uvicorn-h11", "view")
    session = await Session.open(carrier, ("Cookie", cookie))
    assert await text(carrier, session.call("whoami")) == "ann"
    assert (await carrier.send(session.call("whoami").without("Cookie"))).status == 404


@pytest.mark.parametrize("adapter", ["view", "wsgi"])
async def test_adapter_passes_on_the_user_of_a_session_cookie(in_process: InProcess, adapter: str) -> None:
    from asgiref.sync import sync_to_async

    key = await sync_to_async(log_in)("ben")
    carrier = in_process(adapter)
    assert await text(carrier, call("whoami").adding(("Cookie", f"sessionid={key}"))) == "ben"
