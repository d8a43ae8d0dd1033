"""Many calls, one catastrophe: each scene is a test of its own, but the node they share dies only once."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.cluster.stage import Stage
from tests.support.http.answer import PATIENCE
from tests.support.http.client import Client
from tests.support.node import Node

_SCENE_SECONDS = 3 * PATIENCE


class Catastrophe:
    """What scenes wait for together: `strike` happens when all of them are where they want to be."""

    def __init__(self, stage: Stage, strike: Callable[[], None], scenes: int) -> None:
        self.stage = stage
        self._strike, self._expected = strike, scenes
        self._struck = asyncio.Event()

    @property
    def victim(self) -> Node:
        """The node that it befalls."""
        return self.stage.nodes[0]

    @property
    def other(self) -> Node:
        """A node that lives on."""
        return self.stage.nodes[1]

    async def strikes(self) -> None:
        """Wait for it."""
        self._arrive()
        await self._struck.wait()

    def _arrive(self) -> None:
        self._expected -= 1
        if self._expected == 0:
            self._strike()
            self._struck.set()

    async def play(self, scene: Scene) -> None:
        """Play one scene; where it fails before the catastrophe, the others go on without it."""
        try:
            async with asyncio.timeout(_SCENE_SECONDS):
                async with Client(*self.stage.ports) as client:
                    await client.initialize()
                    await scene(self, client)
        except BaseException:
            if not self._struck.is_set():
                self._arrive()
            raise


Scene = Callable[[Catastrophe, Client], Awaitable[None]]


class Play:
    """The scenes of one module."""

    def __init__(self) -> None:
        self._scenes: dict[str, Scene] = {}

    def scene(self, scene: Scene) -> Callable[[dict[str, Any]], None]:
        """Make a test of a coroutine: it fails as its part of the play did (fixture `outcomes`)."""
        name = scene.__name__
        self._scenes[name] = scene

        @functools.wraps(scene)
        def test(outcomes: dict[str, Any]) -> None:
            if outcomes[name] is not None:
                raise outcomes[name]

        del test.__wrapped__  # pytest would ask for the scene's arguments
        return test

    async def perform(self, stage: Stage, strike: Callable[[], None]) -> dict[str, BaseException | None]:
        """Play all scenes at once; return what went wrong in each."""
        catastrophe = Catastrophe(stage, strike, len(self._scenes))
        played = await asyncio.gather(
            *(catastrophe.play(scene) for scene in self._scenes.values()), return_exceptions=True
        )
        return dict(zip(self._scenes, played, strict=True))
