"""System checks that run with `check --deploy` only, since they concern the place where a project is served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Warning

from mcp_transport import conf, static_files

__all__ = ["DEPLOY_CHECKS"]

_OTHER_FILES: Final = 1024
"""Files besides the sockets of calls: open streams, idle connections, databases, Redis, logs."""


def check_static_files(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn about static files that are not served."""
    if "django.contrib.staticfiles" not in settings.INSTALLED_APPS or static_files.are_served():
        return
    if not getattr(settings, "STATIC_ROOT", None):
        yield Warning(
            "STATIC_ROOT is not set, and ASGI servers do not serve static files, so the admin has no styles.",
            hint="Set STATIC_ROOT, run collectstatic and let the web server serve it, or use WhiteNoise; "
            "see docs/howto/deploy-with-daphne.md, also for development.",
            id="mcp_transport.W014",
        )


def check_open_files(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn about a limit of open files below the calls that the settings allow, each of which has a socket."""
    if conf.faults() or (limit := _open_files_limit()) is None:
        return
    calls = conf.get("MAX_CONCURRENT_CALLS") + conf.get("MAX_QUEUED_CALLS")
    if limit < calls + _OTHER_FILES:
        yield Warning(
            f"A process may open {limit} files, sockets included, which is less than MAX_CONCURRENT_CALLS and "
            f"MAX_QUEUED_CALLS ({calls}) with {_OTHER_FILES} for streams and connections.",
            hint="Raise the limit where the server is started: `ulimit -n 65536`, LimitNOFILE= in a systemd unit, "
            "`ulimits` in compose; or lower these settings. If the server has another limit than this shell, silence "
            "this check.",
            id="mcp_transport.W017",
        )


DEPLOY_CHECKS: Final[tuple[Callable[..., Iterator[CheckMessage]], ...]] = (check_static_files, check_open_files)
"""The checks that run with `check --deploy` only."""


def _open_files_limit() -> int | None:
    """Return how many files this process may open; None if there is no limit, or no way to read it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if limit == resource.RLIM_INFINITY else limit
