"""Hypothesis without deadlines: a slow machine is no fault of a rule."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("rules", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rules")
