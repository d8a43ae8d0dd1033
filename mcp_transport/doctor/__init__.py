"""Diagnoses of a live endpoint from outside, through all proxies, for `manage.py mcp_doctor`."""

from __future__ import annotations

from mcp_transport.doctor.evaluation import evaluate
from mcp_transport.doctor.findings import Finding, Status
from mcp_transport.doctor.observations import DoctorOptions, Observations
from mcp_transport.doctor.probes import run_probes

__all__ = ["DoctorOptions", "Finding", "Observations", "Status", "evaluate", "run_probes"]
