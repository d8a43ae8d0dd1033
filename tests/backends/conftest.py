"""Plain asserts also in the contract, which is no test module; Hypothesis without deadlines."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite(
    "tests.backends.contract",
    "tests.backends.contract_requests",
    "tests.backends.contract_room",
    "tests.backends.contract_streams",
    "tests.backends.contract_subscriptions",
)

settings.register_profile("rules", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rules")
