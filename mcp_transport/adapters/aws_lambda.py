"""The endpoint as a function of AWS Lambda: `handler = lambda_handler("project.settings")`.

This module imports nothing, so that what takes long is imported under the conditions that `lambda_handler` makes.
"""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcp_transport.adapters.aws_function import LambdaHandler

__all__ = ["lambda_handler"]


def lambda_handler(
    settings_module: str | None = None,
    *,
    path: str = "/mcp",
    prefix: str = "",
    answer_within: float | None = None,
) -> LambdaHandler:
    """Set up Django, unless that was done, and return the handler of a function; call it once, in the module.

    `settings_module` is the default of DJANGO_SETTINGS_MODULE. `prefix` is the part before `path`, besides a stage,
    of a custom domain's mapping or a load balancer's rule. After `answer_within` seconds a call ends with an error;
    the default is what the front door waits, 29 s for a REST API and 30 s for an HTTP API, and in any case the time
    that the function has.
    """
    was_enabled = gc.isenabled()
    gc.disable()  # what is imported stays: looking for garbage in it takes a tenth of a cold start
    try:
        is_new = _set_up_django(settings_module)
        from mcp_transport.adapters.aws_function import LambdaHandler
        from mcp_transport.bootstrap import Misconfigured, endpoint
        from mcp_transport.process import startup

        startup.skip()  # the warm-up of a server runs in the background, and there is none here
        try:
            served = endpoint()
        except Misconfigured:  # which was logged
            served = None
        handler = LambdaHandler(served, path=path, prefix=prefix, answer_within=answer_within)
        if is_new:
            gc.freeze()
    finally:
        if was_enabled:
            gc.enable()
    return handler


def _set_up_django(settings_module: str | None) -> bool:
    """Set up Django; return False if somebody has done so."""
    if settings_module is not None:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings_module)
    import django
    from django.apps import apps

    if apps.ready:
        return False
    django.setup()
    return True
