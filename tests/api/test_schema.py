"""The OpenAPI document is valid, names the routes there are, and describes what they answer."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from openapi_spec_validator import OpenAPIV31SpecValidator
from rest_framework.test import APIClient

from mcp_transport import tool
from mcp_transport.api.base import OperatorThrottle, OperatorView
from mcp_transport.api.openapi import document
from mcp_transport.api.paging import ListQuery, MessageQuery
from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.backends.records import NodeRecord, StreamRecord
from mcp_transport.backends.results import Event
from mcp_transport.domain.circuit_breaker import BreakerRecord, BreakerState
from mcp_transport.domain.history import Ending, HistoryEntry, HistoryEvent
from mcp_transport.domain.metrics import Histogram, Interval, Load, ProcessMetrics
from mcp_transport.domain.session import InFlightRequest
from tests.api.conftest import ROOT, open_session, record, routes, store

KEY = record(1).key
LOAD = Load(running=1, waiting=4, threads=3, lost_threads=2)
METHODS = {"get", "put", "post", "delete", "patch", "options", "head", "trace"}


class Busy(MemoryBackend):
    """A backend with something of everything."""

    async def nodes(self) -> tuple[NodeRecord, ...]:
        return (NodeRecord("here", "host", 7, calls=1, draining=True, age=0.5, load=LOAD),)

    async def stream_records(self, key: str) -> tuple[StreamRecord, ...]:
        return (StreamRecord(name="s", writer="here", holder="here", epoch=1, last=2, bytes=3),)

    async def in_flight(self, key: str) -> tuple[InFlightRequest, ...]:
        return tuple(InFlightRequest(request_id=id, digest=b"", node="here", stream="s") for id in (7, "7"))

    async def history(self, key: str) -> tuple[HistoryEntry, ...]:
        ended = {"operation": "tools/call look", "request_id": 7, "ending": Ending.OK, "seconds": 0.5}
        return (
            HistoryEntry(when=2.0, what=HistoryEvent.ENDED, node="here", **ended),  # type: ignore[arg-type]
            HistoryEntry(when=1.0, what=HistoryEvent.ATTACHED, node="here", stream="g"),
        )

    async def read(self, key: str, stream: str, after: int, *, epoch: int = 0) -> tuple[tuple[Event, ...], int]:
        result = b'{"jsonrpc": "2.0", "id": 7, "result": {"note": "canary"}}'
        return (Event(1, b'{"method": "notifications/message"}'), Event(2, result)), 0

    async def metrics(self) -> tuple[ProcessMetrics, ...]:
        tally = Histogram()
        tally.add(0.5, failed=True)
        counted = {"operations": {"tools/call look": tally}, "versions": {"2025-11-25": 1}, "refused": {"401": 1}}
        intervals = (Interval(tally, 1), Interval())
        breaker = BreakerRecord(tool="look", state=BreakerState.HALF_OPEN, since=1.0, until=2.5)
        more = {"waits": tally, "load": LOAD, "breakers": (breaker,), **counted}
        return (ProcessMetrics(intervals=intervals, opened=1, **more),)  # type: ignore[arg-type]

    async def read_state(self, key: str) -> dict[str, bytes]:
        return {"cart": b""}


@pytest.fixture
def served(superuser: APIClient) -> dict[str, Any]:
    found: dict[str, Any] = superuser.get(f"{ROOT}schema/").json()
    return found


def check(document: dict[str, Any], path: str, method: str, answer: Any) -> None:
    """Compare an answer with what the document says of it."""
    described = document["paths"][path][method]["responses"][str(answer.status_code)]
    if "$ref" in described:
        described = document["components"]["responses"][described["$ref"].rpartition("/")[2]]
    for name in described.get("headers", ()):
        assert name in answer
    if "content" not in described:
        assert not answer.content
        return
    [(media_type, content)] = described["content"].items()
    assert answer["Content-Type"] == media_type
    schema = {**content["schema"], "components": document["components"]}
    checker = Draft202012Validator.FORMAT_CHECKER
    assert [
        error.message for error in Draft202012Validator(schema, format_checker=checker).iter_errors(answer.json())
    ] == []


def test_document_is_valid_and_says_where_the_api_is(served: dict[str, Any]) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(served).iter_errors()] == []
    assert served["servers"] == [{"url": "/mcp-api"}]
    assert served == document("/mcp-api")
    assert document("")["servers"] == [{"url": "/"}]


def test_paths_methods_and_permissions_are_those_of_the_views(served: dict[str, Any]) -> None:
    described = {path: METHODS & set(item) for path, item in served["paths"].items()}
    known = METHODS - {"options", "head"}
    assert described == {path: {name for name in known if hasattr(view, name)} for path, view in routes()}
    for path, view in routes():
        for method in described[path]:
            needed = view.actions.get(method.upper(), "view")
            assert f"`mcp_transport.{needed}_session`" in served["paths"][path][method]["description"]


def test_query_parameters_are_those_that_are_read(served: dict[str, Any]) -> None:
    described = {item["name"]: item["schema"] for item in served["paths"]["/sessions/"]["get"]["parameters"]}
    fields = ListQuery(data={}).fields
    assert set(described) == {*fields, "cursor"}
    size = fields["page_size"]
    bounds = {"minimum": size.min_value, "maximum": size.max_value, "default": size.default}
    assert bounds.items() <= described["page_size"].items()
    texts = ("search", "user", "client", "protocol", "node")
    assert {described[name]["maxLength"] for name in texts} == {fields["user"].max_length}
    for name in ("state", "ordering"):
        assert described[name]["enum"] == list(fields[name].choices)
    assert described["ordering"]["default"] == fields["ordering"].default
    of_messages = {item["name"] for item in served["paths"]["/sessions/{id}/messages/"]["get"]["parameters"]}
    assert of_messages == {*MessageQuery(data={}).fields, "cursor"}


@pytest.fixture
def busy(settings: Any, declarations: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": f"{__name__}.Busy"}

    @tool(title="Look", read_only=True, open_world=False)
    def look() -> None:
        """Look."""

    @tool
    def plain() -> None: ...

    store(record(1, user="ann", principal="django\n7"), record(2), subscriptions=("shop://hours",))


def test_answers_are_as_described(busy: None, served: dict[str, Any], superuser: APIClient) -> None:
    one = f"sessions/{KEY}/"
    asked = [
        ("/sessions/", "get", "sessions/?page_size=1"),
        ("/sessions/{id}/", "get", one),
        ("/sessions/{id}/calls/", "get", f"{one}calls/"),
        ("/sessions/{id}/messages/", "get", f"{one}messages/"),
        ("/sessions/{id}/messages/", "get", f"{one}messages/?payloads=true"),
        ("/overview/", "get", "overview/"),
        ("/metrics/", "get", "metrics/"),
        ("/nodes/", "get", "nodes/"),
        ("/tools/", "get", "tools/"),
        ("/schema/", "get", "schema/"),
        ("/sessions/{id}/", "delete", one),
    ]
    for path, method, url in asked:
        answer = superuser.generic(method.upper(), ROOT + url)
        assert answer.status_code in (200, 204)
        check(served, path, method, answer)
    assert {path for path, _, _ in asked} == set(served["paths"]) - {"/sessions/{id}/calls/cancel/"}


def test_tools_are_described_as_they_are_declared(busy: None, superuser: APIClient) -> None:
    none = {"read_only": None, "destructive": None, "idempotent": None, "open_world": None}
    assert superuser.get(f"{ROOT}tools/").json()["results"] == [
        {
            "name": "look",
            "title": "Look",
            "description": "Look.",
            "hints": {**none, "read_only": True, "open_world": False},
        },
        {"name": "plain", "title": None, "description": None, "hints": none},
    ]


def test_tools_of_another_server_are_501(settings: Any, served: dict[str, Any], superuser: APIClient) -> None:
    settings.MCP_TRANSPORT = {"SERVER": "tests.support.mcp_servers.high_level"}
    answer = superuser.get(f"{ROOT}tools/")
    assert answer.status_code == 501
    check(served, "/tools/", "get", answer)


REFUSED = [
    ("/sessions/", "get", "sessions/?page_size=0&user=%00", 400),
    ("/sessions/", "get", "sessions/?cursor=a", 400),
    ("/sessions/{id}/", "get", f"sessions/{'A' * 26}/", 404),
    ("/sessions/{id}/", "delete", f"sessions/{'A' * 26}/", 404),
    ("/sessions/{id}/calls/", "get", "sessions/a/calls/", 404),
    ("/sessions/{id}/calls/cancel/", "post", f"sessions/{KEY}/calls/cancel/", 400),
]


@pytest.mark.parametrize(("path", "method", "url", "status"), REFUSED)
def test_refusals_are_as_described(
    path: str, method: str, url: str, status: int, busy: None, served: dict[str, Any], superuser: APIClient
) -> None:
    answer = superuser.generic(method.upper(), ROOT + url, "{}", "application/json")
    assert answer.status_code == status
    check(served, path, method, answer)


def test_refused_callers_are_told_as_described(
    served: dict[str, Any], superuser: APIClient, monkeypatch: pytest.MonkeyPatch, challenging: None
) -> None:
    for path, method, url, _ in REFUSED:
        with monkeypatch.context() as patch:
            answers = [APIClient().generic(method.upper(), ROOT + url)]
            patch.setattr(OperatorView, "authentication_classes", ())
            answers.append(APIClient().generic(method.upper(), ROOT + url))
            answers.append(superuser.generic(method.upper(), ROOT + url, HTTP_ACCEPT="text/html"))
            patch.setattr(OperatorThrottle, "get_rate", lambda self: "1/min")  # which was used up for the document
            answers.append(superuser.generic(method.upper(), ROOT + url))
        assert [answer.status_code for answer in answers] == [401, 403, 406, 429]
        for answer in answers:
            check(served, path, method, answer)


@pytest.mark.parametrize(("backend", "status"), [("Out", 503), ("unlisted", 501)])
def test_failures_are_as_described(
    backend: str, status: int, settings: Any, served: dict[str, Any], superuser: APIClient
) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": f"tests.api.test_failures.{backend}"}
    answer = superuser.get(f"{ROOT}sessions/")
    assert answer.status_code == status
    check(served, "/sessions/", "get", answer)


def test_form_is_refused_as_described(served: dict[str, Any], superuser: APIClient) -> None:
    answer = superuser.generic("POST", f"{ROOT}sessions/{KEY}/calls/cancel/", "a=b", "text/plain")
    assert answer.status_code == 415
    check(served, "/sessions/{id}/calls/cancel/", "post", answer)


def test_sessions_of_real_clients_are_as_described(
    shared_cache: None, served: dict[str, Any], superuser: APIClient
) -> None:
    open_session(User(pk=7, username="ann"))
    page = superuser.get(f"{ROOT}sessions/")
    check(served, "/sessions/", "get", page)
    [item] = page.json()["results"]
    check(served, "/sessions/{id}/", "get", superuser.get(f"{ROOT}sessions/{item['id']}/"))
