"""What `manage.py mcp_doctor` finds out about a live endpoint, through whatever stands before it."""

from __future__ import annotations

from mcp_transport.doctor.examination import examine
from mcp_transport.doctor.findings import Finding, Status
from mcp_transport.doctor.judgement import judge
from mcp_transport.doctor.seen import Asked, Seen

__all__ = ["Asked", "Finding", "Seen", "Status", "examine", "judge"]
