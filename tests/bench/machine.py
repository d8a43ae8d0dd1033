"""What was measured on, and with which versions."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from tests.bench.environments import ENVIRONMENTS
from tests.bench.servers import SERVERS
from tests.support.processes import program

_PACKAGES = (
    "django",
    "mcp",
    "fastmcp",
    "@modelcontextprotocol/server",
    "@modelcontextprotocol/node",
    "djangorestframework-mcp-server",
    "django-mcpz",
    "uvicorn",
    "uvloop",
    "httptools",
    "daphne",
    "gunicorn",
    "granian",
    "redis",
    "hiredis",
    "orjson",
    "node",
)


def machine() -> dict[str, str]:
    """Return processor, memory and software of this machine, not its name."""
    redis = subprocess.run([program("redis-server"), "--version"], check=True, capture_output=True, text=True)  # noqa: S603
    return {
        "processor": _field("/proc/cpuinfo", "model name"),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / 1024**2:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": platform.python_version(),
        "Redis": redis.stdout.split("v=")[1].split()[0],
    }


def others_busy(seconds: float = 2.0) -> float:
    """Return how many cores are in use while this process does nothing."""
    idle = _idle_seconds()
    time.sleep(seconds)
    cores = os.cpu_count() or 1
    return round(max(cores - (_idle_seconds() - idle) / seconds, 0.0), 2)


def _idle_seconds() -> float:
    total = Path("/proc/stat").read_text().splitlines()[0].split()
    return (int(total[4]) + int(total[5])) / os.sysconf("SC_CLK_TCK")  # idle and iowait


def versions(servers: Iterable[str]) -> dict[str, str]:
    """Return the versions of the packages that the servers are made of, environment by environment."""
    found: dict[str, list[str]] = {}
    for environment in dict.fromkeys(SERVERS[name].environment for name in servers):
        installed = ENVIRONMENTS[environment].versions()
        for package in _PACKAGES:
            if package in installed and installed[package] not in found.setdefault(package, []):
                found[package].append(installed[package])
    return {package: ", ".join(found[package]) for package in _PACKAGES if found.get(package)}


def _field(file: str, name: str) -> str:
    lines = Path(file).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")
