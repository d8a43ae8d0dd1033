"""Memory as Linux reports it: resident pages, and the lowest limit of the control groups."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mcp_transport.process.memory import memory_limit_bytes, resident_bytes

MiB = 1024 * 1024
V1_NONE = 9223372036854771712


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc")
def test_resident_memory_grows_with_what_is_in_use() -> None:
    before = resident_bytes()
    block = bytearray(os.urandom(1)) * (64 * MiB)
    after = resident_bytes()
    assert before is not None
    assert after is not None
    assert after - before > 32 * MiB
    del block


@pytest.mark.parametrize("text", [None, "", "1", "1 x", "\xff"])
def test_without_a_readable_proc_it_is_unknown(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "statm").write_bytes(text.encode("latin-1"))
    assert resident_bytes(tmp_path) is None


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/\n", {"memory.max": "536870912\n"}, 512 * MiB),  # version 2 in a container
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/\n", {}, None),
        # A systemd unit with a limit, in a slice with a lower one.
        ("0::/a.slice/b.service\n", {"a.slice/b.service/memory.max": "200", "a.slice/memory.max": "100"}, 100),
        ("0::/a.slice/b.service\n", {"a.slice/b.service/memory.max": "200", "a.slice/memory.max": "max"}, 200),
        ("4:memory:/pod\n0::/\n", {"memory/pod/memory.limit_in_bytes": "300"}, 300),  # version 1 of the host
        ("4:cpu,memory:/docker/x\n", {"memory/memory.limit_in_bytes": "400"}, 400),  # version 1 in a container
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": str(V1_NONE)}, None),
        ("0::/../../x\n", {"memory.max": "500"}, 500),  # a path outside the namespace
        ("4:cpu:/\nnonsense\n\n", {"memory/memory.limit_in_bytes": "1"}, None),
        ("0::/\n", {"memory.max": "0"}, None),
        ("0::/\n", {"memory.max": "-1"}, None),
    ],
)
def test_the_limit_is_the_lowest_of_all_groups(
    groups: str, files: dict[str, str], limit: int | None, tmp_path: Path
) -> None:
    (tmp_path / "cgroup").write_text(groups)
    for name, text in files.items():
        file = tmp_path / "fs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert memory_limit_bytes(tmp_path, tmp_path / "fs") == limit


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert memory_limit_bytes(tmp_path, tmp_path) is None
