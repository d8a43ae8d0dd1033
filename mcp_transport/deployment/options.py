"""The options of a deployment, and the derived values on which several files must agree."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from typing import ClassVar, Final

from mcp_transport.deployment import forms
from mcp_transport.deployment.cron import Schedule
from mcp_transport.deployment.forms import option
from mcp_transport.deployment.kubernetes_options import KubernetesOptions
from mcp_transport.domain.policy import Policy

__all__ = ["AFFINITIES", "SERVERS", "STORES", "Deployment"]

SERVERS: Final = ("daphne", "gunicorn", "uvicorn", "granian")
AFFINITIES: Final = ("none", "session", "address")
STORES: Final = ("redis", "dynamodb")
RUNTIMES: Final = ("python3.12", "python3.13", "python3.14")
_MAX_REPLICAS: Final = 5000
_CERTIFICATE: Final = "/etc/ssl/mcp/fullchain.pem"

_GUIDE_REGIONS: Final = ("us-east-1", "eu-west-1", "ap-southeast-1")

_SET_BY_FILES: Final = frozenset(
    {
        "MCP_REGION",
        *("DJANGO_SETTINGS_MODULE", "DJANGO_DEBUG", "DJANGO_ALLOWED_HOSTS", "DJANGO_TRUSTED_PROXIES"),
        *("POD_IP", "PUBLIC_HOSTS"),  # in Kubernetes
    }
)
"""Environment variables that the generated files set themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment(KubernetesOptions):
    """The options of one deployment; durations are seconds.

    Raises:
        ValueError: an option has an invalid value; the message starts with the option.
    """

    policy: Policy
    """The endpoint's settings: MCP_TRANSPORT."""

    name: str = option("mcp", "name of the deployment and its objects", form=forms.LABEL)
    host: str = option("mcp.example.com", "host name that clients use", form=forms.HOST)
    path: str = option("/mcp", "path of the endpoint", form=forms.PATH)
    settings_module: str = option("config.settings", "settings module", form=forms.MODULE)
    application: str = option("config.asgi:application", "ASGI application", form=forms.APPLICATION)
    python_path: str = option(".", "folder of the project's packages, relative to the project", form=forms.INSIDE)
    server: str = option("daphne", "ASGI server", choices=SERVERS)
    port: int = option(8000, "port on which the server listens", minimum=1024)
    image: str = option("mcp:latest", "container image", form=forms.IMAGE)
    base_image: str = option("python:3.12-slim-bookworm", "base image of the container image", form=forms.IMAGE)
    secrets: str = option(
        "DJANGO_SECRET_KEY,REDIS_URL",
        "comma-separated environment variables that come from secrets",
        form=forms.VARIABLES,
    )
    env: tuple[str, ...] = option((), "NAME=VALUE for the nodes, not secret (repeatable)", form=forms.VARIABLE)
    min_replicas: int = option(3, "minimum number of nodes", maximum=_MAX_REPLICAS)
    max_replicas: int = option(50, "maximum number of nodes", maximum=_MAX_REPLICAS)
    cron_start: str = option("", "when --cron-replicas start, such as '0 8 * * 1-5' (KEDA)")
    cron_end: str = option("", "when they may stop, such as '0 18 * * 1-5'")
    cron_timezone: str = option("UTC", "time zone of both, such as Europe/Berlin")
    cron_replicas: int = option(0, "minimum number of nodes between both", minimum=0, maximum=_MAX_REPLICAS)
    affinity: str = option("none", "sticky sessions (optional): none, session or address", choices=AFFINITIES)
    tls: bool = option(True, "serve HTTPS at the proxy")
    certificate: str = option(_CERTIFICATE, "the proxy's certificate with its chain", form=forms.ABSOLUTE)
    certificate_key: str = option("/etc/ssl/mcp/privkey.pem", "the certificate's private key", form=forms.ABSOLUTE)
    upstreams: str = option("", "comma-separated host:port of the nodes, for proxies", form=forms.ADDRESSES)
    listen: str = option("*", "address on which the proxy listens", form=forms.LISTEN)
    http_port: int = option(80, "HTTP port of the proxy")
    https_port: int = option(443, "HTTPS port of the proxy")
    nginx_layout: str = option(
        "complete", "a complete nginx.conf, or a file for conf.d of a shared nginx", choices=("complete", "conf.d")
    )
    haproxy_metrics_port: int = option(8405, "port of HAProxy's own metrics, on 127.0.0.1")
    directory: str = option("/srv/mcp", "project folder on a machine without containers", form=forms.ABSOLUTE)
    static_files: bool = option(True, "run collectstatic in the image")
    static_url: str = option("", "URL path of static files that nginx serves", form=forms.URL_PATH)
    static_root: str = option("", "folder of collected static files, relative to the project", form=forms.ANYWHERE)
    subnet: str = option("172.28.7.0/24", "network of the nodes in compose", form=forms.NETWORK)
    monitor: str = option("service-monitor", "how Prometheus discovers nodes", choices=("service-monitor", "scrape"))
    regions: str = option("", "regions of the deployment, if it has several, the main one first", form=forms.REGIONS)
    store: str = option("redis", "where sessions are with aws-ecs: ElastiCache or DynamoDB", choices=STORES)
    table: str = option("MCPSessions", "name of the DynamoDB table", form=forms.TABLE)
    lambda_handler: str = option("config.lambda_handler.handler", "handler of AWS Lambda", form=forms.HANDLER)
    lambda_runtime: str = option("python3.12", "runtime of AWS Lambda", choices=RUNTIMES)
    reserved_concurrency: int = option(100, "maximum number of sandboxes of AWS Lambda", maximum=1000)
    provisioned_concurrency: int = option(0, "number of sandboxes that are kept warm", minimum=0, maximum=1000)
    folder: str = "deploy"
    """The folder of the generated files, relative to the project folder."""

    # -- constants in several files ------------------------------------------------------------------

    uid: ClassVar[int] = 10001
    """The user and group id of containers, which no user of a machine has."""
    open_files: ClassVar[int] = 65536
    """The limit of open files and sockets of a process: one for each stream, two in a proxy."""
    backlog: ClassVar[int] = 2048
    """How many connections the kernel keeps until the server accepts them, at most net.core.somaxconn."""
    drain_notice: ClassVar[int] = 5
    """How long a draining node accepts requests, until load balancers see that it is not ready."""
    pre_stop_timeout: ClassVar[int] = 15
    """How long `mcp_drain` waits for running calls; after that SIGTERM waits for them."""
    connect_timeout: ClassVar[int] = 2
    """How long a proxy waits for a connection to a node."""
    idle_timeout: ClassVar[int] = 3
    """How long a proxy keeps an idle connection to a node: less than any server does (uvicorn: 5)."""
    keep_alive: ClassVar[int] = 75
    """How long a server keeps idle connections, if it has an option: longer than an ALB (60)."""
    connections: ClassVar[int] = 8192
    """The maximum number of client connections of a proxy: one for each open stream."""
    proxy_sockets: ClassVar[int] = 2 * connections
    """The maximum number of sockets of a proxy: each client connection has another one to a node."""
    proxy_files: ClassVar[int] = 2 * proxy_sockets
    """The limit of open files of a proxy: buffered bodies are files too."""
    hsts: ClassVar[int] = 86400
    """The max-age of HSTS if Django sets none: a day, short while a deployment is new."""
    check_interval: ClassVar[int] = 2
    """The interval of readiness checks; two failures, within `drain_notice`, remove a node."""
    scrape_interval: ClassVar[int] = 15
    """The scrape interval of Prometheus: the interval in which Kubernetes' autoscaler decides."""

    def __post_init__(self) -> None:
        for item in fields(self):
            if item.metadata and (error := forms.value_error(item.type, item.metadata, getattr(self, item.name))):
                raise ValueError(f"--{item.name.replace('_', '-')}: {error}")
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"--max-replicas: must not be below --min-replicas, got {self.max_replicas}")
        if fault := self.schedule.fault(self.min_replicas, self.max_replicas):
            raise ValueError(fault)
        if self.local_ports[-1] > 65535:
            raise ValueError(f"--port: must leave --min-replicas ports below 65536, got {self.port}")
        if self.tls and self.http_port == self.https_port:
            raise ValueError(f"--https-port: must differ from --http-port, got {self.https_port} twice")
        [(address, times)] = Counter(self.addresses).most_common(1)
        if times > 1:
            raise ValueError(f"--upstreams: each address must be unique, got {address} {times} times")
        if fault := self._environment_fault() or self._aws_fault():
            raise ValueError(fault)
        if not re.fullmatch(forms.INSIDE.pattern, self.folder):
            raise ValueError(f"--output: must be {forms.INSIDE.description}, got {self.folder!r}")

    def _environment_fault(self) -> str:
        names = [pair.partition("=")[0] for pair in self.env]
        [(name, times)] = Counter(names).most_common(1) or [("", 0)]
        if times > 1:
            return f"--env: each variable must be unique, got {name} {times} times"
        reserved = sorted({*names} & {*_SET_BY_FILES, *self.variables})
        return f"--env: {reserved[0]} is set by the files, or in --secrets" if reserved else ""

    def _aws_fault(self) -> str:
        [(region, times)] = Counter(self.region_names).most_common(1)
        if times > 1:
            return f"--regions: each region must be unique, got {region} {times} times"
        limit, number = self.reserved_concurrency, self.provisioned_concurrency
        too_many = f"--provisioned-concurrency: must not exceed --reserved-concurrency, {limit}, got {number}"
        return too_many if number > limit else ""

    # -- values in several files ---------------------------------------------------------------------

    @property
    def schedule(self) -> Schedule:
        """Return when more nodes run; with a schedule, KEDA scales in place of Kubernetes' autoscaler."""
        return Schedule(self.cron_start, self.cron_end, self.cron_timezone, self.cron_replicas)

    @property
    def secret_names(self) -> list[str]:
        """Return the environment variables without a value in the generated files."""
        return [name for name in self.variables if name not in _SET_BY_FILES]

    @property
    def variables(self) -> list[str]:
        """Return all names in `secrets`; an image is built without any of them."""
        return list(dict.fromkeys(self.secrets.split(",")))

    @property
    def environment(self) -> dict[str, str]:
        """Return further environment variables of the nodes, which are no secrets."""
        return dict(pair.split("=", 1) for pair in self.env)

    def import_path(self, root: str) -> str:
        """Return the folder of the project's packages, if servers do not look there by themselves."""
        return "" if self.python_path == "." else f"{PurePosixPath(root) / self.python_path}"

    @property
    def image_import_path(self) -> str:
        """Return that folder in the image."""
        return self.import_path("/app")

    @property
    def local_import_path(self) -> str:
        """Return that folder on a machine without containers."""
        return self.import_path(self.directory)

    @property
    def has_own_certificate(self) -> bool:
        """Return whether a certificate was named; otherwise Caddy obtains one."""
        return self.certificate != _CERTIFICATE

    @property
    def closes_port_first(self) -> bool:
        """Return whether the server closes its port before its running calls have ended."""
        return self.server in ("daphne", "uvicorn")

    @property
    def drain(self) -> int:
        """Return how long running calls may take after SIGTERM: DRAIN_SECONDS."""
        return math.ceil(self.policy.drain)

    @property
    def termination_timeout(self) -> int:
        """Return the seconds until a node may be killed: preStop, draining, and the server's own shutdown."""
        return self.pre_stop_timeout + self.server_timeout + 5

    @property
    def read_timeout(self) -> int:
        """Return how long a proxy waits for a node's next byte: many keep-alive intervals of an idle stream."""
        return max(300, math.ceil(8 * self.policy.keepalive))

    @property
    def addresses(self) -> list[str]:
        """Return the addresses of the nodes: `upstreams`, or those of the units of systemd on this machine."""
        return self.upstreams.split(",") if self.upstreams else [f"127.0.0.1:{port}" for port in self.local_ports]

    @property
    def several_regions(self) -> list[str]:
        """Return the regions of a deployment that has several, of which the first is the main one; otherwise none."""
        names = self.regions.split(",")
        return names if len(names) > 1 else []

    @property
    def region_names(self) -> list[str]:
        """Return the AWS regions, of which the first is the main one; the guide's if none is named."""
        return self.regions.split(",") if self.regions else [*_GUIDE_REGIONS]

    @property
    def local_ports(self) -> list[int]:
        """Return the ports of nodes on one machine."""
        return [self.port + number for number in range(self.min_replicas)]

    @property
    def serves_static_files(self) -> bool:
        """Return whether nginx serves the collected static files."""
        return bool(self.static_files and self.static_url and self.static_root)

    @property
    def static_directory(self) -> str:
        """Return the folder from which nginx serves static files; a relative one is in the project folder."""
        return f"{PurePosixPath(self.directory) / self.static_root}"

    @property
    def image_static_directory(self) -> str:
        """Return the folder of the collected static files in the image."""
        return f"{PurePosixPath('/app') / self.static_root}"

    @property
    def origin(self) -> str:
        """Return scheme, host and port that clients use."""
        return f"http{'s' if self.tls else ''}://{self.host}{self.port_suffix}"

    @property
    def port_suffix(self) -> str:
        """Return the port in URLs that clients use, with a colon; empty for the default port."""
        port, default_port = (self.https_port, 443) if self.tls else (self.http_port, 80)
        return f":{port}" if port != default_port else ""

    @property
    def server_timeout(self) -> int:
        """Return the seconds until a server may kill its own workers: the drain time and a margin."""
        return self.drain + 10

    @property
    def request_timeout(self) -> int:
        """Return how long a proxy waits for a complete request: as long as the endpoint."""
        return math.ceil(self.policy.body_timeout)

    @property
    def send_timeout(self) -> int:
        """Return how long a proxy waits for a client that does not read: longer than a node does."""
        return max(60, math.ceil(2 * self.policy.write_timeout))

    @property
    def session_ttl(self) -> int:
        """Return the seconds until an unused session expires: SESSION_TTL_SECONDS."""
        return math.ceil(self.policy.session_ttl)

    @property
    def affinity_timeout(self) -> int:
        """Return how long the Service of Kubernetes remembers a client's node, in seconds: a day at most."""
        return min(self.session_ttl, 86400)

    @property
    def max_body_bytes(self) -> int:
        """Return the largest body that a proxy accepts: more than the endpoint, whose error message is better."""
        return 4 * self.policy.max_request_bytes


Files = dict[str, str]
FileGenerator = Callable[[Deployment], Files]
