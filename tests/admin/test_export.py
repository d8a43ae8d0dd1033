"""Exports of the list: filtered as the list is, limited, and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient, Client

from mcp_transport.admin import export
from mcp_transport.backends.records import Page
from mcp_transport.domain.session import Session
from mcp_transport.engine.endpoint import Endpoint
from tests.support.visits import LIST, Visitor, page

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


@pytest.fixture
def tools(declarations: Any) -> None:
    """Declare none."""


FORMULA = "=HYPERLINK('x')"


def body(response: Any) -> str:
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    return b"".join(response.streaming_content).decode()


@pytest.fixture
def three(shared_cache: None, open_session: Callable[..., Visitor]) -> list[Visitor]:
    return [open_session(FORMULA, "ann"), open_session('desk, "left"', "bob"), open_session("desk", "")]


def test_the_filtered_list_is_exported_in_both_formats(admin_client: Client, three: list[Visitor]) -> None:
    text = page(admin_client.get(f"{LIST}?user=ann"))
    assert f'href="{LIST}export/?user=ann&amp;format=csv"' in text
    response = admin_client.get(f"{LIST}export/?q=desk&format=json&o=created")
    assert response["Content-Disposition"] == 'attachment; filename="mcp-sessions.json"'
    found = json.loads(body(response))
    assert (found["total"], found["total_is_exact"]) == (2, True)
    assert [item["id"] for item in found["results"]] == [visitor.short_id for visitor in three[1:]]
    rows = list(csv.DictReader(io.StringIO(body(admin_client.get(f"{LIST}export/?format=csv&o=created")))))
    assert [row["client"] for row in rows] == [f"'{FORMULA} 1", 'desk, "left" 1', "desk 1"]
    assert [row["initialized"] for row in rows] == ["true"] * 3
    assert set(rows[0]) == set(found["results"][0])
    for visitor in three:
        assert visitor.session_id not in str(rows)


@pytest.mark.filterwarnings("error")
async def test_an_export_is_streamed_by_an_asgi_server(
    transactional_db: None, async_client: AsyncClient, endpoint: Endpoint
) -> None:
    visitor = Visitor(endpoint, "desk", "ann")
    await visitor.open()
    await async_client.aforce_login(await User.objects.acreate_superuser("boss"))
    response: Any = await async_client.get(f"{LIST}export/?format=json")
    text = b"".join([part async for part in response.streaming_content]).decode()
    assert [item["id"] for item in json.loads(text)["results"]] == [visitor.short_id]


@pytest.mark.parametrize("query", ["", "?format=xml", "?format="])
def test_other_formats_are_not_found(query: str, admin_client: Client) -> None:
    assert admin_client.get(f"{LIST}export/{query}").status_code == 404


def test_backend_that_cannot_list_has_no_export(admin_client: Client, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": "tests.admin.backends.unlisted"}
    assert admin_client.get(f"{LIST}export/?format=csv").status_code == 404
    assert "export/" not in page(admin_client.get(LIST))


def test_store_that_does_not_answer_is_said_so(admin_client: Client, settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "tests.support.broken_cache.BrokenCache"}}
    assert admin_client.get(f"{LIST}export/?format=csv").status_code == 503


@pytest.mark.parametrize("form", ["csv", "json"])
def test_an_export_is_read_page_by_page_and_ends(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAGE_SIZE", 10)
    monkeypatch.setattr(export, "MAX_EXPORTED", 25)
    asked: list[tuple[int, int]] = []

    def read(offset: int, limit: int) -> Page:
        asked.append((offset, limit))
        first = max(0, offset - 1)  # a session that was listed before has moved
        keys = [f"{number:026}" for number in range(first, first + limit)]
        return Page(tuple(Session(key=key, protocol_version="2025-11-25") for key in keys), 1000, False)

    parts = export.export(form, read)
    assert asked == [(0, 10)], "an error of the store is raised before the answer begins"
    text = "".join(parts)
    assert asked == [(0, 10), (10, 10), (20, 5)]
    rows = json.loads(text)["results"] if form == "json" else list(csv.DictReader(io.StringIO(text)))
    keys = [row["key"] for row in rows]
    assert len(keys) == len(set(keys)) == 24
    assert form == "csv" or json.loads(text)["total_is_exact"] is False
