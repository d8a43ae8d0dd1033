"""The processes: the authorization server, and the resource server behind either of its adapters."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.node import Node
from tests.support.preloaded import run
from tests.support.processes import LOOPBACK, ROOT

_PROJECT = "tests.auth.oauth"
_ACCIDENTS = ("Traceback", "Task was destroyed", "never retrieved", "Unhandled", "Internal Server Error")
"""What no test may make a server print."""
_PREPARE_SECONDS = 60.0

ADAPTERS = {"mounted": "uvicorn", "view": "daphne"}
"""How the endpoint is served, and which server does it."""


class AuthorizationServer(Node):
    """django-oauth-toolkit, with a database in its folder."""

    role = "authorization-server"

    def __init__(self, folder: Path) -> None:
        settings = f"{_PROJECT}.authorization_server.settings"
        application = f"{_PROJECT}.authorization_server.asgi:application"
        super().__init__("uvicorn", settings=settings, application=application, folder=folder)
        self.variables["AUTHORIZATION_DATABASE"] = str(folder / "authorization.sqlite3")

    @property
    def issuer(self) -> str:
        """Its identifier (RFC 8414, 2)."""
        return f"http://{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Make its database."""
        command = [sys.executable, "-m", f"{_PROJECT}.authorization_server.prepare"]
        made = run(command, cwd=ROOT, env=self.environment(), timeout=_PREPARE_SECONDS)
        assert made.returncode == 0, made.stderr


class ResourceServer(Node):
    """The endpoint, which trusts one authorization server."""

    role = "resource-server"

    def __init__(self, adapter: str, authorization: AuthorizationServer, folder: Path) -> None:
        super().__init__(
            ADAPTERS[adapter],
            settings=f"{_PROJECT}.resource_server.settings",
            application=f"{_PROJECT}.resource_server.asgi:{adapter}",
            name=f"{self.role}-{adapter}",
            folder=folder,
        )
        self._authorization = authorization

    @property
    def metadata_url(self) -> str:
        """Where its metadata is (RFC 9728, 3.1)."""
        return f"http://{LOOPBACK}:{self.port}/.well-known/oauth-protected-resource/mcp"

    def environment(self) -> dict[str, str]:
        own = {"ORDERS_URL": self.url, "ORDERS_ISSUER": self._authorization.issuer}
        # A proxy that the environment may name does not know this machine's loopback interface.
        return {**super().environment(), **own, "NO_PROXY": LOOPBACK, "no_proxy": LOOPBACK}


def accidents(*servers: Node) -> str:
    """Return what servers have printed that had accidents."""
    logs = [f"{server.name}:\n{server.log}" for server in servers]
    return "\n\n".join(log for log in logs if any(word in log for word in _ACCIDENTS))
