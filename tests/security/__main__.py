"""Ask PyPI for advisories on what is installed, by pip-audit; where PyPI tells none, say so instead of "clean".

python -m tests.security
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

COMMAND = [sys.executable, "-m", "pip_audit", "--local", "--progress-spinner", "off", "--format", "json"]
TIMEOUT_SECONDS = 300


def main() -> int:
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)  # noqa: S603
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(
            f"DEPENDENCIES WERE NOT AUDITED: pip-audit cannot run here: {done.stderr.strip()[-300:]}", file=sys.stderr
        )
        return 0
    lines, status = verdict(dependencies)
    print("\n".join(lines), file=sys.stderr if status or not lines else sys.stdout)
    return status


def verdict(dependencies: Sequence[dict[str, Any]]) -> tuple[list[str], int]:
    """Return what to say of pip-audit's findings, and the exit status."""
    audited = [item for item in dependencies if "skip_reason" not in item]
    found = [
        f"{item['name']} {item['version']}: {_said(fault)}" for item in audited for fault in item.get("vulns", ())
    ]
    if not audited:
        return [f"DEPENDENCIES WERE NOT AUDITED: PyPI tells nothing of any of {len(dependencies)} here."], 0
    skipped = len(dependencies) - len(audited)
    unknown = f"; {skipped} were not audited" if skipped else ""
    return [*found, f"Dependencies: {len(audited)} audited, {len(found)} known faults{unknown}."], int(bool(found))


def _said(fault: dict[str, Any]) -> str:
    return f"{fault['id']}, mended in {', '.join(fault['fix_versions']) or 'no release'}"


if __name__ == "__main__":
    sys.exit(main())
