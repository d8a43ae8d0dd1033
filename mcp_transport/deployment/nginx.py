"""Target `nginx`: the complete configuration, or a file for a server that has other sites."""

from __future__ import annotations

from textwrap import indent
from typing import Final

from mcp_transport.deployment.options import Deployment, Files
from mcp_transport.deployment.rendering import render

__all__ = ["files", "listen_addresses"]

_EVERYWHERE: Final = ("*", "[::]")


def files(deployment: Deployment) -> Files:
    """Return `nginx.conf`, or `NAME.conf` for the folder conf.d."""
    if deployment.nginx_layout == "complete":
        return {"nginx.conf": _render(deployment, "nginx.conf", backlog=f" backlog={deployment.backlog}")}
    # Variables and zones are names of the whole server. Options of a listening socket belong to one of its sites.
    prefix = f"{deployment.name.replace('-', '_')}_"
    return {f"{deployment.name}.conf": _render(deployment, "shared.conf", prefix=prefix)}


def listen_addresses(deployment: Deployment) -> tuple[str, ...]:
    """Return the addresses on which a proxy listens: `*` is those of IPv4, and of IPv6."""
    return _EVERYWHERE if deployment.listen == "*" else (deployment.listen,)


def _render(deployment: Deployment, template: str, *, prefix: str = "", backlog: str = "") -> str:
    context = {"v": prefix, "backlog": backlog, "listens": listen_addresses(deployment)}
    site = render("nginx/site.conf", deployment, **context)
    if template == "nginx.conf":
        site = indent(site, "    ")
    return render(f"nginx/{template}", deployment, site=site)
