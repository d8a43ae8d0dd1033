"""The memory of this process, and the limit of its container, as Linux reports them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

__all__ = ["memory_limit_bytes", "resident_bytes"]

_PROC: Final = Path("/proc/self")
_CGROUPS: Final = Path("/sys/fs/cgroup")

# cgroup v1 reports the largest number of pages if there is no limit.
_NO_LIMIT: Final = 2**60


def resident_bytes(proc: Path = _PROC) -> int | None:
    """Return the resident memory of this process in bytes; None on systems without /proc."""
    try:
        pages = int((proc / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def memory_limit_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """Return the lowest memory limit of the control groups of this process in bytes; None if there is none."""
    limits = [limit for file in _limit_files(proc, cgroups) if (limit := _limit(file)) is not None]
    return min(limits, default=None)


def _limit_files(proc: Path, cgroups: Path) -> Iterator[Path]:
    """Yield the files that may hold a limit: of the group and all groups around it, which limit it as well."""
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            root, name = cgroups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = cgroups / "memory", "memory.limit_in_bytes"
        else:
            continue
        path = PurePosixPath(group.lstrip("/"))
        if ".." not in path.parts:
            for folder in (path, *path.parents):
                yield root / folder / name
        # In a container the path may be that of the host, which is not visible: then the root is the container's.
        yield root / name


def _limit(file: Path) -> int | None:
    """Read one limit; None if it cannot be read, or is no limit."""
    try:
        limit = int(file.read_text())  # "max" in version 2
    except (OSError, ValueError):
        return None
    return limit if 0 < limit < _NO_LIMIT else None
