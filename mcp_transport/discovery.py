"""Discovery of every app's `mcp.py`, once: when a server starts, in `manage.py check`, or at first use."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.machinery import PathFinder
from importlib.util import find_spec
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import ManagementUtility
from django.core.management.base import BaseCommand
from django.utils import translation
from django.utils.module_loading import autodiscover_modules

if TYPE_CHECKING:
    from mcp_transport.declarations import Declarations

__all__ = ["check_shadowing", "declared", "discover", "is_starting_server", "needs_declarations", "on_discovery"]

_SERVER_COMMANDS: Final = frozenset({"runserver", "testserver"})
_CHECK_COMMANDS: Final = _SERVER_COMMANDS | {"check", "test"}

_lock = threading.RLock()
_discovered: set[str] = set()  # the names of apps
_callbacks: list[Callable[[], None]] = []


def declared() -> Declarations:
    """Return the apps' declarations. Raises: any exception of an app's `mcp.py`."""
    from mcp_transport import server

    discover()
    return server.declared


def discover() -> None:
    """Import every installed app's `mcp.py` once; a failure undoes the import, so that it can be repeated.

    Raises: any exception of an app's `mcp.py`, such as `DefinitionError`.
    """
    with _lock:
        names = {app.name for app in apps.get_app_configs()}
        if names <= _discovered:
            return
        from mcp_transport import server

        declarations, modules = server.declared, set(sys.modules)
        before = declarations.copy()
        try:
            with _project_language():
                autodiscover_modules("mcp")
                for declare in _callbacks:
                    declare()
        except BaseException:
            # Importing a module that has declared something must declare it again.
            for name in (declarations.modules() | {f"{name}.mcp" for name in names}) - modules:
                sys.modules.pop(name, None)
            declarations.restore(before)
            raise
        _discovered.update(names)
        _callbacks.clear()


def _project_language() -> AbstractContextManager[None]:
    """Activate LANGUAGE_CODE for translations in declarations, whatever the language of the first request is."""
    is_other = translation.get_language() != settings.LANGUAGE_CODE
    return translation.override(settings.LANGUAGE_CODE) if is_other else nullcontext()


def on_discovery(declare: Callable[[], None]) -> None:
    """Call `declare` after the import of the apps' `mcp.py`, or at once if they have been imported."""
    with _lock:
        if _discovered:
            declare()
        elif declare not in _callbacks:
            _callbacks.append(declare)


def is_starting_server() -> bool:
    """Return whether Django is being set up for a server, a worker or a script, not for another command."""
    command = _caller_locals(ManagementUtility.execute)
    return command is None or command.get("subcommand") in _SERVER_COMMANDS


def needs_declarations() -> bool:
    """Return whether system checks import the declarations: not in Django's own commands without a server.

    Commands such as `migrate` run all checks, too, and importing the SDK would double their duration.
    """
    command = _caller_locals(BaseCommand.execute)
    if command is None:
        return True
    package, _, name = type(command["self"]).__module__.rpartition(".")
    return not package.startswith("django.") or name in _CHECK_COMMANDS


def _caller_locals(method: Callable[..., Any]) -> dict[str, Any] | None:
    """Return the local variables of the innermost frame of `method` on the stack, or None.

    Django does not tell apps which command is running.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not method.__code__:
        frame = frame.f_back
    return frame.f_locals if frame is not None else None


def check_shadowing() -> None:
    """Check, without importing it, that no module of the project shadows the SDK's package `mcp`.

    Raises:
        ImproperlyConfigured: a module does; the message has its path.
    """
    try:
        spec = find_spec("mcp")
    except ValueError:  # `mcp` is imported and has no spec
        return
    if spec is None:
        return
    places = spec.submodule_search_locations
    if places is None or PathFinder.find_spec("mcp.server", list(places)) is None:
        origin = spec.origin or ", ".join(places or ())
        raise ImproperlyConfigured(
            f"{origin} shadows the package 'mcp' of the MCP SDK. Rename it, or move it into an installed app, as in "
            "shop/mcp.py."
        )
