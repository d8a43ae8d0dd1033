"""What streams have had, over the REST API: piece by piece, and in full only for who may see that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.core.signing import Signer
from rest_framework.test import APIClient

from mcp_transport import Context, bootstrap, tool
from mcp_transport.domain.session import session_key
from tests.api.conftest import ROOT, Operator, record, store
from tests.api.test_calls import ask
from tests.support.canaries import PLANTED
from tests.support.client import SessionClient

URL = f"{ROOT}sessions/{record(1).key}/messages/"


# -- who may see what ------------------------------------------------------------------------------------


@pytest.fixture
def busy(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": "tests.api.test_schema.Busy"}
    store(record(1), record(2))


def test_viewer_is_told_of_messages_and_not_what_they_say(busy: None, viewer: APIClient) -> None:
    answer = viewer.get(URL)
    assert answer.json()["results"] == [
        {
            "stream": "s",
            "number": 1,
            "when": None,
            "kind": "notifications/message",
            "request_id": None,
            "progress": "",
            "bytes": 35,
        },
        {"stream": "s", "number": 2, "when": None, "kind": "result", "request_id": 7, "progress": "", "bytes": 57},
    ]
    assert b"canary" not in answer.content


def test_viewer_who_asks_for_payloads_is_refused(busy: None, viewer: APIClient, caplog: Any) -> None:
    with caplog.at_level("INFO", "mcp_transport.api"):
        answers = [viewer.get(f"{URL}?payloads={asked}") for asked in ("true", "1", "True", "yes")]
    answers.append(viewer.get(f"{ROOT}sessions/{record(3).key}/messages/?payloads=true"))  # which does not exist
    for answer in answers:
        assert answer.status_code == 403
        assert answer.json() == {"detail": "Payloads require the permission mcp_transport.view_mcp_payloads."}
    assert "payloads" not in caplog.text


def test_payloads_are_for_who_may_see_them_and_asks(busy: None, operator: Operator, caplog: Any) -> None:
    client = operator("view", "payloads")
    with caplog.at_level("INFO", "mcp_transport.api"):
        for query in ("", "?payloads=false"):
            assert all("payload" not in item for item in client.get(URL + query).json()["results"])
        assert "payloads" not in caplog.text
        answer = client.get(f"{URL}?payloads=true").json()
    assert answer["results"][1]["payload"] == '{"jsonrpc": "2.0", "id": 7, "result": {"note": "canary"}}'
    assert "payloads=true" in answer["next"]
    assert f"read payloads of session {record(1).key[:10].lower()}" in caplog.text
    assert "canary" not in caplog.text


def test_payloads_alone_show_nothing_and_a_superuser_sees_all(
    busy: None, operator: Operator, superuser: APIClient
) -> None:
    assert operator("payloads").get(f"{URL}?payloads=true").status_code == 403
    assert operator("change", "delete").get(URL).status_code == 403
    assert APIClient().get(f"{URL}?payloads=true").status_code == 403
    assert "canary" in superuser.get(f"{URL}?payloads=true").json()["results"][1]["payload"]


# -- odd questions ---------------------------------------------------------------------------------------


def test_odd_payloads_are_refused(busy: None, superuser: APIClient) -> None:
    for asked in ("maybe", "2", "null", "%00", "a" * 5000):
        answer = superuser.get(f"{URL}?payloads={asked}")
        assert (answer.status_code, list(answer.json())) == (400, ["payloads"])


def _cursor(value: Any, salt: str = "mcp_transport.api.messages") -> str:
    return Signer(salt=salt).sign_object(value)


OWN = [record(1).key, {"s": 1}]


def test_cursor_that_was_not_given_out_is_refused(busy: None, superuser: APIClient) -> None:
    stolen = _cursor(OWN, salt="mcp_transport.api.cursor")
    for cursor in ("", "0", "%00", "a" * 5000, _cursor(OWN)[:-1], "W" + _cursor(OWN), stolen):
        answer = superuser.get(f"{URL}?cursor={cursor}")
        assert (answer.status_code, answer.json()) == (400, {"cursor": ["This is not a cursor of this server."]})


def test_cursor_is_good_for_its_own_session_only(busy: None, superuser: APIClient) -> None:
    link = superuser.get(URL).json()["next"]
    assert superuser.get(link).status_code == 200
    answer = superuser.get(link.replace(record(1).key, record(2).key))
    assert (answer.status_code, answer.json()) == (400, {"cursor": ["This cursor belongs to another session."]})


# -- real streams ----------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.servers)])
def backend(request: pytest.FixtureRequest, settings: Any) -> None:
    if request.param == "redis":
        request.getfixturevalue("sessions_in_redis")
    else:
        settings.MCP_TRANSPORT = {"BACKEND": "memory"}


@pytest.fixture
async def talker(backend: None, declarations: Any) -> AsyncIterator[SessionClient]:
    @tool
    async def talk(ctx: Context, note: str) -> str:
        await ctx.report_progress(3, 10)
        return f"heard {note}"

    endpoint = bootstrap.endpoint()
    client = SessionClient(endpoint)
    await client.open()
    yield client
    await endpoint.pool.stop()


async def test_messages_are_told_once_and_in_order(talker: SessionClient, superuser: APIClient) -> None:
    url = f"{ROOT}sessions/{session_key(talker.session_id)}/messages/"
    page = (await ask(superuser, "GET", url)).json()
    assert page["results"] == []
    for id in (7, "7"):
        await (await talker.call("talk", {"note": PLANTED}, id)).messages()
        answer = await ask(superuser, "GET", page["next"])
        page = answer.json()
        told = [(item["kind"], item["request_id"], item["progress"]) for item in page["results"] if item["bytes"]]
        assert told == [("notifications/progress", None, "3 of 10"), ("result", id, "")]
        assert PLANTED.encode() not in answer.content
        assert talker.session_id.encode() not in answer.content
    assert (await ask(superuser, "GET", page["next"])).json()["results"] == []
    full = (await ask(superuser, "GET", f"{url}?payloads=true")).json()["results"]
    assert sum(f"heard {PLANTED}" in item["payload"] for item in full) == 2


async def test_history_and_traffic_tell_of_calls(talker: SessionClient, superuser: APIClient) -> None:
    await (await talker.call("talk", {"note": PLANTED}, 7)).messages()
    url = f"{ROOT}sessions/{session_key(talker.session_id)}/"
    for _ in range(100):  # it leaves the books behind its answer
        answer = await ask(superuser, "GET", url)
        if ended := [item for item in answer.json()["history"] if item["request_id"] == 7]:
            break
    assert [(item["what"], item["operation"], item["ending"]) for item in ended] == [
        ("ended", "tools/call talk", "ok")
    ]
    assert PLANTED.encode() not in answer.content
    metrics = (await ask(superuser, "GET", f"{ROOT}metrics/")).json()
    overview = (await ask(superuser, "GET", f"{ROOT}overview/")).json()
    is_whole = bootstrap.endpoint().backend.shares_streams
    assert (metrics["all_processes"], overview["all_processes"]) == (is_whole, is_whole)
    assert (metrics["processes"], overview["sessions"]) == (1, 1)
    assert overview["clients"] == [{"value": "test 1", "sessions": 1}]
