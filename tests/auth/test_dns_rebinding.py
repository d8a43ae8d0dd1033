"""DNS rebinding: a page whose host name suddenly means this machine is refused before anybody looks at credentials.

Such a page is of the same origin as what it asks for, so its browser sends Host and Origin of one and the same name,
with GET no Origin at all, and whatever credentials the page has got hold of. A real server on the loopback interface
is asked, with the very bytes that a browser sends.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support import application_servers as servers
from tests.support.application_servers import ADAPTERS, Server
from tests.support.http.messages import INITIALIZE, Session, call, post
from tests.support.http.network import Network
from tests.support.http.request import HOST, Request
from tests.support.site import counting as served

pytestmark = pytest.mark.servers

RIGHT = (("Authorization", f"Bearer {served.TOKEN}"),)
TRUSTED = "https://app.example"
METADATA = "/.well-known/oauth-protected-resource"


class Rebound(Server):
    """A server of this test's own project."""

    def __init__(self, adapter: str, database: Path) -> None:
        super().__init__("uvicorn-h11", adapter, database)
        self._environment["DJANGO_SETTINGS_MODULE"] = served.__name__


@pytest.fixture(scope="module", params=ADAPTERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Rebound(request.param, tmp_path_factory.mktemp("rebinding") / "site.sqlite3")
    started.start()
    yield started
    assert not servers.accidents(started.stop())


@pytest_asyncio.fixture
async def wire(server: Server) -> AsyncIterator[Network]:
    made = Network(server.port)
    yield made
    await made.close()


async def asked(wire: Network) -> int:
    """Return how many requests anybody was authenticated for."""
    return int(await (await wire.send(Request(method="GET", path="/asked", headers=(HOST,)))).read())


# -- what a rebound page can send ------------------------------------------------------------------------


@dataclass(frozen=True)
class Attacker:
    """The name of a host, and the origin of its page; `{port}` is the server's."""

    host: str
    origin: str | None = None

    def of(self, request: Request, port: int) -> Request:
        sent = request.setting("Host", self.host.format(port=port))
        return sent if self.origin is None else sent.setting("Origin", self.origin.format(port=port))


ATTACKERS = {
    "same-origin": Attacker("evil.example:{port}", "http://evil.example:{port}"),
    "no-origin": Attacker("evil.example:{port}"),
    "null-origin": Attacker("evil.example:{port}", "null"),
    "default-port": Attacker("evil.example", "http://evil.example"),
    "https-origin": Attacker("evil.example:{port}", "https://evil.example:{port}"),
    "name-begins-like-ours": Attacker("localhost.evil.example:{port}", "http://localhost.evil.example:{port}"),
    "name-ends-like-ours": Attacker("evil-localhost:{port}", "http://evil-localhost:{port}"),
    "address-in-the-name": Attacker("127.0.0.1.evil.example:{port}", "http://127.0.0.1.evil.example:{port}"),
    "dot-at-the-end": Attacker("evil.example.:{port}", "http://evil.example.:{port}"),
    "user-in-front": Attacker("127.0.0.1@evil.example:{port}", "http://127.0.0.1@evil.example:{port}"),
    "another-loopback-address": Attacker("127.0.0.2:{port}", "http://127.0.0.2:{port}"),
    "any-address": Attacker("0.0.0.0:{port}", "http://0.0.0.0:{port}"),
    "our-host-their-origin": Attacker("localhost:{port}", "http://evil.example:{port}"),
    "their-host-our-origin": Attacker("evil.example:{port}", "http://localhost:{port}"),
    "their-host-allowed-origin": Attacker("evil.example:{port}", TRUSTED),
}
PREFLIGHT = (("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "authorization"))
REQUESTS = {
    "POST-initialize": post(INITIALIZE),
    "POST-alone": call("echo", text="x"),
    "GET": Session("an-id").get(),
    "DELETE": Session("an-id").delete(),
    "OPTIONS": Request(method="OPTIONS", headers=(HOST, *PREFLIGHT)),
}


async def refused(wire: Network, request: Request, why: object = None) -> None:
    before, answer = await asked(wire), await wire.send(request)
    body = await answer.read()
    assert answer.status in (400, 403), (why, body)
    names = {name.lower() for name, _ in answer.lines}
    assert not names & {"www-authenticate", "mcp-session-id", "set-cookie"}
    assert answer.header("access-control-allow-origin") in (None, TRUSTED), "a browser keeps it from the page"
    assert served.TOKEN.encode() not in body
    assert await asked(wire) == before, why


@pytest.mark.parametrize("credentials", [(), RIGHT], ids=["anonymous", "right-token"])
@pytest.mark.parametrize("request_name", REQUESTS)
async def test_rebound_page_is_refused_before_authentication(
    wire: Network, request_name: str, credentials: tuple[tuple[str, str], ...]
) -> None:
    for name, attacker in ATTACKERS.items():
        await refused(wire, attacker.of(REQUESTS[request_name], wire.port).adding(*credentials), name)


@pytest.mark.parametrize("forwarded", ["X-Forwarded-Host", "Forwarded", "X-Original-Host"])
async def test_no_other_header_names_the_host(wire: Network, forwarded: str) -> None:
    value = "host=localhost" if forwarded == "Forwarded" else "localhost"
    for name, request in REQUESTS.items():
        await refused(wire, ATTACKERS["no-origin"].of(request, wire.port).adding((forwarded, value), *RIGHT), name)


async def test_without_exactly_one_host_there_is_no_answer(wire: Network) -> None:
    for lines in ((), (HOST, ("Host", "evil.example")), (("Host", ""),)):
        await refused(wire, call("echo", text="x").without("Host").adding(*lines, *RIGHT), lines)


# -- what everybody may read -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", [METADATA, f"{METADATA}/mcp"])
async def test_metadata_never_names_the_attacker(wire: Network, server: Server, path: str) -> None:
    """It is public, and says what the settings say: a rebound page learns nothing, and can plant nothing."""
    before = await asked(wire)
    for name, attacker in ATTACKERS.items():
        answer = await wire.send(attacker.of(Request(method="GET", path=path, headers=(HOST,)), wire.port))
        body = await answer.read()
        if server.adapter == "view" and not name.startswith("our-host"):
            assert answer.status == 400, "Django's CommonMiddleware knows its hosts"
        else:
            assert (answer.status, json.loads(body)["resource"]) == (200, "https://mcp.example/mcp")
            assert json.loads(body)["authorization_servers"] == ["https://auth.example"]
        assert b"evil" not in body
    assert await asked(wire) == before


# -- the other way round ---------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "localhost:{port}", "127.0.0.1:{port}", "LOCALHOST:{port}"])
async def test_our_own_names_reach_authentication(wire: Network, host: str) -> None:
    named = host.format(port=wire.port)
    for origin in (None, f"http://{named}", TRUSTED):
        request = Attacker(named, origin).of(call("echo", text="x"), wire.port)
        before, answer = await asked(wire), await wire.send(request)
        assert (answer.status, await asked(wire)) == (401, before + 1)
        answer = await wire.send(request.adding(*RIGHT))
        assert (await answer.text(), await asked(wire)) == ("x", before + 2)
