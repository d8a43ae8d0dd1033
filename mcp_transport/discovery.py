"""The import of every app's `mcp.py`: once, at the start of a server, in `manage.py check`, or at first use."""

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

__all__ = ["declared", "discover", "is_starting_server", "needs_declarations", "on_discovery", "refuse_shadow"]

_SERVERS: Final = frozenset({"runserver", "testserver"})
_CHECKING: Final = _SERVERS | {"check", "test"}

_lock = threading.RLock()
_discovered: set[str] = set()  # the names of apps
_waiting: list[Callable[[], None]] = []


def declared() -> Declarations:
    """Return what the apps declare. Raises: whatever an app's `mcp.py` raises."""
    from mcp_transport import server

    discover()
    return server.declared


def discover() -> None:
    """Import every installed app's `mcp.py`, unless that is done; a failure undoes it, so that it can be tried again.

    Raises: whatever an app's `mcp.py` raises, such as `DefinitionError`.
    """
    with _lock:
        names = {app.name for app in apps.get_app_configs()}
        if names <= _discovered:
            return
        from mcp_transport import server

        declarations, modules = server.declared, set(sys.modules)
        before = declarations.copy()
        try:
            with _language_of_the_project():
                autodiscover_modules("mcp")
                for declare in _waiting:
                    declare()
        except BaseException:
            # An import of a module that has declared something has to declare it again.
            for name in (declarations.modules() | {f"{name}.mcp" for name in names}) - modules:
                sys.modules.pop(name, None)
            declarations.restore(before)
            raise
        _discovered.update(names)
        _waiting.clear()


def _language_of_the_project() -> AbstractContextManager[None]:
    """Return what makes texts of declarations, in one language, although the first request may have another."""
    is_other = translation.get_language() != settings.LANGUAGE_CODE
    return translation.override(settings.LANGUAGE_CODE) if is_other else nullcontext()


def on_discovery(declare: Callable[[], None]) -> None:
    """Call `declare` with the import of the apps' `mcp.py`, or at once if that is done."""
    with _lock:
        if _discovered:
            declare()
        elif declare not in _waiting:
            _waiting.append(declare)


def is_starting_server() -> bool:
    """Tell whether Django is set up for a server, a worker or a script, and not for a command that serves nobody."""
    command = _caller(ManagementUtility.execute)
    return command is None or command.get("subcommand") in _SERVERS


def needs_declarations() -> bool:
    """Tell whether system checks shall import what is declared: not for Django's own commands that serve nobody.

    `migrate` and the like run all checks, too; the SDK would double the time that they take.
    """
    command = _caller(BaseCommand.execute)
    if command is None:
        return True
    package, _, name = type(command["self"]).__module__.rpartition(".")
    return not package.startswith("django.") or name in _CHECKING


def _caller(method: Callable[..., Any]) -> dict[str, Any] | None:
    """Return the local variables of the innermost call of a method that this one happens in, if there is one.

    Django tells no app which command it is set up for.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not method.__code__:
        frame = frame.f_back
    return frame.f_locals if frame is not None else None


def refuse_shadow() -> None:
    """Find out, without an import, whether a module of the project hides the SDK's package `mcp`.

    Raises:
        ImproperlyConfigured: one does, and where it is.
    """
    try:
        spec = find_spec("mcp")
    except ValueError:  # it was imported in a way that left no spec
        return
    if spec is None:
        return
    places = spec.submodule_search_locations
    if places is None or PathFinder.find_spec("mcp.server", list(places)) is None:
        found = spec.origin or ", ".join(places or ())
        raise ImproperlyConfigured(
            f"{found} hides the MCP SDK, whose package is named mcp, too. Move it into an installed app, as "
            "shop/mcp.py, or give it another name."
        )
