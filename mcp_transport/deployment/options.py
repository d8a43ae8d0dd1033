"""The options of a deployment, and the derived values on which several files must agree."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import PurePosixPath
from typing import Any, ClassVar, Final, NamedTuple

from mcp_transport.deployment.cron import Schedule
from mcp_transport.domain.policy import Policy

__all__ = ["AFFINITIES", "SERVERS", "STORES", "Deployment", "option"]

SERVERS: Final = ("daphne", "gunicorn", "uvicorn", "granian")
AFFINITIES: Final = ("none", "session", "address")
STORES: Final = ("redis", "dynamodb")
RUNTIMES: Final = ("python3.12", "python3.13", "python3.14")


class _Form(NamedTuple):
    """The form of a text option: a description for messages, and a regular expression."""

    description: str
    pattern: str


_NAME: Final = r"(?!\.{1,2}(/|$))[\w.@-]+"  # of a file or folder; not . and ..
_NAMES: Final = rf"{_NAME}(/{_NAME})*"
_PORT: Final = r"(?!0)(\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
_DOTTED: Final = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
_VARIABLE: Final = r"[A-Z][A-Z0-9_]*"
_MAX_REPLICAS: Final = 5000

_GUIDE_REGIONS: Final = ("us-east-1", "eu-west-1", "ap-southeast-1")

_SET_BY_FILES: Final = frozenset(
    {
        "MCP_REGION",
        *("DJANGO_SETTINGS_MODULE", "DJANGO_DEBUG", "DJANGO_ALLOWED_HOSTS", "DJANGO_TRUSTED_PROXIES"),
        *("POD_IP", "PUBLIC_HOSTS"),  # in Kubernetes
    }
)
"""Environment variables that the generated files set themselves."""

_LABEL: Final = _Form(
    "a name of at most 40 lower-case letters, digits and -, starting with a letter and not ending with -",
    r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?",
)
_HOST: Final = _Form(
    "a lower-case DNS name such as mcp.example.com",
    r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
)
_PATH: Final = _Form("a path that starts with / and does not end with /", r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+")
_MODULE: Final = _Form("the dotted name of a module, such as shop.settings", _DOTTED)
_HANDLER: Final = _Form(
    "a module, a dot and a name, such as shop.lambda_handler.handler", rf"{_DOTTED}\.[A-Za-z_]\w*"
)
_APPLICATION: Final = _Form("a module, a colon and a name, such as shop.asgi:application", rf"{_DOTTED}:[A-Za-z_]\w*")
_IMAGE: Final = _Form(
    "the name of an image, such as registry.example.com/shop:1.0", r"[a-z0-9][\w.:/-]{0,254}(@sha256:[0-9a-f]{64})?"
)
_VARIABLES: Final = _Form("comma-separated names of upper-case letters, digits and _", rf"{_VARIABLE}(,{_VARIABLE})*")
_ADDRESSES: Final = _Form(
    "comma-separated host:port, hosts in lower case and ports from 1 to 65535",
    rf"([a-z0-9.-]+:{_PORT}(,[a-z0-9.-]+:{_PORT})*)?",
)
_LISTEN: Final = _Form("*, an IPv4 address, or an IPv6 address in brackets", r"\*|[0-9.]+|\[[0-9a-f:]+\]")
_ABSOLUTE: Final = _Form("an absolute path of letters, digits, . _ @ and -, without ..", rf"(/{_NAME})+")
_URL_PATH: Final = _Form("a path that starts and ends with /", rf"(/({_NAME}/)+)?")
_ANYWHERE: Final = _Form("a path of letters, digits, . _ @ and -, without ..", rf"(/?{_NAMES})?")
_NETWORK: Final = _Form("a network such as 172.28.7.0/24", r"[0-9.]+/[0-9]+")
_REGION: Final = r"[a-z0-9]+(-[a-z0-9]+)*"
_REGIONS: Final = _Form("comma-separated names of regions, each once", rf"({_REGION}(,{_REGION})*)?")
_TABLE: Final = _Form("a name of 3 to 255 letters, digits, . _ and -", r"[A-Za-z0-9._-]{3,255}")
_INSIDE: Final = _Form("names of letters, digits, . _ @ and -", rf"\.|{_NAMES}")


def option(
    default: Any,
    help: str,
    *,
    form: _Form | None = None,
    choices: tuple[str, ...] = (),
    minimum: int = 1,
    maximum: int = 65535,
) -> Any:
    """Declare an option of `mcp_deploy` with its help text and its valid values."""
    metadata = {"help": help, "form": form, "choices": choices, "minimum": minimum, "maximum": maximum}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The options of one deployment; durations are seconds.

    Raises:
        ValueError: an option has an invalid value; the message starts with the option.
    """

    policy: Policy
    """The endpoint's settings: MCP_TRANSPORT."""

    name: str = option("mcp", "name of the deployment and its objects", form=_LABEL)
    host: str = option("mcp.example.com", "host name that clients use", form=_HOST)
    path: str = option("/mcp", "path of the endpoint", form=_PATH)
    settings_module: str = option("config.settings", "settings module", form=_MODULE)
    application: str = option("config.asgi:application", "ASGI application", form=_APPLICATION)
    server: str = option("daphne", "ASGI server", choices=SERVERS)
    port: int = option(8000, "port on which the server listens", minimum=1024)
    image: str = option("mcp:latest", "container image", form=_IMAGE)
    base_image: str = option("python:3.12-slim-bookworm", "base image of the container image", form=_IMAGE)
    namespace: str = option("mcp", "Kubernetes namespace", form=_LABEL)
    secrets: str = option(
        "DJANGO_SECRET_KEY,REDIS_URL",
        "comma-separated environment variables that come from secrets",
        form=_VARIABLES,
    )
    min_replicas: int = option(3, "minimum number of nodes", maximum=_MAX_REPLICAS)
    max_replicas: int = option(50, "maximum number of nodes", maximum=_MAX_REPLICAS)
    cron_start: str = option("", "when --cron-replicas start, such as '0 8 * * 1-5' (KEDA)")
    cron_end: str = option("", "when they may stop, such as '0 18 * * 1-5'")
    cron_timezone: str = option("UTC", "time zone of both, such as Europe/Berlin")
    cron_replicas: int = option(0, "minimum number of nodes between both", minimum=0, maximum=_MAX_REPLICAS)
    affinity: str = option("none", "sticky sessions (optional): none, session or address", choices=AFFINITIES)
    tls: bool = option(True, "serve HTTPS at the proxy")
    certificate: str = option("/etc/ssl/mcp/fullchain.pem", "the proxy's certificate with its chain", form=_ABSOLUTE)
    certificate_key: str = option("/etc/ssl/mcp/privkey.pem", "the certificate's private key", form=_ABSOLUTE)
    upstreams: str = option("", "comma-separated host:port of the nodes, for nginx and HAProxy", form=_ADDRESSES)
    listen: str = option("*", "address on which the proxy listens", form=_LISTEN)
    http_port: int = option(80, "HTTP port of the proxy")
    https_port: int = option(443, "HTTPS port of the proxy")
    haproxy_metrics_port: int = option(8405, "port of HAProxy's own metrics, on 127.0.0.1")
    directory: str = option("/srv/mcp", "project folder on a machine without containers", form=_ABSOLUTE)
    static_files: bool = option(True, "run collectstatic in the image")
    static_url: str = option("", "URL path of static files that nginx serves", form=_URL_PATH)
    static_root: str = option("", "folder of collected static files, relative to the project", form=_ANYWHERE)
    subnet: str = option("172.28.7.0/24", "network of the nodes in compose", form=_NETWORK)
    monitor: str = option("service-monitor", "how Prometheus discovers nodes", choices=("service-monitor", "scrape"))
    ingress_class: str = option("nginx", "Kubernetes ingress class", form=_LABEL)
    ingress_namespace: str = option("ingress-nginx", "namespace of the ingress controller", form=_LABEL)
    monitoring_namespace: str = option("monitoring", "namespace of Prometheus", form=_LABEL)
    kustomize: bool = option(False, "generate a Kustomize base with overlays")
    regions: str = option("", "regions of the deployment, if it has several, the main one first", form=_REGIONS)
    store: str = option("redis", "where sessions are with aws-ecs: ElastiCache or DynamoDB", choices=STORES)
    table: str = option("MCPSessions", "name of the DynamoDB table", form=_TABLE)
    lambda_handler: str = option("config.lambda_handler.handler", "handler of AWS Lambda", form=_HANDLER)
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
    cpu_percent: ClassVar[int] = 50
    """The CPU utilisation above which nodes are added; the rest is headroom while those start."""
    memory_percent: ClassVar[int] = 70
    """The memory utilisation above which nodes are added."""
    p95_milliseconds: ClassVar[int] = 100
    """The p95 latency above which nodes are added."""

    def __post_init__(self) -> None:
        for item in fields(self):
            if item.metadata and (error := _value_error(item.type, item.metadata, getattr(self, item.name))):
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
        if fault := self._aws_fault():
            raise ValueError(fault)
        if not re.fullmatch(_INSIDE.pattern, self.folder):
            raise ValueError(f"--output: must be {_INSIDE.description}, got {self.folder!r}")

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
        """Return the addresses of the nodes: `upstreams`, or host names NAME-1, NAME-2, ..."""
        default = [f"{self.name}-{number}:{self.port}" for number in range(1, self.min_replicas + 1)]
        return self.upstreams.split(",") if self.upstreams else default

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
    def max_body_bytes(self) -> int:
        """Return the largest body that a proxy accepts: more than the endpoint, whose error message is better."""
        return 4 * self.policy.max_request_bytes


def _value_error(kind: Any, rule: Any, value: Any) -> str:
    if kind == "int":
        is_valid = type(value) is int and rule["minimum"] <= value <= rule["maximum"]
        return "" if is_valid else f"expected a number from {rule['minimum']} to {rule['maximum']}, got {value!r}"
    if kind == "bool":
        return "" if isinstance(value, bool) else f"expected yes or no, got {value!r}"
    if rule["choices"] and value not in rule["choices"]:
        return f"expected one of {', '.join(rule['choices'])}, got {value!r}"
    if (form := rule["form"]) and not (isinstance(value, str) and re.fullmatch(form.pattern, value)):
        return f"must be {form.description}, got {value!r}"
    return ""


Files = dict[str, str]
FileGenerator = Callable[[Deployment], Files]
