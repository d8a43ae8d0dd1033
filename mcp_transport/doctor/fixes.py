"""Which line of which configuration mends what: nginx, HAProxy, a Kubernetes ingress (ingress-nginx), Django."""

from __future__ import annotations

from typing import Final

__all__ = ["FIXES"]

_INGRESS: Final = "Kubernetes ingress: nginx.ingress.kubernetes.io/"

FIXES: Final[dict[str, tuple[str, ...]]] = {
    "reachable": (
        "Is the server up, and does the path of the URL lead to it? nginx: location /mcp { proxy_pass http://...; }",
        "HAProxy: use_backend ... if { path_beg /mcp }",
        "Kubernetes ingress: spec.rules[].http.paths[].path: /mcp",
    ),
    "host": (
        "nginx: proxy_set_header Host $http_host;",
        "Django settings: ALLOWED_HOSTS = [...] with the name that clients use",
    ),
    "redirect": (
        "nginx: proxy_set_header X-Forwarded-Proto $scheme;",
        "HAProxy: http-request set-header X-Forwarded-Proto https if { ssl_fc }",
        'Django settings: SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")',
    ),
    "slash": ('Django: path("mcp", include("mcp_transport.urls")), without a slash: both forms are answered then',),
    "tls": (
        "nginx: ssl_certificate (the whole chain), ssl_protocols TLSv1.2 TLSv1.3;",
        "HAProxy: bind ... ssl crt ... ssl-min-ver TLSv1.2",
        "Kubernetes ingress: spec.tls[].secretName, and the issuer that renews it",
    ),
    "http-version": (
        "nginx: proxy_http_version 1.1; in each proxy on the way",
        "HAProxy: leave out option httpclose; a proxy that is named in Via can do no more than HTTP/1.0: replace it",
    ),
    "health": (
        'Django: mount(...) in asgi.py, or path("", include("mcp_transport.health")) in the URLconf',
        "Django settings: CACHES, if the reason names the store",
    ),
    "connection-reuse": (
        "nginx: keepalive_timeout 65s; (0 turns it off)",
        "HAProxy: option http-keep-alive; leave out option httpclose",
        "Kubernetes ingress: keep-alive in the controller's ConfigMap above 0",
    ),
    "upstream": (
        'nginx: proxy_http_version 1.1; proxy_set_header Connection ""; and keepalive 64; in the upstream',
        "HAProxy: option http-keep-alive; leave out option httpclose and http-server-close",
        _INGRESS + 'proxy-http-version: "1.1"',
    ),
    "clock": (
        "Let chrony or systemd-timesyncd keep the time, on the machine of the proxy or node that sends Date and here",
        "Django settings: the leeway of the jwt authenticator forgives 10 seconds and no more",
    ),
    "body-size": (
        "nginx: client_max_body_size 16m; (more than MAX_REQUEST_BYTES, whose refusal is JSON)",
        _INGRESS + "proxy-body-size: 16m",
        'Django settings: MCP_TRANSPORT["MAX_REQUEST_BYTES"]',
    ),
    "body-limit": (
        "nginx: client_max_body_size 16m; (0 turns it off)",
        "HAProxy: http-request deny deny_status 413 if { req.hdr_val(content-length) gt 16777216 }",
        _INGRESS + "proxy-body-size: 16m",
    ),
    "authentication": (
        "nginx: leave out proxy_hide_header WWW-Authenticate, proxy_intercept_errors and error_page for 401",
        'Django settings: MCP_TRANSPORT["RESOURCE_URL"] (the URL that clients use) and AUTHORIZATION_SERVERS',
        'Django: the mount, or path("", include("mcp_transport.well_known")) at the root of the site',
    ),
    "token": (
        "Get a new token, bound to this URL; look into the server's log for the reason of the refusal",
        'nginx: leave out auth_basic and proxy_set_header Authorization "";',
    ),
    "origin": (
        'Django settings: MCP_TRANSPORT["ALLOWED_ORIGINS"] = ["https://app.example"], with the port, if it has one',
        "nginx: proxy_set_header Host $http_host; ($host has no port, and own pages are known by it)",
    ),
    "cors": (
        "nginx: leave out add_header Access-Control-Allow-Origin for this location",
        _INGRESS + 'enable-cors: "false"',
        "Django: leave django-cors-headers out for this URL",
    ),
    "initialize": ('Django settings: MCP_TRANSPORT["PROTOCOL_VERSIONS"], and the server\'s log',),
    "session-nodes": (
        'Django settings: CACHES on a Redis that all nodes share, MCP_TRANSPORT["BACKEND"] auto or redis',
        "Django settings: the same SECRET_KEY on all nodes",
        "Without Redis, HAProxy: stick store-response res.hdr(mcp-session-id), stick match req.hdr(mcp-session-id)",
    ),
    "nodes": (
        "nginx: one server line for each node in the upstream",
        "HAProxy: one server line for each node; show stat says which are down",
        "Kubernetes: kubectl get endpoints; are all pods ready?",
    ),
    "headers": (
        'nginx: leave out proxy_set_header Mcp-Session-Id ""; and its like, proxy_pass_request_headers on;',
        "HAProxy: leave out http-request del-header and http-response del-header for them",
        "A CDN or API gateway: forward Mcp-*, MCP-Protocol-Version and Last-Event-ID, and do not cache",
    ),
    "first-event": (
        "nginx: proxy_buffering off; and no proxy_ignore_headers X-Accel-Buffering",
        "HAProxy: leave out option http-buffer-request and filters that collect answers",
        _INGRESS + 'proxy-buffering: "off"',
    ),
    "event-spacing": (
        "HAProxy: option http-no-delay",
        "nginx: tcp_nodelay on; and proxy_buffering off;",
        "uvicorn: --host and --port, not --fd, which leaves Nagle's algorithm on",
    ),
    "compression": (
        "nginx: leave text/event-stream out of gzip_types (and brotli_types)",
        "HAProxy: leave text/event-stream out of compression type",
        "Django settings: leave out middleware that compresses what has a Content-Encoding, or use mount(...)",
    ),
    "idle": (
        "nginx: proxy_read_timeout 300s; (and send_timeout), many times KEEPALIVE_SECONDS",
        "HAProxy: timeout server 300s, timeout client 300s, timeout tunnel 300s",
        _INGRESS + 'proxy-read-timeout: "300"',
        'Django settings: MCP_TRANSPORT["KEEPALIVE_SECONDS"] below half of the shortest timeout on the way',
    ),
    "resume": (
        "Django settings: CACHES on a Redis that all nodes share, so that a stream goes on at any node",
        "nginx: leave out proxy_cache for this location",
    ),
    "delete": (
        "nginx: leave out limit_except and dav_methods for this location",
        "HAProxy: leave out http-request deny for DELETE",
        "Django settings: CACHES on a Redis that all nodes share",
    ),
}
