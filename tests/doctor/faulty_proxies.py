"""nginx and HAProxy in front of the nodes, configured correctly or with one fault."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from tests.support.nginx import Nginx
from tests.support.processes import LOOPBACK, Process, program


class FaultyNginx(Nginx):
    """The cluster's nginx with lines replaced, or added to the location or the server."""

    def __init__(
        self, ports: Sequence[int], *, replace: dict[str, str] | None = None, add: str = "", server: str = ""
    ) -> None:
        super().__init__(ports)
        self.replacements, self.added, self.server_lines = replace or {}, add, server

    def configuration(self) -> str:
        text = super().configuration()
        for old, other in self.replacements.items():
            assert old in text, f"nginx.conf has no {old}"
            text = text.replace(old, other)
        text = text.replace("location / {", f"location / {{\n{self.added}")
        return text.replace("client_max_body_size", f"{self.server_lines}\n        client_max_body_size")


BODY_LIMIT = "http-request deny deny_status 413 if { req.hdr_val(content-length) gt 16777216 }"
HAPROXY = """\
global
    maxconn 200
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
    {option}
frontend front
    bind {address}:{port}
    {limit}
    {rule}
    default_backend nodes
backend nodes
{servers}
"""


class HAProxy(Process):
    """HAProxy in front of nodes, round robin."""

    role = "haproxy"

    def __init__(
        self, ports: Sequence[int], *, option: str = "option http-no-delay", rule: str = "", limit: str = BODY_LIMIT
    ) -> None:
        super().__init__()
        self.ports, self.option, self.rule, self.limit = [*ports], option, rule, limit

    @property
    def url(self) -> str:
        """The URL of the MCP endpoint through the proxy."""
        return f"http://{LOOPBACK}:{self.port}/mcp"

    def command(self) -> list[str]:
        servers = "\n".join(f"    server node{port} {LOOPBACK}:{port}" for port in self.ports)
        configuration = self.folder / "haproxy.cfg"
        changed = {"option": self.option, "rule": self.rule, "limit": self.limit}
        configuration.write_text(HAPROXY.format(address=LOOPBACK, port=self.port, servers=servers, **changed))
        return [program("haproxy"), "-db", "-f", str(configuration)]

    def is_ready(self) -> bool:
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=1).close()
        except OSError:
            return False
        return True
