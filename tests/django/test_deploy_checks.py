"""The warnings of `manage.py check --deploy` about the place where the project is served."""

from __future__ import annotations

import resource
import sys
from typing import Any

import pytest

from tests.django.test_checks import warnings_of


@pytest.mark.parametrize(
    ("limit", "configured", "is_warned"),
    [
        (1024, {}, True),
        (3023, {}, True),
        (3024, {}, False),
        (resource.RLIM_INFINITY, {}, False),
        (1424, {"MAX_CONCURRENT_CALLS": 300, "MAX_QUEUED_CALLS": 100}, False),
        (1423, {"MAX_CONCURRENT_CALLS": 300, "MAX_QUEUED_CALLS": 100}, True),
        (1024, {"MAX_CONCURRENT_CALLS": 0}, False),  # which is an error of its own
    ],
)
def test_fewer_open_files_than_calls_need(
    limit: int, configured: dict[str, int], is_warned: bool, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, resource.RLIM_INFINITY))
    settings.MCP_TRANSPORT = configured
    messages = warnings_of("W017", include_deployment_checks=True)
    assert bool(messages) is is_warned
    assert warnings_of("W017") == [], "with --deploy alone"
    assert all(f"may open {limit} files" in message.msg for message in messages)
    assert all("LimitNOFILE" in (message.hint or "") for message in messages)


def test_where_no_limit_can_be_read_there_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert warnings_of("W017", include_deployment_checks=True) == []
