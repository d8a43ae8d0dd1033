"""Rewrite the asserts of the contract, which is no test module; provide backends over caches."""

from __future__ import annotations

import pytest

from tests.backends.caches import build, clock

__all__ = ["build", "clock"]

pytest.register_assert_rewrite(
    "tests.backends.contract",
    "tests.backends.contract_counting",
    "tests.backends.contract_listing",
    "tests.backends.contract_messages",
    "tests.backends.contract_nodes",
    "tests.backends.contract_operators",
    "tests.backends.contract_requests",
    "tests.backends.contract_session_cap",
    "tests.backends.contract_streams",
    "tests.backends.contract_subscriptions",
)
