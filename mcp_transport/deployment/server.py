"""The command that runs the ASGI server: one process, which is one node."""

from __future__ import annotations

from mcp_transport.deployment.options import Deployment

__all__ = ["command"]


def command(deployment: Deployment, *, address: str = "0.0.0.0", port: str = "") -> list[str]:  # noqa: S104
    """Return the words of the command line; `port` replaces the deployment's where each instance has its own."""
    d = deployment
    at = port or str(d.port)
    words = {
        # daphne keeps idle connections for 60 seconds, and cannot be told.
        "daphne": ["daphne", "-b", address, "-p", at, "--no-server-name"],
        "gunicorn": [
            *("gunicorn", "--worker-class", "uvicorn_worker.UvicornWorker", "--workers", "1"),
            *("--bind", f"{address}:{at}", "--keep-alive", str(d.keep_alive)),
            *("--graceful-timeout", str(d.server_end)),
        ],
        "uvicorn": [
            *("uvicorn", "--host", address, "--port", at, "--lifespan", "off", "--no-server-header"),
            # Counted from when the node has drained: this package takes SIGTERM first.
            *("--timeout-keep-alive", str(d.keep_alive), "--timeout-graceful-shutdown", str(d.server_end - d.drain)),
        ],
        "granian": [
            *("granian", "--interface", "asgi", "--loop", "uvloop", "--workers", "1"),
            *("--host", address, "--port", at, "--workers-kill-timeout", str(d.server_end)),
        ],
    }
    return [*words[d.server], d.application]
