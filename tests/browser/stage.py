"""Redis, a database and nodes of the site."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Self

from tests.browser.agent import Agent, agent
from tests.support.cluster.stage import until
from tests.support.node import Node
from tests.support.preloaded import run
from tests.support.processes import ROOT, start_all, stop_all
from tests.support.redis.server import RedisServer

SETTINGS = "tests.browser.site.settings"
PREPARE_SECONDS = 60


class AdminStage:
    """Two nodes of the site, which share a Redis and a database."""

    def __init__(self, settings: str = SETTINGS) -> None:
        self.settings = settings
        self.redis = RedisServer()
        self._temporary = tempfile.TemporaryDirectory(prefix="admin-stage-")
        self.folder = Path(self._temporary.name)
        self.nodes = [self.node(f"node-{number}") for number in (1, 2)]

    def node(self, name: str, **variables: str) -> Node:
        """Return a node, not started, with more in its environment."""
        own = {"REDIS_URL": self.redis.url, "SITE_FOLDER": str(self.folder)}
        application = "tests.browser.site.asgi:application"
        return Node(
            "daphne", settings=self.settings, application=application, environment={**own, **variables}, name=name
        )

    def _prepare(self) -> None:
        variables = {**os.environ, **self.nodes[0].variables, "DJANGO_SETTINGS_MODULE": self.settings}
        command = [sys.executable, "-m", "tests.browser.site.prepare"]
        done = run(command, cwd=ROOT, env=variables, timeout=PREPARE_SECONDS)
        assert done.returncode == 0, done.stderr

    def __enter__(self) -> Self:
        try:
            self.redis.start()
            for node in self.nodes:
                node.variables["REDIS_URL"] = self.redis.url
            self._prepare()
            start_all(self.nodes)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop all, and forget all."""
        stop_all(self.nodes)
        self.redis.stop()
        self._temporary.cleanup()

    # -- what happens on it

    def agent(
        self, node: int = 1, name: str = "browser-tests", user: str = "", version: str = "1.0"
    ) -> AbstractAsyncContextManager[Agent]:
        """Open a session with one of the nodes."""
        return agent(self.nodes[node].url, name, user, version)

    def allow(self, name: str, step: int) -> None:
        """Let the calls of that name go on until a step."""
        draft = self.folder / f"{name}.draft"
        draft.write_text(str(step))
        draft.replace(self.folder / f"{name}.allowed")

    async def await_cancelled(self, name: str) -> None:
        """Wait until a call of that name was cancelled."""
        await until(lambda: (self.folder / f"{name}.cancelled").exists(), f"{name} is cancelled")

    def node_names(self) -> list[str]:
        """Return the names that the nodes have given themselves."""
        with self.redis.connect() as redis:
            return list(redis.zrange("mcp:nodes", 0, -1))
