"""Whose ports they are: what another process holds, too, stays open when this one closes it."""

from __future__ import annotations

import multiprocessing

import pytest

from mcp_transport.process.listening_sockets import ports_are_shared


def test_a_process_of_its_own_shares_its_ports_with_nobody() -> None:
    assert not ports_are_shared()


def test_a_worker_shares_them_with_its_parent() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as workers:  # as uvicorn starts its own
        assert workers.apply(ports_are_shared)


def test_systemd_keeps_the_sockets_that_it_hands_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert ports_are_shared()
