"""What `manage.py mcp_doctor` finds out about a live endpoint, through whatever stands before it."""

from __future__ import annotations

from mcp_transport.doctor.evaluation import judge
from mcp_transport.doctor.findings import Finding, Status
from mcp_transport.doctor.observations import DoctorOptions, Observations
from mcp_transport.doctor.probes import examine

__all__ = ["DoctorOptions", "Finding", "Observations", "Status", "examine", "judge"]
