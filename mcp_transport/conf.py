"""The settings: one dict, `MCP_TRANSPORT`.

Settings are never read at import time, so `override_settings` works.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import ENVIRONMENT_VARIABLE, settings

from mcp_transport import validation
from mcp_transport.domain.policy import Policy
from mcp_transport.settings_table import SETTINGS, Setting

__all__ = ["SETTINGS", "Fault", "Setting", "faults", "get", "policy", "problems"]

# The minimum similarity of a name to MCP_TRANSPORT to be reported as a misspelling; lower if it contains MCP.
_MIN_SIMILARITY: Final = 0.9
_MIN_SIMILARITY_WITH_MCP: Final = 0.7


@dataclass(frozen=True, slots=True)
class Fault:
    """An error in the settings, reported by the system check with this id."""

    setting: str
    message: str
    hint: str
    id: str


def get(name: str) -> Any:
    """Return a setting's value, or its default."""
    return _configured().get(name, SETTINGS[name].default)


def policy() -> Policy:
    """Build the engine's policy from MCP_TRANSPORT and from Django's settings for hosts and proxies."""
    values = {setting.policy: get(name) for name, setting in SETTINGS.items() if setting.policy}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    hosts = settings.ALLOWED_HOSTS or ([".localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])
    return Policy(
        allowed_hosts=tuple(hosts),
        forwarded_host=bool(settings.USE_X_FORWARDED_HOST),
        forwarded_port=bool(settings.USE_X_FORWARDED_PORT),
        forwarded_scheme=_forwarded_scheme(settings.SECURE_PROXY_SSL_HEADER),
        secure_host=_secure_host(get("RESOURCE_URL")),
        **{**values, **lists},
    )


def _forwarded_scheme(setting: Any) -> tuple[str, str] | None:
    if not setting:
        return None
    variable, secure = setting  # Django reports other values than pairs
    return str(variable).removeprefix("HTTP_").replace("_", "-").lower(), str(secure)


def _secure_host(url: Any) -> str:
    """Return the host of an https URL in the form of a Host header, without the port; "" for other values."""
    if not isinstance(url, str) or validation.url_fault(url):
        return ""
    parsed = urlsplit(url)
    host = parsed.hostname or ""
    return (f"[{host}]" if ":" in host else host.removesuffix(".")) if parsed.scheme == "https" else ""


def problems() -> dict[str, str]:
    """Return what is wrong with the values of settings, by setting."""
    configured = getattr(settings, "MCP_TRANSPORT", {})
    if not isinstance(configured, Mapping):
        return {"": f"MCP_TRANSPORT must be a dict, got {type(configured).__name__}"}
    return {name: problem for name, setting in SETTINGS.items() if (problem := _problem(setting, get(name)))}


def faults() -> list[Fault]:
    """Return the errors in the settings that can be detected without building anything from them."""
    errors = [
        Fault(
            name,
            f"{name} is set, but MCP_TRANSPORT is not.",
            f"Rename {name} to MCP_TRANSPORT, or set MCP_TRANSPORT = {{}} if it belongs to another package.",
            "mcp_transport.E001",
        )
        for name in _similar_names()
    ]
    for name in _configured():
        if name not in SETTINGS:
            close = difflib.get_close_matches(str(name).upper(), SETTINGS, 1)
            hint = f"Did you mean {close[0]!r}?" if close else "See docs/reference/settings.md for all settings."
            errors.append(Fault(str(name), f"MCP_TRANSPORT[{name!r}] is not a setting.", hint, "mcp_transport.E001"))
    for name, problem in problems().items():
        place = f"MCP_TRANSPORT[{name!r}]" if name else "MCP_TRANSPORT"
        check = "mcp_transport.E002" if not name or _type_fault(SETTINGS[name], get(name)) else SETTINGS[name].check
        errors.append(Fault(name, f"{place}: {problem}.", f"Correct {place} in your settings.", check))
    return errors


def _similar_names() -> list[str]:
    """Return the names of settings that may be misspellings of MCP_TRANSPORT."""
    if hasattr(settings, "MCP_TRANSPORT"):
        return []
    # Django ignores lower-case names; the settings module has them.
    module = vars(sys.modules.get(os.environ.get(ENVIRONMENT_VARIABLE, ""), object))
    values = {name: value for name, value in module.items() if not name.isupper() and _is_similar(name)}
    # Only similar names are read, since reading a deprecated setting causes a warning.
    values |= {name: getattr(settings, name) for name in dir(settings) if name.isupper() and _is_similar(name)}
    return sorted(name for name, value in values.items() if value and isinstance(value, Mapping))


def _is_similar(name: str) -> bool:
    matcher = difflib.SequenceMatcher(None, name.upper(), "MCP_TRANSPORT")
    minimum = _MIN_SIMILARITY_WITH_MCP if "MCP" in name.upper() else _MIN_SIMILARITY
    # The first two are fast upper bounds of the third.
    return all(ratio() >= minimum for ratio in (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio))


def _configured() -> Mapping[str, Any]:
    configured = getattr(settings, "MCP_TRANSPORT", {})
    return configured if isinstance(configured, Mapping) else {}  # faults() reports it, so no requests are served


def _problem(setting: Setting, value: Any) -> str:
    if fault := _type_fault(setting, value):
        return fault
    if setting.minimum is not None and value is not None and value < setting.minimum:
        return f"expected {setting.minimum:g} or more, got {value!r}"
    return setting.fault(value)


def _type_fault(setting: Setting, value: Any) -> str:
    # Lists of dicts contain options, which may be secret.
    return validation.type_fault(setting.kind, value, is_secret=setting.kind is Sequence)
