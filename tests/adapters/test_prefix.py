"""A project below a path of its host: each place answers at the URL that clients use, whoever strips the prefix."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any, ClassVar

import pytest
import pytest_asyncio
from django.core.handlers.asgi import ASGIRequest
from django.test import override_settings
from django.urls import reverse

from mcp_transport import Context, tool
from mcp_transport.auth.authenticator import Authenticator
from mcp_transport.auth.django_request import django_request
from mcp_transport.bootstrap import endpoint
from mcp_transport.domain.principal import Principal
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.threads import in_thread
from tests.support.application_servers import Server, accidents
from tests.support.http.inprocess import Direct, scope_of
from tests.support.http.messages import call
from tests.support.http.network import Network
from tests.support.http.request import HOST, Request
from tests.support.served import InProcess, application
from tests.support.site import prefixed
from tests.support.site.prefixed import PREFIX, RESOURCE_URL

WELL_KNOWN = "/.well-known/oauth-protected-resource"
CHALLENGE = f'resource_metadata="https://mcp.example{WELL_KNOWN}{PREFIX}/mcp"'


@dataclass(frozen=True)
class Way:
    """How a project learns of its prefix, and in which forms the proxies of that way may pass paths on."""

    server: str
    options: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    stripped: bool = True
    kept: bool = True


FORCED = (("SITE_PREFIX", PREFIX),)
ASGI = {
    "uvicorn --root-path": Way("uvicorn-h11", ("--root-path", PREFIX), kept=False),  # it adds the prefix itself
    "daphne --root-path": Way("daphne", ("--root-path", PREFIX)),
    "granian --url-path-prefix": Way("granian", ("--url-path-prefix", PREFIX)),
    "gunicorn --root-path": Way("gunicorn", ("--root-path", PREFIX)),
    "uvicorn, FORCE_SCRIPT_NAME": Way("uvicorn-h11", (), FORCED),
    "uvicorn, both": Way("uvicorn-h11", ("--root-path", PREFIX), FORCED, kept=False),
}
WSGI = {
    "gunicorn, SCRIPT_NAME": Way("gunicorn-sync", (), (("SCRIPT_NAME", PREFIX),), stripped=False),
    "gunicorn, FORCE_SCRIPT_NAME": Way("gunicorn-sync", (), FORCED, kept=False),  # Django strips nothing over WSGI
}


# Each way is tried with one adapter: which paths reach which of them is tried below, without a server.
PLACES = [
    *(
        pytest.param((way, ("view", "mounted")[at % 2]), id=name, marks=pytest.mark.servers)
        for at, (name, way) in enumerate(ASGI.items())
    ),
    *(pytest.param((way, "view"), id=name, marks=pytest.mark.servers) for name, way in WSGI.items()),
]


@pytest.fixture(scope="module", params=PLACES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Way, Server]]:
    way, adapter = request.param
    variables = {"DJANGO_SETTINGS_MODULE": prefixed.__name__, **dict(way.variables)}
    database = tmp_path_factory.mktemp("prefix") / "site.sqlite3"
    started = Server(way.server, adapter, database, options=way.options, variables=variables)
    started.start()
    yield way, started
    assert not accidents(started.stop())


@pytest_asyncio.fixture
async def wire(served: tuple[Way, Server]) -> AsyncIterator[Network]:
    made = Network(served[1].port)
    yield made
    await made.close()


def written(way: Way, path: str) -> list[str]:
    """Return a URL's path in the forms that reach the server."""
    return [*([PREFIX + path] if way.kept else []), *([path] if way.stripped else [])]


async def test_each_place_answers_below_the_prefix(served: tuple[Way, Server], wire: Network) -> None:
    way, _ = served
    for path in (form for place in ("/mcp", "/mcp/") for form in written(way, place)):
        answer = await wire.send(Request(path=path, headers=call("echo").headers, body=call("echo").body))
        assert (answer.status, path) == (401, path), await answer.read()
        assert CHALLENGE in (answer.header("www-authenticate") or "")
        await answer.read()
    for path in (form for place in ("/healthz", "/readyz", "/health") for form in written(way, place)):
        async with asyncio.timeout(60):
            while (answer := await wire.send(Request(method="GET", path=path, headers=(HOST,)))).status == 503:
                await answer.read()  # the process warms up
        assert (answer.status, path) == (200, path)
        assert await answer.json() == {"status": "ok"}


async def test_the_metadata_answers_at_the_root_of_the_host(served: tuple[Way, Server], wire: Network) -> None:
    way, _ = served
    for place in (f"{WELL_KNOWN}{PREFIX}/mcp", WELL_KNOWN):
        # Clients ask at the root of the host. Servers that refuse what is not below the prefix need a proxy's help.
        forms = [place] if way.stripped else [PREFIX + place]
        for path in forms:
            answer = await wire.send(Request(method="GET", path=path, headers=(HOST,)))
            body = await answer.read()
            assert (answer.status, path) == (200, path), body
            assert json.loads(body)["resource"] == RESOURCE_URL
    answer = await wire.send(Request(method="GET", path=written(way, f"{WELL_KNOWN}/other")[0], headers=(HOST,)))
    await answer.read()
    assert answer.status == 404


# -- without a server --------------------------------------------------------------------------------


class Places(Authenticator):
    """Notes where the request that it is asked about seems to be, and lets everybody in."""

    noted: ClassVar[list[tuple[str, str, str]]] = []

    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        def look() -> None:
            asked = django_request(request)
            self.noted.append((asked.path, asked.path_info, asked.META["SCRIPT_NAME"]))

        await in_thread(look)
        return Principal("test", "ann")


@pytest.mark.parametrize("adapter", ["view", "mounted"])
@pytest.mark.parametrize(("root_path", "forced"), [("", PREFIX), (PREFIX, None), ("/other", PREFIX), ("", None)])
async def test_authenticators_and_tools_see_the_paths_that_views_see(
    transactional_db: None, in_process: InProcess, adapter: str, root_path: str, forced: str | None
) -> None:
    @tool
    async def link(ctx: Context) -> str:
        """Return the endpoint's path."""
        return reverse("mcp_transport:endpoint")

    @tool
    def link_of_a_thread(ctx: Context) -> str:
        """Return the endpoint's path."""
        return reverse("mcp_transport:endpoint")

    changed = {"AUTHENTICATORS": [f"{__name__}.Places"]}
    with override_settings(FORCE_SCRIPT_NAME=forced, MCP_TRANSPORT=changed, MIDDLEWARE=[]):
        inner, prefix = application(adapter), forced or root_path

        async def served(scope: Any, receive: Any, send: Any) -> None:
            await inner({**scope, "root_path": root_path}, receive, send)

        direct = Direct(served)
        for name in ("link", "link_of_a_thread"):
            for path in {f"{prefix}/mcp", "/mcp"}:
                Places.noted.clear()
                asked = call(name)
                answer = await direct.send(Request(path=path, headers=asked.headers, body=asked.body))
                assert await answer.text() == f"{prefix}/mcp"
                expected = ASGIRequest(scope_of(Request(path=path), root_path=root_path), BytesIO())
                assert Places.noted == [(expected.path, expected.path_info, prefix)]
        await direct.close()
        await endpoint().pool.stop()
