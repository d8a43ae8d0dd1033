"""The shape of the package: which layer may import which, how long things are, what is public and documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import mcp_transport

PACKAGE = Path(mcp_transport.__file__).parent
ROOT = PACKAGE.parent
STANDARD = frozenset(sys.stdlib_module_names)
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_TYPE_IGNORES = 350, 50, 10


@dataclass(frozen=True)
class Rule:
    """What the modules under `where` may import besides their own package, `exceptions` and the standard library."""

    where: str
    allowed: tuple[str, ...]
    forbidden: tuple[str, ...] = ()


# Design, section 3: imports point inwards only. The first rule whose place fits a module is its rule.
RULES = (
    Rule(
        "mcp_transport.protocol",
        (),
        # Pure: no event loop, no clock, no randomness, no I/O.
        (
            "asyncio",
            "threading",
            "concurrent",
            "time",
            "datetime",
            "random",
            "secrets",
            "os",
            "io",
            "socket",
            "logging",
        ),
    ),
    # The SDK and what its seams are made of: it hands a Starlette request to handlers.
    Rule(
        "mcp_transport.kernel",
        (
            "mcp",
            "mcp_types",
            "pydantic",
            "pydantic_core",
            "anyio",
            "starlette",
            "opentelemetry",
            "orjson",
            "mcp_transport.protocol",
        ),
    ),
    Rule(
        "mcp_transport.backends.cache",
        (
            "mcp_transport.protocol",
            "mcp_transport.connections",
            "mcp_transport.executor",
            "mcp_transport.supervision",
            "django",
            "orjson",
        ),
    ),
    Rule("mcp_transport.supervision", ()),
    # Threads and connections are below everything of Django's.
    Rule("mcp_transport.executor", ()),
    Rule("mcp_transport.connections", ("django",)),
    Rule("mcp_transport.threads", ("mcp_transport.connections", "mcp_transport.executor", "asgiref")),
    # What a cache alias says is read with Django; the rest of the backend knows Redis alone.
    Rule("mcp_transport.backends.redis.alias", ("django",)),
    Rule("mcp_transport.backends.redis.codec", ("mcp_transport.protocol", "mcp_transport.supervision", "orjson")),
    Rule(
        "mcp_transport.backends.redis",
        ("mcp_transport.protocol", "mcp_transport.supervision", "redis", "hiredis", "orjson"),
    ),
    Rule("mcp_transport.backends", ("mcp_transport.protocol", "mcp_transport.supervision", "orjson")),
    # The one module that seals: session ids.
    Rule("mcp_transport.engine.session_id", ("mcp_transport.protocol", "cryptography", "orjson")),
    Rule(
        "mcp_transport.engine",
        (
            "mcp_transport.protocol",
            "mcp_transport.kernel",
            "mcp_transport.backends.base",
            "mcp_transport.supervision",
            "orjson",
        ),
    ),
    Rule(
        "mcp_transport.adapters.django",
        (
            "mcp_transport.protocol",
            "mcp_transport.engine",
            "mcp_transport.auth.request_user",
            "mcp_transport.bootstrap",
            "mcp_transport.threads",
            "django",
        ),
    ),
    Rule("mcp_transport.adapters", ("mcp_transport.protocol", "mcp_transport.engine")),
)
SDK_SEAMS = ("mcp.server.runner", "mcp.server.connection", "mcp.server.lowlevel", "mcp.shared")
SDK_PUBLIC = ("mcp.server.mcpserver", "mcp.server.caching", "mcp_types")
SDK_READERS = tuple(
    f"mcp_transport{module}"
    for module in (
        "",
        ".annotation_faults",
        ".context",
        ".declarations",
        ".functions",
        ".making",
        ".prompt_messages",
        ".serialization",
        ".server",
        ".signatures",
    )
)
CONCRETE_BACKENDS = tuple(
    f"mcp_transport.backends.{name}" for name in ("memory", "cache", "redis", "local", "streams")
)
LAYERS = ("protocol", "kernel", "backends", "engine", "adapters")


def is_under(name: str, *places: str) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
every_module = pytest.mark.parametrize("module", FILES)


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


@cache
def imports_of(module: str) -> frozenset[str]:
    """Return the full names of all that a module imports, anywhere in it, also for type checking only."""
    found: set[str] = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {
                f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in FILES else str(node.module)
                for alias in node.names
            }
    return frozenset(found)


def test_the_table_names_layers_that_exist() -> None:
    assert {name.split(".")[1] for name in FILES if name.count(".")} >= set(LAYERS)
    assert len(FILES) > 40


@every_module
def test_imports_point_inwards(module: str) -> None:
    rule = next((rule for rule in RULES if is_under(module, rule.where)), None)
    if rule is None:
        return
    layer = ".".join(module.split(".")[:2])
    allowed = (*rule.allowed, layer, "mcp_transport.exceptions")
    wrong = {
        name
        for name in imports_of(module)
        if is_under(name, *rule.forbidden)
        or (name.partition(".")[0] not in STANDARD and name != "mcp_transport" and not is_under(name, *allowed))
    }
    assert not wrong


@every_module
def test_an_inner_layer_imports_no_names_of_the_package_itself(module: str) -> None:
    # `from mcp_transport import tool` would lead to the server, and to Django.
    if module.count(".") and module.split(".")[1] in LAYERS:
        assert "mcp_transport" not in imports_of(module)


@every_module
def test_only_the_kernel_touches_the_seams_of_the_sdk(module: str) -> None:
    if is_under(module, "mcp_transport.kernel"):
        return
    sdk = {name for name in imports_of(module) if is_under(name, "mcp", "mcp_types")}
    assert not {name for name in sdk if is_under(name, *SDK_SEAMS)}
    assert not {name for name in sdk if not (module in SDK_READERS and is_under(name, *SDK_PUBLIC))}


@every_module
def test_djangos_files_know_no_concrete_backend_and_no_inside_of_the_engine(module: str) -> None:
    if is_under(module, *(f"mcp_transport.{layer}" for layer in LAYERS)) or module == "mcp_transport.bootstrap":
        return  # layers have their own rules; the bootstrap is where backend and engine are put together
    inside = {name for name in imports_of(module) if is_under(name, "mcp_transport.engine")}
    assert inside <= {"mcp_transport.engine.endpoint"}
    assert not {name for name in imports_of(module) if is_under(name, *CONCRETE_BACKENDS)}


@every_module
def test_only_conf_and_its_checks_read_the_settings_of_this_package(module: str) -> None:
    source = FILES[module].read_text(encoding="utf-8")
    reads = re.search(r"settings\.MCP_TRANSPORT|getattr\(\s*settings,\s*[\"']MCP_TRANSPORT", source)
    assert not reads or module in ("mcp_transport.conf", "mcp_transport.checks")


@every_module
def test_optional_packages_stay_where_they_belong(module: str) -> None:
    # Who does not use Channels or Django REST framework has neither.
    homes = {
        "channels": ("mcp_transport.consumers", "mcp_transport.routing"),
        "rest_framework": ("mcp_transport.api", "mcp_transport.auth.drf"),
    }
    for package, places in homes.items():
        names = {name for name in imports_of(module) if is_under(name, package)}
        assert not names or is_under(module, *places)


@every_module
def test_imports_are_absolute(module: str) -> None:
    nodes = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.ImportFrom)]
    assert not [node.lineno for node in nodes if node.level]


@pytest.mark.parametrize(
    "module", ["mcp_transport", "mcp_transport.engine.endpoint", "mcp_transport.adapters.asgi", "mcp_transport.asgi"]
)
def test_the_endpoint_and_the_asgi_path_load_without_django(module: str) -> None:
    program = f"import sys, {module}; print(sorted(n for n in sys.modules if n.split('.')[0] == 'django'))"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert done.stdout.strip() == "[]"


# -- lengths -----------------------------------------------------------------------------------------


@every_module
def test_a_file_is_short_enough_to_be_read(module: str) -> None:
    assert len(FILES[module].read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


@every_module
def test_a_function_fits_on_a_screen(module: str) -> None:
    functions = [
        node for node in ast.walk(tree_of(module)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert not {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES}


# -- what is public ----------------------------------------------------------------------------------

# Django's own kinds of module are found by their place, and a package may be no more than its docstring.
BY_PLACE = frozenset({"management", "migrations"})
PUBLIC = [
    module
    for module in FILES
    if BY_PLACE.isdisjoint(module.split("."))
    and not any(part.startswith("_") for part in module.split("."))
    and not all(isinstance(node, ast.Expr) for node in tree_of(module).body)
]
every_public_module = pytest.mark.parametrize("module", PUBLIC)


@every_public_module
def test_a_public_module_lists_its_names_and_has_them(module: str) -> None:
    loaded = importlib.import_module(module)
    names = getattr(loaded, "__all__", None)
    assert names is not None, "no __all__"
    assert len(set(names)) == len(names)
    assert not [name for name in names if not hasattr(loaded, name)]


@every_public_module
def test_a_module_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(tree_of(module))


def documented_things(module: str) -> Iterator[tuple[str, ast.AST, object]]:
    """Yield the public classes, functions and methods a module defines under the names of its `__all__`."""
    loaded = importlib.import_module(module)
    for node in tree_of(module).body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name not in getattr(loaded, "__all__", ()):
            continue
        thing = getattr(loaded, node.name)
        yield node.name, node, thing
        for member in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and not member.name.startswith("_"):
                yield f"{node.name}.{member.name}", member, inspect.getattr_static(thing, member.name)


@every_public_module
def test_what_is_public_is_documented(module: str) -> None:
    undocumented = []
    for name, node, thing in documented_things(module):
        assert isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        # A method may inherit its docstring; a dataclass gets one that says nothing, so classes are read as written.
        inherited = None if isinstance(node, ast.ClassDef) else inspect.getdoc(thing) or _inherited(module, name)
        if not (ast.get_docstring(node) or inherited):
            undocumented.append(name)
    assert not undocumented


def _inherited(module: str, name: str) -> str | None:
    owner, _, member = name.partition(".")
    bases = getattr(importlib.import_module(module), owner).__mro__[1:] if member else ()
    return next((inspect.getdoc(vars(base)[member]) for base in bases if member in vars(base)), None)


# -- exceptions to the type checker ------------------------------------------------------------------


def type_ignores() -> list[tuple[str, str]]:
    found = []
    for module, path in FILES.items():
        found += [
            (module, line.strip())
            for line in path.read_text(encoding="utf-8").splitlines()
            if re.search(r"#\s*type:\s*ignore", line)
        ]
    return found


def test_the_type_checker_is_silenced_rarely_and_always_for_a_reason() -> None:
    ignores = type_ignores()
    assert len(ignores) <= MAX_TYPE_IGNORES
    assert not [item for item in ignores if not re.search(r"#\s*type:\s*ignore\[[a-z, -]+\]", item[1])]
