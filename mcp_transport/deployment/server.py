"""The command that runs the ASGI server: one process, which is one node."""

from __future__ import annotations

from mcp_transport.deployment.options import Deployment

__all__ = ["command"]


def command(deployment: Deployment, *, address: str = "0.0.0.0", port: str = "") -> list[str]:  # noqa: S104
    """Return the command line; `port` replaces the deployment's port if each instance has its own."""
    d = deployment
    listen = port or str(d.port)
    backlog = str(d.backlog)
    # daphne has no option for its backlog, which is 50 unless its endpoint says otherwise. It closes idle connections
    # after 60 seconds; there is no option for it.
    endpoint = f"tcp:port={listen}:interface={address}:backlog={backlog}"
    arguments = {
        "daphne": ["daphne", "--endpoint", endpoint, "--no-server-name"],
        "gunicorn": [
            *("gunicorn", "--worker-class", "uvicorn_worker.UvicornWorker", "--workers", "1"),
            *("--bind", f"{address}:{listen}", "--keep-alive", str(d.keep_alive)),
            *("--graceful-timeout", str(d.server_timeout), "--backlog", backlog),
        ],
        "uvicorn": [
            *("uvicorn", "--host", address, "--port", listen, "--lifespan", "off", "--no-server-header"),
            # Counted from the end of draining: this package handles SIGTERM first.
            *("--timeout-graceful-shutdown", str(d.server_timeout - d.drain)),
            *("--timeout-keep-alive", str(d.keep_alive), "--backlog", backlog),
        ],
        "granian": [
            *("granian", "--interface", "asgi", "--loop", "uvloop", "--workers", "1"),
            *("--host", address, "--port", listen, "--workers-kill-timeout", str(d.server_timeout)),
            # Without the second option it serves only as many requests at a time as its backlog holds; streams count.
            *("--backlog", backlog, "--backpressure", str(d.open_files)),
        ],
    }
    return [*arguments[d.server], d.application]
