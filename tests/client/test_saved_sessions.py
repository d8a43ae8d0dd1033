"""A session that another process goes on with, and one that the server has lost."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_transport.client import Client, ClientError, SavedSession
from mcp_transport.client.sessions import keeps_answers
from tests.client.servers import sdk, serving

LIMITS: Any = {"deadline": 20.0}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_another_client_goes_on_with_it(mode: str) -> None:
    async with serving(sdk) as served:
        async with Client(served.url, mode=mode, **LIMITS) as first:
            await first.call_tool("act", {"text": "a"})
            text = first.save_session().to_json()
            session_id, version = first.save_session().session_id, first.protocol_version
        async with Client(served.url, session=SavedSession.from_json(text), **LIMITS) as second:
            assert second.protocol_version == version
            assert second.server_info is not None and second.server_info.name == "plain"
            await second.call_tool("act", {"text": "b"})
            assert second.save_session().session_id == session_id
            assert second.save_session().next_request_id > SavedSession.from_json(text).next_request_id
        assert served.runs == ["act", "act"]


async def test_closing_ends_a_session_that_was_not_saved() -> None:
    async with serving(sdk) as served:
        lost: list[str] = []
        async with Client(served.url, mode="legacy", **LIMITS) as first:
            saved = first.save_session()
            first.end_session_on_close()
        async with Client(served.url, session=saved, on_session_lost=lambda: lost.append("lost"), **LIMITS) as second:
            await second.call_tool("act", {"text": "b"})
            assert second.save_session().session_id not in ("", saved.session_id)
        assert lost == ["lost"]
        assert served.runs == ["act"]


async def test_a_lost_session_is_begun_anew_once_for_all_calls() -> None:
    """The second server knows nothing of the first one's sessions."""
    lost: list[str] = []

    async def told() -> None:
        lost.append("lost")

    async with serving(sdk) as second:
        async with serving(sdk) as first:
            client = Client([first.url, second.url], mode="legacy", on_session_lost=told, **LIMITS)
            await client.__aenter__()
            await client.call_tool("act", {"text": "a"})
        try:
            import anyio

            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(client.call_tool, "act", {"text": "b"})
        finally:
            await client.__aexit__(None, None, None)
        assert (len(first.runs), len(second.runs), lost) == (1, 5, ["lost"])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"protocol_version": "x"}', "null", "7", '{"result": {}}'])
def test_what_is_no_saved_session_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="saved session"):
        SavedSession.from_json(text)


def test_members_of_another_release_are_left_out() -> None:
    saved = SavedSession(protocol_version="2025-11-25", result={"a": 1}, session_id="s", initialize={"b": 2})
    assert SavedSession.from_json(saved.to_json().replace("{", '{"new": 1, ', 1)) == saved


@pytest.mark.parametrize(
    ("result", "keeps"),
    [
        ({}, False),
        ({"capabilities": None}, False),
        ({"capabilities": {"experimental": []}}, False),
        ({"capabilities": {"experimental": {"other": {}}}}, False),
        ({"capabilities": {"experimental": {"mcp_transport/idempotencyKey": {"keepSeconds": 300}}}}, True),
    ],
)
def test_a_server_says_that_it_keeps_answers(result: dict[str, Any], keeps: bool) -> None:
    assert keeps_answers(result) is keeps


def test_an_unconnected_client_has_no_session_to_save() -> None:
    with pytest.raises((RuntimeError, ClientError)):
        Client("http://127.0.0.1:9/mcp").save_session()
