"""The projects, and what becomes of one that a server serves."""

# ruff: noqa: S603 (the commands are built here)
from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2

from tests.projects.postgres import Postgres
from tests.projects.servers import ASGI, WSGI, Server, SubpathNginx
from tests.support.processes import LOOPBACK, ROOT, Process

VIEW, MOUNT = "/mcp", "/mounted"
ERAS = ("legacy", "2026-07-28")
"""As the official client calls them."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A kind of project."""

    name: str
    settings_module: str = ""
    package: str = "tests.projects.sites"
    """Where its applications are."""
    database: str = "postgres"
    """Or `sqlite`, or empty."""
    others: Sequence[str] = ()
    """Aliases of further databases."""
    servers: Sequence[str] = tuple(ASGI)
    paths: Sequence[str] = (VIEW, MOUNT)
    streams: bool = True
    tenants: Sequence[str] = ()
    atomic: bool = False
    """Whether ATOMIC_REQUESTS is set."""
    pooled: bool = False
    """Whether psycopg keeps connections; otherwise none outlives a request or a call."""
    tokens: bool = True
    localized: bool = False
    """Whether middleware sets the language and the time zone."""
    prefix: str = ""
    """Where nginx serves it."""

    @property
    def settings(self) -> str:
        return self.settings_module or f"tests.projects.sites.settings.{self.name}"


_GROWN = Project(name="grown", others=["archive"], pooled=True, atomic=True, localized=True)
PROJECTS: Mapping[str, Project] = {
    project.name: project
    for project in (
        Project(
            name="startproject", settings_module="shop.settings", package="shop", database="sqlite", tokens=False
        ),
        _GROWN,
        Project(name="tenants", paths=[VIEW], tenants=["north", "south"]),
        Project(name="tracing"),
        Project(name="subpath", prefix="/shop"),
        Project(name="bare", database="", tokens=False),
        replace(
            _GROWN,
            name="wsgi",
            settings_module=_GROWN.settings,
            servers=tuple(WSGI),
            paths=[VIEW],
            streams=False,
        ),
    )
}


@dataclass
class Prepared:
    """A project whose database is filled: what every server gets a copy of."""

    project: Project
    python: Path
    folder: Path
    postgres: Postgres | None
    callers: dict[str, dict[str, str]] = field(default_factory=dict)
    """The headers that prove who one is, by tenant."""
    _copies: int = 0

    @property
    def name(self) -> str:
        return f"{self.folder.name}_{self.project.name}".replace("-", "_")

    def environment(self, database: str) -> dict[str, str]:
        """Return the variables by which settings find the database."""
        port = str(self.postgres.port) if self.postgres is not None else ""
        return {
            "PYTHONPATH": str(self.folder),
            "SITE_DATABASE": database,
            "SITE_POSTGRES_PORT": port,
            "SITE_STATIC": str(self.folder / "static"),
        }

    def prepare(self) -> None:
        """Write what is not written yet, and fill the database."""
        (self.folder / "static").mkdir()
        if self.project.name == "startproject":
            _start_project(self.python, self.folder)
        if not self.project.database:
            self.callers = {"": {}}
            return
        database = str(self.folder / "db.sqlite3") if self.project.database == "sqlite" else self.name
        self._create(database)
        environment = {
            **os.environ,
            **self.environment(database),
            "DJANGO_SETTINGS_MODULE": self.project.settings,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(self.folder)]),
            "SITE_DATABASE_OPTIONS": json.dumps({"OPTIONS": {"pool": None}}),
        }
        self.callers = json.loads(
            _run([str(self.python), "-m", "tests.projects.prepare", *self.project.tenants], env=environment)
        )

    def _create(self, database: str, template: str = "") -> None:
        """Make databases, empty or as copies."""
        if self.project.database != "postgres":
            return
        assert self.postgres is not None
        for alias in ("", *self.project.others):
            suffix = f"_{alias}" if alias else ""
            self.postgres.create(database + suffix, template + suffix if template else "template1")

    def copy(self) -> str:
        """Copy the databases; return the name of the copy."""
        self._copies += 1
        if self.project.database == "sqlite":
            copied = self.folder / f"db{self._copies}.sqlite3"
            shutil.copy(self.folder / "db.sqlite3", copied)
            return str(copied)
        copied_name = f"{self.name}_{self._copies}"
        self._create(copied_name, self.name)
        return copied_name


@dataclass
class Site:
    """A project that a server serves, with a database of its own."""

    prepared: Prepared
    server: Server
    database: str
    proxy: Process | None = None
    is_pooled: bool = False
    keeps_connections: bool = False
    """Whether connections outlive the request or call that made them."""

    @classmethod
    def start(
        cls,
        prepared: Prepared,
        server: str,
        options: Mapping[str, Any] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Site:
        """Start a server; `options` change entries of DATABASES, `variables` what else settings read."""
        project, options = prepared.project, options or {}
        database = prepared.copy() if project.database else ""
        environment = {
            **prepared.environment(database),
            "SITE_DATABASE_OPTIONS": json.dumps(options),
            **(variables or {}),
        }
        site = cls(
            prepared, Server(server, project.package, prepared.python, environment, project.settings), database
        )
        site.is_pooled = project.pooled and bool(options.get("OPTIONS", {}).get("pool", True))
        site.keeps_connections = site.is_pooled or options.get("CONN_MAX_AGE", 0) != 0
        try:
            site.server.start()
            if project.prefix:
                site.proxy = SubpathNginx(site.server.port, project.prefix).start()
        except BaseException:
            site.stop()
            raise
        return site

    def stop(self) -> str:
        """End it; return what it has printed."""
        if self.proxy is not None:
            self.proxy.stop()
        self.server.stop()
        return self.server.last_words

    @property
    def project(self) -> Project:
        return self.prepared.project

    @property
    def port(self) -> int:
        """Where clients come to."""
        return self.server.port if self.proxy is None else self.proxy.port

    def path(self, path: str) -> str:
        """Return a path as clients know it."""
        return f"{self.project.prefix}{path}"

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"http://{LOOPBACK}:{self.port}{self.path(path)}"

    def headers(self, tenant: str = "", *, proof: bool = True) -> dict[str, str]:
        """Return what a caller sends, be it with proof of who it is."""
        host = f"{tenant or self.project.tenants[0]}.localhost" if self.project.tenants else "localhost"
        callers = self.prepared.callers
        known = callers[tenant or next(iter(callers))] if proof else {}
        wanted = "Authorization" if self.project.tokens else "Cookie"
        return {"Host": host, **{name: value for name, value in known.items() if name == wanted}}

    def knows_callers(self, path: str) -> bool:
        """Tell whether what callers send proves who they are: the mount leaves cookies to authenticators."""
        return self.project.tokens or path == VIEW

    @property
    def is_sqlite(self) -> bool:
        return self.project.database == "sqlite"

    @property
    def postgres(self) -> Postgres:
        assert self.prepared.postgres is not None
        return self.prepared.postgres

    def backends(self) -> int:
        """Count the connections to its databases, if they are PostgreSQL's."""
        return sum(map(self.postgres.backends, self.databases()))

    def cut(self) -> int:
        """End the connections to its databases; return how many there were."""
        return sum(map(self.postgres.cut, self.databases()))

    def databases(self) -> list[str]:
        """Return the names of its databases in PostgreSQL."""
        if self.project.database != "postgres":
            return []
        return [self.database, *(f"{self.database}_{alias}" for alias in self.project.others)]

    async def get(self, path: str) -> httpx2.Response:
        """Get a page, on a connection of its own."""
        options: dict[str, Any] = {"trust_env": False, "verify": False, "headers": {"Connection": "close"}}
        async with httpx2.AsyncClient(timeout=30, **options) as client:
            return await client.get(self.url(path), headers=self.headers(proof=False))

    async def get_json(self, path: str) -> Any:
        """Get a value."""
        answer = await self.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
        return answer.json()


def _start_project(python: Path, folder: Path) -> None:
    """Write what startproject writes, and append what the quick start has one append."""
    inherited = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    _run([str(python), "-m", "django", "startproject", "shop", str(folder)], env=inherited)
    for addition in (ROOT / "tests/projects/sites/startproject").glob("*.py.txt"):
        with (folder / "shop" / addition.stem).open("a") as written:
            written.write("\n" + addition.read_text())


def _run(command: list[str], env: Mapping[str, str]) -> str:
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


def prepare(project: Project, python: Path, postgres: Postgres | None) -> Prepared:
    """Prepare a project in a temporary folder, which the caller removes."""
    prepared = Prepared(project, python, Path(tempfile.mkdtemp(prefix="project-")), postgres)
    prepared.prepare()
    return prepared
