"""`manage.py mcp_sessions --json` and the REST API describe the same things by the same fields."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from rest_framework.test import APIClient

from mcp_transport import bootstrap
from mcp_transport.operators.representation.fields import Field, object_schema
from mcp_transport.operators.representation.metrics import NODE, OVERVIEW, POINT, TRAFFIC
from mcp_transport.operators.representation.sessions import CALL, DETAIL, HISTORY, MESSAGE, SESSION, STREAM
from tests.api.conftest import ROOT, record, store
from tests.api.test_schema import Busy

KEY = record(1).key


def command(*words: str) -> Any:
    out = StringIO()
    call_command("mcp_sessions", *words, "--json", stdout=out)
    return json.loads(out.getvalue())


@pytest.fixture
def busy(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have something of everything, and a backend that claims that other processes see it."""
    settings.MCP_TRANSPORT = {"BACKEND": "tests.api.test_schema.Busy"}
    monkeypatch.setattr(Busy, "shares_sessions", True)
    monkeypatch.setattr(Busy, "shares_streams", True)
    store(record(1, user="ann", principal="django\n7"), record(2), subscriptions=("shop://hours",))


def test_both_show_the_same(busy: None, superuser: APIClient) -> None:
    assert bootstrap.endpoint().backend.shares_streams
    pairs = [
        (["list"], "sessions/"),
        (["show", KEY], f"sessions/{KEY}/"),
        (["messages", KEY, "--payloads"], f"sessions/{KEY}/messages/?payloads=true"),
        (["nodes"], "nodes/"),
        (["overview"], "overview/"),
        (["traffic"], "metrics/"),
    ]
    for words, path in pairs:
        answer = superuser.get(ROOT + path).json()
        assert command(*words) == answer.get("results", answer), words


def test_times_are_iso_and_a_session_is_named_by_its_short_id(shared_cache: None, superuser: APIClient) -> None:
    store(record(1, user="ann", principal="django\n7"))
    [listed] = command("list")
    assert (listed["id"], listed["created"]) == (KEY[:10].lower(), "2096-10-02T07:06:40.000+00:00")
    assert (listed["protocol"], listed["client"], listed["subject"]) == ("2025-11-25", "desk 1", "7")
    assert listed == superuser.get(f"{ROOT}sessions/").json()["results"][0]


@pytest.mark.parametrize("fields", [SESSION, DETAIL, CALL, STREAM, HISTORY, MESSAGE, NODE, OVERVIEW, TRAFFIC, POINT])
def test_each_field_has_a_name_of_its_own_a_label_and_a_schema(fields: tuple[Field[Any], ...]) -> None:
    assert list(object_schema(fields)["properties"]) == [field.name for field in fields]
    assert all(str(field.label) and field.schema for field in fields)
