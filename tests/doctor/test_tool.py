"""The tool of `mcp_transport.contrib.doctor`: declared by the app alone, read-only, identifies processes."""

from __future__ import annotations

import pytest

from mcp_transport import server
from mcp_transport.contrib import doctor
from mcp_transport.contrib.doctor.apps import DoctorConfig
from mcp_transport.contrib.doctor.events import INTERVAL_SECONDS, _node, mcp_doctor_events
from mcp_transport.declarations import Declarations
from mcp_transport.doctor.probes import TOOL
from mcp_transport.doctor.rules.streams import INTERVAL_SECONDS as RULE_INTERVAL


def test_both_sides_agree() -> None:
    assert mcp_doctor_events.__name__ == TOOL
    assert INTERVAL_SECONDS == RULE_INTERVAL


def test_the_app_declares_it_as_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "declared", Declarations())
    assert TOOL not in server.declared.tools
    DoctorConfig("mcp_transport.contrib.doctor", doctor).ready()
    annotations = server.declared.tools[TOOL].annotations
    assert annotations is not None
    assert annotations.read_only_hint is True


def test_each_process_has_a_name_that_is_its_own() -> None:
    first, again, forked = _node(1), _node(1), _node(2)
    assert first == again != forked
    assert len(forked) == 8
