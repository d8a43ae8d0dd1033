"""Configuration lines that fix each finding: nginx, HAProxy, a Kubernetes ingress (ingress-nginx), Django."""

from __future__ import annotations

from typing import Final

__all__ = ["FIXES"]

_INGRESS: Final = "Kubernetes ingress: nginx.ingress.kubernetes.io/"

FIXES: Final[dict[str, tuple[str, ...]]] = {
    "reachable": (
        "Is the server running, and does the URL's path lead to it? nginx: location /mcp { proxy_pass http://...; }",
        "HAProxy: use_backend ... if { path_beg /mcp }",
        "Kubernetes ingress: spec.rules[].http.paths[].path: /mcp",
    ),
    "listen": (
        "Is the server running, and does it listen on this address and port? A server in a container: --host 0.0.0.0",
        "nginx and HAProxy: listen ... and bind ... with this port; a firewall may refuse it, too",
    ),
    "dns": ("Correct the name in the URL, or add its A or AAAA record; inside a cluster names differ from outside",),
    "plain-http": ("Use http:// for this port, or the port of HTTPS, usually 443",),
    "https": ("Use https:// in the URL, and the port of HTTPS",),
    "certificate": (
        "mcp_doctor --insecure examines the rest; clients will not connect",
        "A certificate of a known authority, or that of your own in the clients' trust store",
        "nginx: ssl_certificate with the whole chain",
    ),
    "closed": (
        "Use https:// if the port speaks TLS; otherwise the server's or the proxy's log has the reason",
        "A firewall that resets connections",
    ),
    "unanswered": (
        "A firewall that drops packets, or a wrong address or port",
        "The server's log: it accepts connections and does not answer",
    ),
    "page": (
        "A single-page application or a login answers instead: nginx: location /mcp { proxy_pass http://...; }",
        'Django: path("mcp", include("mcp_transport.urls")) above patterns that match everything',
        "Middleware that requires a login: exempt the endpoint, which has AUTHENTICATORS of its own",
    ),
    "login": (
        "Middleware or a proxy that requires a login: exempt the endpoint, which has AUTHENTICATORS of its own",
        "oauth2-proxy: --skip-auth-route for the path of the endpoint",
    ),
    "no-route": (
        "Does the URL's path lead to the endpoint? nginx: location /mcp { proxy_pass http://...; }",
        "Traefik and other proxies of containers: they have no route while no node is ready, and answer 404",
        'Django: path("mcp", include("mcp_transport.urls")) in the URLconf, or mount(..., path="/mcp")',
    ),
    "host": (
        "nginx: proxy_set_header Host $http_host;",
        "Django settings: ALLOWED_HOSTS = [...] with the host name that clients use",
    ),
    "redirect": (
        "nginx: proxy_set_header X-Forwarded-Proto $scheme;",
        "HAProxy: http-request set-header X-Forwarded-Proto https if { ssl_fc }",
        'Django settings: SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")',
    ),
    "slash": ('Django: path("mcp", include("mcp_transport.urls")), without a trailing slash: then both forms work',),
    "tls": (
        "nginx: ssl_certificate (the whole chain), ssl_protocols TLSv1.2 TLSv1.3;",
        "HAProxy: bind ... ssl crt ... ssl-min-ver TLSv1.2",
        "Kubernetes ingress: spec.tls[].secretName, and the issuer that renews it",
    ),
    "http-version": (
        "nginx: proxy_http_version 1.1; in each proxy on the path",
        "HAProxy: remove option httpclose; a proxy in Via that supports only HTTP/1.0 must be replaced",
    ),
    "health": (
        'Django: mount(...) in asgi.py, or path("", include("mcp_transport.health")) in the URLconf',
        "Django settings: CACHES, if the reason is the store",
    ),
    "connection-reuse": (
        "nginx: keepalive_timeout 65s; (0 turns it off)",
        "HAProxy: option http-keep-alive; remove option httpclose",
        "Kubernetes ingress: keep-alive in the controller's ConfigMap above 0",
    ),
    "upstream": (
        'nginx: proxy_http_version 1.1; proxy_set_header Connection ""; and keepalive 64; in the upstream',
        "HAProxy: option http-keep-alive; remove option httpclose and http-server-close",
        _INGRESS + 'proxy-http-version: "1.1"',
    ),
    "clock": (
        "Synchronise the clocks (chrony, systemd-timesyncd) of this machine and of the proxy or node that sends Date",
        "Django settings: the jwt authenticator allows a leeway of 10 seconds",
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
        "nginx: remove proxy_hide_header WWW-Authenticate, proxy_intercept_errors and error_page for 401",
        'Django settings: MCP_TRANSPORT["RESOURCE_URL"] (the URL that clients use) and AUTHORIZATION_SERVERS',
        'Django: the mount, or path("", include("mcp_transport.well_known")) at the root of the site',
    ),
    "token": (
        "Get a new token for this URL; the server's log has the reason of the refusal",
        'nginx: remove auth_basic and proxy_set_header Authorization "";',
    ),
    "password": (
        "nginx: auth_basic off; for this location. HAProxy: remove http-request auth. Traefik: remove basicAuth",
        'Django settings: MCP_TRANSPORT["AUTHENTICATORS"] = ["token"] or ["jwt"] authenticates clients instead',
    ),
    "open": (
        'Django settings: MCP_TRANSPORT["AUTHENTICATORS"], such as ["token"]: docs/howto/authentication.md',
        "A firewall or a private network, if the endpoint is for those who reach it",
    ),
    "origin": (
        'Django settings: MCP_TRANSPORT["ALLOWED_ORIGINS"] = ["https://app.example"], with a non-default port',
        "nginx: proxy_set_header Host $http_host; ($host has no port, which the server compares with its own origin)",
    ),
    "cors": (
        "nginx: remove add_header Access-Control-Allow-Origin for this location",
        _INGRESS + 'enable-cors: "false"',
        "Django: exclude this URL from django-cors-headers",
    ),
    "initialize": ('Django settings: MCP_TRANSPORT["PROTOCOL_VERSIONS"], and the server\'s log',),
    "session-nodes": (
        'Django settings: MCP_TRANSPORT["BACKEND"] redis, with CACHES on a Redis for all nodes, or dynamodb',
        "Django settings: the same SECRET_KEY on all nodes",
        "With neither, HAProxy: stick store-response res.hdr(mcp-session-id), stick match req.hdr(mcp-session-id)",
    ),
    "nodes": (
        "nginx: one server line for each node in the upstream",
        "HAProxy: one server line for each node; `show stat` lists those that are down",
        "Kubernetes: kubectl get endpoints; are all pods ready?",
    ),
    "headers": (
        'nginx: remove proxy_set_header Mcp-Session-Id ""; and similar lines; proxy_pass_request_headers on;',
        "HAProxy: remove http-request del-header and http-response del-header for them",
        "A CDN or API gateway: forward Mcp-*, MCP-Protocol-Version and Last-Event-ID, and do not cache",
        "A web application firewall: allow these request headers; some rules drop or refuse unknown ones",
    ),
    "first-event": (
        "nginx: proxy_buffering off; and no proxy_ignore_headers X-Accel-Buffering",
        "HAProxy: remove option http-buffer-request and filters that buffer responses",
        _INGRESS + 'proxy-buffering: "off"',
    ),
    "event-spacing": (
        "HAProxy: option http-no-delay",
        "nginx: tcp_nodelay on; and proxy_buffering off;",
        "uvicorn: --host and --port instead of --fd, which leaves Nagle's algorithm enabled",
    ),
    "compression": (
        "nginx: remove text/event-stream from gzip_types (and brotli_types)",
        "HAProxy: remove text/event-stream from compression type",
        "Django settings: remove middleware that compresses responses with a Content-Encoding, or use mount(...)",
    ),
    "idle": (
        "nginx: proxy_read_timeout 300s; (and send_timeout), many times KEEPALIVE_SECONDS",
        "HAProxy: timeout server 300s, timeout client 300s, timeout tunnel 300s",
        _INGRESS + 'proxy-read-timeout: "300"',
        'Django settings: MCP_TRANSPORT["KEEPALIVE_SECONDS"] below half of the shortest timeout on the path',
    ),
    "resume": (
        "Django settings: CACHES on a Redis that all nodes share, or DynamoDB, so that any node can resume a stream",
        "nginx: remove proxy_cache for this location",
    ),
    "regions": (
        'Django settings: the same SECRET_KEY in all regions, another MCP_TRANSPORT["REGION"] in each',
        'Redis: MCP_TRANSPORT["REHYDRATE"] = True; DynamoDB: a global table, DYNAMODB["REGIONS"]',
        "Firewall: clients may reach each region's own name",
    ),
    "region-header": (
        'Django settings: MCP_TRANSPORT["REGION"] in each region; mcp_deploy --regions sets MCP_REGION',
        "nginx: remove proxy_hide_header X-MCP-Region; HAProxy: remove http-response del-header X-MCP-Region",
    ),
    "region-names": (
        "Give the URL that always leads to one region, such as https://eu-west-1.mcp.example.com/mcp",
        'Django settings: another MCP_TRANSPORT["REGION"] in each region',
    ),
    "region-cors": ("Django settings: X-MCP-Region in CORS_EXPOSE_HEADERS, or leave CORS to the endpoint",),
    "delete": (
        "nginx: remove limit_except and dav_methods for this location",
        "HAProxy: remove http-request deny for DELETE",
        "Django settings: CACHES on a Redis that all nodes share, or DynamoDB",
    ),
    "tool-list": (
        "Shorten descriptions, and schemas of results; hide tools from callers who may not use them (visible)",
        "Serve tools of different purposes from endpoints of their own",
    ),
    "restarts": (
        "Traefik: start the new one before the old one ends; it has no routes until its provider is read",
        "nginx: error_page 502 504 with 503 and Retry-After, as mcp_deploy nginx generates; no error_page with 404",
        "Kubernetes: maxUnavailable: 0 and the readiness probe, so that a Service always has endpoints",
    ),
}
