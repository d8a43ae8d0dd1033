"""What is deployed, and every number that more than one file has to agree on."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

from mcp_transport.domain.policy import Policy

__all__ = ["AFFINITIES", "SERVERS", "Deployment", "option"]

SERVERS: Final = ("daphne", "gunicorn", "uvicorn", "granian")
AFFINITIES: Final = ("none", "session", "address")


class _Form(NamedTuple):
    """What a text has to be, in words and as a regular expression."""

    words: str
    pattern: str


_NAME: Final = r"(?!\.{1,2}(/|$))[\w.@-]+"  # of a file or folder; .. would lead elsewhere
_NAMES: Final = rf"{_NAME}(/{_NAME})*"
_PORT: Final = r"(?!0)(\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
_DOTTED: Final = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
_VARIABLE: Final = r"[A-Z][A-Z0-9_]*"
_MOST_NODES: Final = 5000

_SET: Final = frozenset(
    {
        *("DJANGO_SETTINGS_MODULE", "DJANGO_DEBUG", "DJANGO_ALLOWED_HOSTS", "DJANGO_TRUSTED_PROXIES"),
        *("POD_IP", "PUBLIC_HOSTS"),  # Kubernetes'
    }
)
"""The environment variables that the emitted files set themselves."""

_LABEL: Final = _Form(
    "a name of at most 40 lower-case letters, digits and -, which begins with a letter and does not end with -",
    r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?",
)
_HOST: Final = _Form(
    "a host name in lower case, without scheme and port",
    r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
)
_PATH: Final = _Form("a path that begins with / and does not end with it", r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+")
_MODULE: Final = _Form("the dotted name of a module, such as shop.settings", _DOTTED)
_APPLICATION: Final = _Form("a module, a colon and a name, such as shop.asgi:application", rf"{_DOTTED}:[A-Za-z_]\w*")
_IMAGE: Final = _Form(
    "the name of an image, such as registry.example.com/shop:1.0", r"[a-z0-9][\w.:/-]{0,254}(@sha256:[0-9a-f]{64})?"
)
_VARIABLES: Final = _Form(
    "names of upper-case letters, digits and _, with commas between", rf"{_VARIABLE}(,{_VARIABLE})*"
)
_ADDRESSES: Final = _Form(
    "host:port with commas between, hosts in lower case and ports from 1 to 65535",
    rf"([a-z0-9.-]+:{_PORT}(,[a-z0-9.-]+:{_PORT})*)?",
)
_LISTEN: Final = _Form("*, an address, or one of IPv6 in brackets", r"\*|[0-9.]+|\[[0-9a-f:]+\]")
_ABSOLUTE: Final = _Form("an absolute path of letters, digits, . _ @ and -, without ..", rf"(/{_NAME})+")
_URL_PATH: Final = _Form("a path that begins and ends with /", rf"(/({_NAME}/)+)?")
_ANYWHERE: Final = _Form("a path of letters, digits, . _ @ and -, without ..", rf"(/?{_NAMES})?")
_NETWORK: Final = _Form("a network such as 172.28.7.0/24", r"[0-9.]+/[0-9]+")
_INSIDE: Final = _Form("names of letters, digits, . _ @ and -", rf"\.|{_NAMES}")


def option(
    default: Any,
    help: str,
    *,
    form: _Form | None = None,
    choices: tuple[str, ...] = (),
    least: int = 1,
    most: int = 65535,
) -> Any:
    """Declare an option of `mcp_deploy`: what it may be, and what it is for."""
    metadata = {"help": help, "form": form, "choices": choices, "least": least, "most": most}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A project on its way to production; durations are seconds.

    Raises:
        ValueError: an option has a value that it cannot have; the text names the option.
    """

    policy: Policy
    """What the endpoint itself was told: MCP_TRANSPORT of the settings."""

    name: str = option("mcp", "what everything is called", form=_LABEL)
    host: str = option("mcp.example.com", "the name that clients use", form=_HOST)
    path: str = option("/mcp", "where the endpoint is", form=_PATH)
    settings_module: str = option("config.settings", "the settings module", form=_MODULE)
    application: str = option("config.asgi:application", "the ASGI application", form=_APPLICATION)
    server: str = option("daphne", "the ASGI server", choices=SERVERS)
    port: int = option(8000, "the port that the server listens on", least=1024)
    image: str = option("mcp:latest", "the container image", form=_IMAGE)
    base_image: str = option("python:3.12-slim-bookworm", "what the image is built on", form=_IMAGE)
    namespace: str = option("mcp", "the Kubernetes namespace", form=_LABEL)
    secrets: str = option(
        "DJANGO_SECRET_KEY,REDIS_URL",
        "environment variables that come from secrets, with commas between",
        form=_VARIABLES,
    )
    nodes: int = option(3, "how many nodes run at least", most=_MOST_NODES)
    most_nodes: int = option(50, "how many nodes run at most", most=_MOST_NODES)
    affinity: str = option("none", "what a load balancer keeps at one node; nothing needs it", choices=AFFINITIES)
    tls: bool = option(True, "does the proxy speak TLS?")
    certificate: str = option("/etc/ssl/mcp/fullchain.pem", "the proxy's certificate, and its chain", form=_ABSOLUTE)
    certificate_key: str = option("/etc/ssl/mcp/privkey.pem", "the key of the certificate", form=_ABSOLUTE)
    upstreams: str = option(
        "", "addresses of the nodes for nginx and HAProxy, host:port with commas between", form=_ADDRESSES
    )
    listen: str = option("*", "the address that the proxy listens on", form=_LISTEN)
    http_port: int = option(80, "the port of the proxy for HTTP")
    https_port: int = option(443, "the port of the proxy for HTTPS")
    haproxy_metrics_port: int = option(8405, "the port of HAProxy's own metrics, on 127.0.0.1")
    directory: str = option("/srv/mcp", "where the project is on a machine without containers", form=_ABSOLUTE)
    static_files: bool = option(True, "does the image collect static files?")
    static_url: str = option("", "the path of static files that nginx serves", form=_URL_PATH)
    static_root: str = option("", "where they are collected, from the project's folder", form=_ANYWHERE)
    subnet: str = option("172.28.7.0/24", "the network of compose's nodes", form=_NETWORK)
    monitor: str = option("service-monitor", "how Prometheus finds nodes", choices=("service-monitor", "scrape"))
    ingress_class: str = option("nginx", "the Kubernetes ingress class", form=_LABEL)
    ingress_namespace: str = option("ingress-nginx", "where the ingress controller runs", form=_LABEL)
    monitoring_namespace: str = option("monitoring", "where Prometheus runs", form=_LABEL)
    kustomize: bool = option(False, "shall Kubernetes files be a base with overlays?")
    folder: str = "deploy"
    """Where the files are, as seen from the project's folder."""

    def __post_init__(self) -> None:
        for item in fields(self):
            if item.metadata and (problem := _problem(item.type, item.metadata, getattr(self, item.name))):
                raise ValueError(f"--{item.name.replace('_', '-')}: {problem}")
        if self.most_nodes < self.nodes:
            raise ValueError(f"--most-nodes: expected {self.nodes} (--nodes) or more, got {self.most_nodes}")
        if self.local_ports[-1] > 65535:
            raise ValueError(f"--port: expected room for {self.nodes} ports (--nodes) below 65536, got {self.port}")
        if self.tls and self.http_port == self.https_port:
            raise ValueError(f"--https-port: expected another port than --http-port, got {self.https_port} twice")
        [(address, times)] = Counter(self.addresses).most_common(1)
        if times > 1:
            raise ValueError(f"--upstreams: expected each address once, got {address} {times} times")
        if not re.fullmatch(_INSIDE.pattern, self.folder):
            raise ValueError(f"--output: expected {_INSIDE.words}, got {self.folder!r}")

    # -- what more than one file says ----------------------------------------------------------------

    @property
    def secret_names(self) -> list[str]:
        """Return the environment variables that no emitted file has a value for."""
        return [name for name in self.variables if name not in _SET]

    @property
    def variables(self) -> list[str]:
        """Return all that `secrets` names: an image is built without any of them."""
        return list(dict.fromkeys(self.secrets.split(",")))

    @property
    def uid(self) -> int:
        """Return the user and group that a container runs as: no user of the machine."""
        return 10001

    @property
    def open_files(self) -> int:
        """Return how many files and sockets a process may have open: each stream is one, in a proxy two."""
        return 65536

    @property
    def closes_ports(self) -> bool:
        """Tell whether a server's port can be closed before its calls have ended."""
        return self.server in ("daphne", "uvicorn")

    @property
    def notice(self) -> int:
        """Return how long load balancers have to notice that a node drains, before it refuses anything."""
        return 5

    @property
    def pre_stop(self) -> int:
        """Return after how long `mcp_drain` gives up waiting for running calls; SIGTERM waits on."""
        return 15

    @property
    def drain(self) -> int:
        """Return how long running calls have after SIGTERM: DRAIN_SECONDS."""
        return math.ceil(self.policy.drain)

    @property
    def grace(self) -> int:
        """Return after how long a node may be killed: draining, its last words and the server's own end are over."""
        return self.pre_stop + self.server_end + 5

    @property
    def read_timeout(self) -> int:
        """Return how long a proxy waits for a node's next byte: a silent stream has a comment many times in it."""
        return max(300, math.ceil(8 * self.policy.keepalive))

    @property
    def connect_timeout(self) -> int:
        """Return how long a proxy waits for a node to take a connection."""
        return 2

    @property
    def idle_timeout(self) -> int:
        """Return how long a proxy keeps an idle connection to a node: less than any server does (uvicorn: 5)."""
        return 3

    @property
    def addresses(self) -> list[str]:
        """Return where a proxy finds the nodes: `upstreams`, or hosts that are called after them."""
        default = [f"{self.name}-{number}:{self.port}" for number in range(1, self.nodes + 1)]
        return self.upstreams.split(",") if self.upstreams else default

    @property
    def local_ports(self) -> list[int]:
        """Return the ports of nodes that share a machine, and its network."""
        return [self.port + number for number in range(self.nodes)]

    @property
    def serves_static_files(self) -> bool:
        """Tell whether nginx serves what the project has collected."""
        return bool(self.static_files and self.static_url and self.static_root)

    @property
    def collected(self) -> str:
        """Return where nginx reads static files: in the project's folder, unless they are collected elsewhere."""
        return f"{PurePosixPath(self.directory) / self.static_root}"

    @property
    def collected_in_image(self) -> str:
        """Return where the image has them."""
        return f"{PurePosixPath('/app') / self.static_root}"

    @property
    def origin(self) -> str:
        """Return scheme, host and port that clients use."""
        return f"http{'s' if self.tls else ''}://{self.host}{self.port_suffix}"

    @property
    def port_suffix(self) -> str:
        """Return what follows the host in addresses that clients use: nothing, where the port is the usual one."""
        port, usual = (self.https_port, 443) if self.tls else (self.http_port, 80)
        return f":{port}" if port != usual else ""

    @property
    def keep_alive(self) -> int:
        """Return how long a server that can be told keeps idle connections: longer than ALB or an ingress (60)."""
        return 75

    @property
    def server_end(self) -> int:
        """Return after how long a server may kill its own workers: draining and its last words are over."""
        return self.drain + 10

    @property
    def request_timeout(self) -> int:
        """Return how long a proxy waits for the whole of a request: as long as the endpoint."""
        return math.ceil(self.policy.body_timeout)

    @property
    def send_timeout(self) -> int:
        """Return how long a proxy waits for a client that reads nothing: longer than a node does."""
        return max(60, math.ceil(2 * self.policy.write_timeout))

    @property
    def connections(self) -> int:
        """Return how many clients' connections a proxy takes: one for each open stream."""
        return 8192

    @property
    def proxy_sockets(self) -> int:
        """Return how many connections that makes: each one of a client has another one to a node."""
        return 2 * self.connections

    @property
    def proxy_files(self) -> int:
        """Return how many files a proxy may have open: bodies that wait are files, too."""
        return 2 * self.proxy_sockets

    @property
    def hsts(self) -> int:
        """Return how long browsers insist on HTTPS, where Django does not say: a day, until all is well."""
        return 86400

    @property
    def check_interval(self) -> int:
        """Return how often a load balancer asks for readiness; two refusals in `notice` take a node out."""
        return 2

    @property
    def session_ttl(self) -> int:
        """Return how long a session lives unused: SESSION_TTL_SECONDS."""
        return math.ceil(self.policy.session_ttl)

    @property
    def scrape_interval(self) -> int:
        """Return how often Prometheus reads a node's numbers: as often as Kubernetes decides how many nodes run."""
        return 15

    @property
    def cpu_percent(self) -> int:
        """Return how busy nodes are at most, before others are added: they carry on while those start."""
        return 50

    @property
    def memory_percent(self) -> int:
        """Return how much of their memory nodes use at most, before others are added."""
        return 70

    @property
    def p95_milliseconds(self) -> int:
        """Return within how long 95 of 100 calls shall end: above it, nodes are added."""
        return 100

    @property
    def max_body_bytes(self) -> int:
        """Return the largest body that a proxy lets through: more than the endpoint, whose answer is better."""
        return 4 * self.policy.max_request_bytes


def _problem(kind: Any, rule: Any, value: Any) -> str:
    if kind == "int":
        is_right = isinstance(value, int) and not isinstance(value, bool) and rule["least"] <= value <= rule["most"]
        return "" if is_right else f"expected a number from {rule['least']} to {rule['most']}, got {value!r}"
    if kind == "bool":
        return "" if isinstance(value, bool) else f"expected yes or no, got {value!r}"
    if rule["choices"] and value not in rule["choices"]:
        return f"expected one of {', '.join(rule['choices'])}, got {value!r}"
    if (form := rule["form"]) and not (isinstance(value, str) and re.fullmatch(form.pattern, value)):
        return f"expected {form.words}, got {value!r}"
    return ""


Files = dict[str, str]
Emitter = Callable[[Deployment], Files]
