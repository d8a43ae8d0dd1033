"""The shape of the package: which layer may import which, how long things are, what is public and documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import mcp_transport

PACKAGE = Path(mcp_transport.__file__).parent
ROOT = PACKAGE.parent
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_TYPE_IGNORES = 350, 50, 10

PURE = "no event loop, no clock, no randomness, no I/O"
NEVER_IN_PURE_LAYERS = (
    *("asyncio", "threading", "concurrent", "time", "datetime"),
    *("random", "secrets", "os", "io", "socket", "logging"),
)
# What modules may import besides their own layer, `exceptions` and the standard library (design, section 3: imports
# point inwards only). The longest name that fits a module is its rule; names without a dot are other packages.
MAY_IMPORT = {
    "protocol": (),
    "domain": (".protocol",),
    # The SDK and what its seams are made of: it hands a Starlette request to handlers.
    "kernel": (
        *("mcp", "mcp_types", "pydantic", "pydantic_core", "anyio", "starlette", "opentelemetry", "orjson"),
        *(".protocol", ".domain"),
    ),
    "backends": (".protocol", ".domain", ".supervision", "orjson"),
    "backends.cache": (".protocol", ".domain", ".connections", ".executor", ".supervision", "django", "orjson"),
    "backends.redis": (".protocol", ".domain", ".supervision", "redis", "hiredis", "orjson"),
    "backends.redis.codec": (".protocol", ".domain", ".supervision", "orjson"),
    "backends.dynamodb": (".protocol", ".domain", ".supervision", "orjson"),
    # The client alone knows the library, so that another one can take its place.
    "backends.dynamodb.client": ("boto3", "botocore"),
    # What a cache alias says is read with Django; the rest of the backend knows Redis alone.
    "backends.redis.cache_settings": ("django",),
    "engine": (
        *(".protocol", ".domain", ".kernel", ".concurrency", ".supervision", "orjson"),
        *(".backends.base", ".backends.contracts", ".backends.rates", ".backends.records", ".backends.results"),
    ),
    # The one module that seals: session ids.
    "engine.session_id": (".protocol", ".domain", "cryptography", "orjson"),
    "adapters": (".protocol", ".domain", ".engine"),
    # A function has no server that would set up the project: the handler does, and serves what `asgi.mount` does.
    "adapters.aws_lambda": (".adapters.aws_function", ".bootstrap", ".process", "django"),
    "adapters.aws_function": (
        *(".protocol", ".engine", ".bootstrap", ".health", ".prewarm", ".signals"),
        *(".threads", ".well_known", "django"),
    ),
    # What operators see: nothing here reads or changes sessions.
    "operators.representation": (".backends.records", ".domain", ".protocol", "django"),
    # The process around the endpoint: nothing of the package, so that the engine does not know it.
    "process": (),
    # What calls other servers knows nothing of this one. The SDK's client and its seams: how it gets its dispatcher.
    "client": ("mcp", "mcp_types", "httpx2", "tenacity", "orjson", "anyio"),
    "client.sync": ("mcp", "mcp_types", "anyio", "django"),
    # Threads and connections are below everything of Django's.
    "batching": (".domain",),
    "supervision": (),
    "executor": (),
    "connections": ("django",),
    "concurrency": (),
    "threads": (".concurrency", ".connections", ".executor", "asgiref"),
}
COMPOSITION_ROOT = ("mcp_transport.bootstrap", "mcp_transport.session_backend")
LAYERS = ("protocol", "domain", "kernel", "backends", "engine", "adapters")
SDK_SEAMS = ("mcp.server.runner", "mcp.server.connection", "mcp.server.lowlevel", "mcp.shared")
SDK_PUBLIC = ("mcp.server.mcpserver", "mcp.server.caching", "mcp_types")
SDK_READERS = (
    *("", ".annotation_faults", ".batch_signatures", ".batched_tools", ".context", ".declarations"),
    *(".function_adapter", ".sdk_declarations"),
    *(".management.elicitation", ".prompt_messages", ".serialization", ".server", ".signatures"),
)
CONCRETE_BACKENDS = tuple(
    f"mcp_transport.backends.{name}" for name in ("memory", "cache", "dynamodb", "redis", "local", "streams")
)
# Optional packages, and the modules that need them.
OPTIONAL = {
    "boto3": ("mcp_transport.backends.dynamodb.client",),
    "botocore": ("mcp_transport.backends.dynamodb.client",),
    "channels": ("mcp_transport.consumers", "mcp_transport.routing"),
    "rest_framework": ("mcp_transport.api", "mcp_transport.auth.drf", "mcp_transport.auth.throttling"),
}


def is_under(name: str, *places: str) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TEXTS = {module: path.read_text(encoding="utf-8") for module, path in FILES.items()}
TREES = {module: ast.parse(text) for module, text in TEXTS.items()}
OUTSIDE_THE_LAYERS = [name for name in FILES if not is_under(name, *(f"mcp_transport.{layer}" for layer in LAYERS))]


@cache
def imports_of(module: str) -> frozenset[str]:
    """Return the full names of all that a module imports, anywhere in it, also for type checking only."""
    found: set[str] = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else str(node.module) for name in names}
    return frozenset(found)


# -- imports -----------------------------------------------------------------------------------------


def rule_of(module: str) -> tuple[str, ...] | None:
    """Return what the rule of a module allows, None if it has none."""
    places = [place for place in MAY_IMPORT if is_under(module, f"mcp_transport.{place}")]
    return MAY_IMPORT[max(places, key=len)] if places else None


def is_allowed(name: str, module: str, rule: tuple[str, ...]) -> bool:
    if is_under(module, "mcp_transport.protocol", "mcp_transport.domain") and is_under(name, *NEVER_IN_PURE_LAYERS):
        return False
    layer = ".".join(module.split(".")[:2])
    allowed = (f"mcp_transport{place}" if place.startswith(".") else place for place in rule)
    standard = name.partition(".")[0] in sys.stdlib_module_names
    return standard or is_under(name, *allowed, layer, "mcp_transport.exceptions")


def test_imports_point_inwards() -> None:
    """The names of the package itself are not for the layers: they lead to the server, and to Django."""
    assert len(FILES) > 40 and {name.split(".")[1] for name in FILES if name.count(".")} >= set(LAYERS)
    wrong = {
        (module, name)
        for module in FILES
        if (rule := rule_of(module)) is not None
        for name in imports_of(module)
        if not is_allowed(name, module, rule)
    }
    assert not wrong, f"imports that lead outwards, or are not pure ({PURE}): {wrong}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Neither directly, nor by others, nor for type checking only."""
    inner = {module: imports_of(module) & FILES.keys() - {module} for module in FILES}
    while free := [module for module, names in inner.items() if not names]:
        inner = {module: names - set(free) for module, names in inner.items() if module not in free}
    assert not inner, f"modules that import each other, or what does: {sorted(inner)}"


def test_only_the_kernel_and_the_client_touch_the_seams_of_the_sdk() -> None:
    readers = {f"mcp_transport{module}" for module in SDK_READERS}
    wrong = {
        (module, name)
        for module in FILES
        if not is_under(module, "mcp_transport.kernel", "mcp_transport.client")
        for name in imports_of(module)
        if is_under(name, *SDK_SEAMS)
        or (is_under(name, "mcp", "mcp_types") and not (module in readers and is_under(name, *SDK_PUBLIC)))
    }
    assert not wrong, f"imports of the SDK outside the kernel: {wrong}"


def test_djangos_files_know_no_concrete_backend_and_no_inside_of_the_engine() -> None:
    """Except in the composition root, two modules which put backend and engine together (design, section 3)."""
    wrong = {
        (module, name)
        for module in OUTSIDE_THE_LAYERS
        if module not in COMPOSITION_ROOT
        for name in imports_of(module)
        if is_under(name, *CONCRETE_BACKENDS)
        or (is_under(name, "mcp_transport.engine") and name != "mcp_transport.engine.endpoint")
    }
    assert not wrong, f"imports of what only the composition root may import: {wrong}"


def test_only_conf_and_its_checks_read_the_settings_of_this_package() -> None:
    reading = re.compile(r"settings\.MCP_TRANSPORT|getattr\(\s*settings,\s*[\"']MCP_TRANSPORT")
    wrong = {module for module, text in TEXTS.items() if reading.search(text)}
    assert wrong == {"mcp_transport.conf"} | wrong & {"mcp_transport.checks"}, f"these read the settings: {wrong}"


def test_optional_packages_stay_where_they_belong() -> None:
    wrong = {
        (module, name)
        for module in FILES
        for name in imports_of(module)
        for package, places in OPTIONAL.items()
        if is_under(name, package) and not is_under(module, *places)
    }
    assert not wrong, f"imports of optional packages: {wrong}"


def test_tests_import_their_own_package_and_what_is_shared() -> None:
    found = set()
    for file in sorted((ROOT / "tests").rglob("*.py")):
        folder = file.relative_to(ROOT / "tests").parts[0]
        for package in re.findall(r"^\s*(?:from|import) tests\.(\w+)", file.read_text(), re.M):
            if package not in ("support", folder) and (folder, package) != ("support", "conftest"):
                found.add(f"{file.relative_to(ROOT)} imports tests.{package}")
    assert not found


def test_imports_are_absolute() -> None:
    nodes = ((module, node) for module, tree in TREES.items() for node in ast.walk(tree))
    wrong = {(module, node.lineno) for module, node in nodes if isinstance(node, ast.ImportFrom) and node.level}
    assert not wrong, f"relative imports: {wrong}"


def test_the_endpoint_and_the_asgi_path_load_without_django() -> None:
    modules = "mcp_transport, mcp_transport.engine.endpoint, mcp_transport.adapters.asgi, mcp_transport.asgi"
    program = f"import sys, {modules}; print(sorted(n for n in sys.modules if n.split('.')[0] == 'django'))"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert done.stdout.strip() == "[]"


# -- lengths -----------------------------------------------------------------------------------------


def test_files_and_functions_are_short_enough_to_be_read() -> None:
    lengths = {module: len(text.splitlines()) for module, text in TEXTS.items()}
    long = {module: length for module, length in lengths.items() if length > MAX_FILE_LINES}
    assert not long, f"files of more than {MAX_FILE_LINES} lines: {long}"
    functions = {
        f"{module}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    long = {name: length for name, length in functions.items() if length > MAX_FUNCTION_LINES}
    assert not long, f"functions of more than {MAX_FUNCTION_LINES} lines: {long}"


def test_the_type_checker_is_silenced_rarely_and_always_for_a_reason() -> None:
    ignores = [
        line for text in TEXTS.values() for line in text.splitlines() if re.search(r"#\s*type:\s*ignore", line)
    ]
    assert len(ignores) <= MAX_TYPE_IGNORES
    assert not [line for line in ignores if not re.search(r"#\s*type:\s*ignore\[[a-z, -]+\]", line)]


# -- what is public ----------------------------------------------------------------------------------

# Django's own kinds of module are found by their place, and a package may be no more than its docstring.
PUBLIC = [
    module
    for module in FILES
    if {"management", "migrations"}.isdisjoint(module.split("."))
    and not any(part.startswith("_") for part in module.split("."))
    and not all(isinstance(node, ast.Expr) for node in TREES[module].body)
]


def test_public_modules_list_their_names_have_them_and_say_what_they_are() -> None:
    wrong = {}
    for module in PUBLIC:
        names = getattr(loaded := importlib.import_module(module), "__all__", None)
        missing = "no __all__" if names is None else [name for name in names if not hasattr(loaded, name)]
        twice = len(set(names or ())) != len(names or ())
        if missing or twice or not ast.get_docstring(TREES[module]):
            wrong[module] = missing or "a name twice, or no docstring"
    assert not wrong


def documented_things(module: str) -> Iterator[tuple[str, bool]]:
    """Yield the public classes, functions and methods of a module, and whether each is documented."""
    loaded = importlib.import_module(module)
    for node in TREES[module].body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name not in getattr(loaded, "__all__", ()):
            continue
        thing = getattr(loaded, node.name)
        if not isinstance(node, ast.ClassDef):
            yield node.name, bool(inspect.getdoc(thing))
            continue
        yield node.name, bool(ast.get_docstring(node))  # a dataclass gets one that says nothing
        for member in node.body:
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and not member.name.startswith("_"):
                own_or_inherited = (vars(base).get(member.name) for base in thing.__mro__)
                yield f"{node.name}.{member.name}", any(map(inspect.getdoc, filter(None, own_or_inherited)))


def test_what_is_public_is_documented() -> None:
    undocumented = {
        f"{module}.{name}" for module in PUBLIC for name, is_said in documented_things(module) if not is_said
    }
    assert not undocumented
