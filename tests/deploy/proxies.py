"""The proxies as `mcp_deploy` generates them, on free ports of the loopback interface."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mcp_transport.deployment import Deployment, generate
from mcp_transport.domain.policy import Policy
from tests.support.processes import LOOPBACK, Process, free_port, program

Edit = Callable[[str], str]

# Ignores a proxy of the environment.
_opener = urllib.request.build_opener(
    urllib.request.ProxyHandler({}),
    urllib.request.HTTPSHandler(context=ssl._create_unverified_context()),  # noqa: S323
)


class Proxy(Process):
    """A proxy in front of nodes; `edit` breaks its configuration for tests that must fail then."""

    file: ClassVar[str]

    def __init__(
        self, ports: Sequence[int], *, edit: Edit | None = None, folder: Path | None = None, **options: Any
    ) -> None:
        super().__init__(folder=folder)
        self.ports, self.edit, self.options = [*ports], edit, {"tls": False, **options}
        self.plain_port, self.metrics_port = free_port(), free_port()

    @property
    def certificate(self) -> Path:
        """The path of its certificate for localhost, with the key beside it."""
        return self.folder / "fullchain.pem"

    def generated(self) -> str:
        """Return the generated file."""
        return generate(self.role, self.deployment())[self.file]

    def deployment(self) -> Deployment:
        """Return the deployment of which the proxy is a part."""
        plain, secure = (self.plain_port, self.port) if self.options["tls"] else (self.port, self.plain_port)
        return Deployment(
            policy=Policy(),
            listen=LOOPBACK,
            http_port=plain,
            https_port=secure,
            haproxy_metrics_port=self.metrics_port,
            certificate=str(self.certificate),
            certificate_key=f"{self.certificate}.key",
            upstreams=",".join(f"{LOOPBACK}:{port}" for port in self.ports),
            **self.options,
        )

    @abstractmethod
    def placed(self, text: str) -> str:
        """Return the configuration without the paths of a system-wide proxy."""

    def configuration(self) -> Path:
        """Write the configuration and return its path."""
        if self.options["tls"] and not self.certificate.exists():
            _make_certificate(self.certificate)
        text = self.placed(self.generated())
        if self.edit is not None:
            edited = self.edit(text)
            assert edited != text, "nothing is broken"
            text = edited
        path = self.folder / self.file
        path.write_text(text)
        return path

    @abstractmethod
    def check(self) -> subprocess.CompletedProcess[str]:
        """Validate the configuration with the proxy's own program."""

    def is_ready(self) -> bool:
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=1).close()
        except OSError:
            return False
        return True


class Nginx(Proxy):
    """The generated nginx.conf."""

    role = "nginx"
    file = "nginx.conf"

    def placed(self, text: str) -> str:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "".join(f"    {kind}_temp_path {self.folder}/{kind};\n" for kind in kinds)
        return text.replace("/var/log/nginx", str(self.folder)).replace("http {\n", f"http {{\n{paths}", 1)

    @property
    def own(self) -> str:
        """Lines for running as the test's user, because workers of another user could not read its folder."""
        user = "user root; " if os.geteuid() == 0 else ""
        return f"{user}pid {self.folder}/nginx.pid;"

    def command(self) -> list[str]:
        (self.folder / "nginx.pid").unlink(missing_ok=True)
        return [program("nginx"), "-e", "stderr", "-c", str(self.configuration()), "-g", f"daemon off; {self.own}"]

    def check(self) -> subprocess.CompletedProcess[str]:
        return _run(program("nginx"), "-t", "-e", "stderr", "-c", str(self.configuration()), "-g", self.own)

    def is_ready(self) -> bool:
        return (self.folder / "nginx.pid").exists() and super().is_ready()  # written when it has bound the port


class HAProxy(Proxy):
    """The generated haproxy.cfg."""

    role = "haproxy"
    file = "haproxy.cfg"

    def placed(self, text: str) -> str:
        theirs = ("    user haproxy\n", "    group haproxy\n", "    chroot /var/lib/haproxy\n")
        for line in theirs:
            assert line in text
            text = text.replace(line, "")
        socket_line = "stats socket /run/haproxy/admin.sock user root group haproxy"
        assert socket_line in text
        return text.replace(socket_line, f"stats socket {self.folder}/admin.sock")

    def command(self) -> list[str]:
        return [program("haproxy"), "-db", "-f", str(self.configuration())]

    def check(self) -> subprocess.CompletedProcess[str]:
        return _run(program("haproxy"), "-c", "-f", str(self.configuration()))


class Caddy(Proxy):
    """The generated Caddyfile."""

    role = "caddy"
    file = "Caddyfile"

    def placed(self, text: str) -> str:
        return text.replace("\thttp_port", f"\tadmin off\n\tstorage file_system {self.folder}\n\thttp_port", 1)

    def command(self) -> list[str]:
        return [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(self.configuration())]

    def check(self) -> subprocess.CompletedProcess[str]:
        return _run(program("caddy"), "validate", "--adapter", "caddyfile", "--config", str(self.configuration()))


class Traefik(Proxy):
    """Both generated files of Traefik; `edit` changes the one that leads to the nodes."""

    role = "traefik"
    file = "dynamic.yaml"

    def placed(self, text: str) -> str:
        static = generate(self.role, self.deployment())["traefik.yaml"]
        (self.folder / "traefik.yaml").write_text(static.replace("/etc/traefik", str(self.folder)))
        return text

    def command(self) -> list[str]:
        self.configuration()
        return [program("traefik"), f"--configFile={self.folder / 'traefik.yaml'}"]

    def check(self) -> subprocess.CompletedProcess[str]:
        raise NotImplementedError("Traefik has no such command")

    def is_ready(self) -> bool:
        """Tell whether it has read the file that leads to the nodes; before that all is 404, or it refuses TLS."""
        if not super().is_ready():
            return False
        scheme = "https" if self.options["tls"] else "http"
        request = f"{scheme}://localhost:{self.port}/readyz"  # which stand-ins do not count
        try:
            _opener.open(request, timeout=5).close()
        except urllib.error.HTTPError as error:
            return error.code != 404
        except OSError:
            return False
        return True


KINDS = (Nginx, HAProxy)
NAMED = (Caddy, Traefik)  # they serve only the host of the deployment


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603


def _make_certificate(path: Path) -> None:
    """Write a certificate for localhost; its key is beside it, in .key."""
    created = _run(
        *(program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-days", "2", "-subj", "/CN=localhost", "-addext", f"subjectAltName=DNS:localhost,IP:{LOOPBACK}"),
        *("-out", str(path), "-keyout", f"{path}.key"),
    )
    assert created.returncode == 0, created.stderr
