"""nginx in front of the nodes, taking them in turn."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.processes import LOOPBACK, TICK_SECONDS, Process, program

LOG_SECONDS = 10.0

CONFIGURATION = """\
# One process, in the foreground: its pid is the one to kill, and nothing outlives it.
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;

events {{
    worker_connections 8192;
}}

http {{
    # Everything in its own folder: any user may run it, next to the system's nginx.
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;

    log_format line '$upstream_addr\\t$request\\t$status\\t$upstream_status\\t$request_time';
    access_log {folder}/access.log line;
    server_tokens off;

    # The live pages of the admin are WebSockets. For all other requests both headers are left out, which keeps
    # connections to nodes open (HTTP/1.0 cannot, and "Connection: close" would be sent by default).
    map $http_upgrade $upgrade {{
        default         "";
        "~*^websocket$" websocket;
    }}
    map $upgrade $upgrade_connection {{
        default   "";
        websocket upgrade;
    }}

    upstream nodes {{
        # Strictly in turn: no ip_hash, no hash, no cookie. max_fails=0 because a 503 of a node, which may mean that
        # the session store is away, must reach the client with its Retry-After; counted as a failure it would soon
        # leave "no live upstreams", a 502. The price is one refused connection per turn of a dead node.
{servers}
        keepalive 64;
        # Shorter than any node keeps an idle connection (uvicorn: 5 s), or a POST could be written into one that the
        # node is just closing. nginx must not send that POST again, so the client would see a 502.
        keepalive_timeout 3s;
    }}

    server {{
        listen {address}:{port} backlog=2048;
        client_max_body_size 16m;  # the endpoint has a limit of its own, and a better answer

        location / {{
            proxy_pass http://nodes;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $upgrade;
            proxy_set_header Connection $upgrade_connection;
            # With the port, which $host has not: the endpoint compares the Origin of web pages with it.
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;

            # Events go out as they come. The nodes also say so themselves, with X-Accel-Buffering: no.
            proxy_buffering off;
            # Must outlast the silence of a stream (KEEPALIVE_SECONDS, 15) many times over.
            proxy_read_timeout {read_timeout:g}s;
            proxy_send_timeout 60s;
            proxy_connect_timeout 2s;

            # Which requests go on to the next node:
            # - any request whose connection was refused or timed out: nginx has not sent it, so a POST is safe;
            # - a GET or DELETE that got no answer or a 503 (that node is stopping).
            # A POST that was sent stays where it is: the node may have run the tool before it died. That is what
            # leaving out "non_idempotent" means; adding it would run tools twice.
            proxy_next_upstream error timeout http_503;
            # Needed for it: the body is complete here before a node sees any of it, and can be sent again.
            proxy_request_buffering on;
        }}
    }}
}}
"""


class Nginx(Process):
    """A round robin over ports, without stickiness and without buffering."""

    role = "nginx"

    def __init__(
        self,
        ports: Sequence[int],
        *,
        read_timeout: float = 3600,
        name: str = "",
        port: int = 0,
        folder: Path | None = None,
    ) -> None:
        super().__init__(name, port, folder)
        self.ports = [*ports]
        self.read_timeout = read_timeout

    @property
    def url(self) -> str:
        """The address of the MCP endpoint behind it."""
        return f"http://{LOOPBACK}:{self.port}/mcp"

    @property
    def turns(self) -> list[str]:
        """Where each request that is over went: `127.0.0.1:port`, or several, where the first one refused."""
        lines = (self.folder / "access.log").read_text().splitlines()
        return [line.partition("\t")[0] for line in lines]

    def await_turns(self, count: int) -> list[str]:
        """Return `turns` when there are so many: a request is logged a moment after its answer arrived."""
        deadline = time.monotonic() + LOG_SECONDS
        while len(turns := self.turns) < count and time.monotonic() < deadline:
            time.sleep(TICK_SECONDS)
        return turns

    def configuration(self) -> str:
        """Return the text of nginx.conf."""
        return CONFIGURATION.format(
            folder=self.folder,
            address=LOOPBACK,
            port=self.port,
            servers="\n".join(f"        server {LOOPBACK}:{port} max_fails=0;" for port in self.ports),
            read_timeout=self.read_timeout,
        )

    def command(self) -> list[str]:
        (self.folder / "nginx.pid").unlink(missing_ok=True)
        configuration = self.folder / "nginx.conf"
        configuration.write_text(self.configuration())
        # -e: until it has read the configuration, nginx writes to the system's log, which only root may.
        return [program("nginx"), "-e", "stderr", "-p", str(self.folder), "-c", str(configuration)]

    def is_ready(self) -> bool:
        if not (self.folder / "nginx.pid").exists():  # written when the port is its own
            return False
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=1).close()
        except OSError:
            return False
        return True
