"""Tools, resources and prompts that misbehave: the caller gets an end, everybody else notices nothing."""

from __future__ import annotations

import asyncio
import json

from tests.attack.attack import Scene, attack
from tests.attack.stage import MIB
from tests.attack.wire import alone, call, session_call, session_request

FAILED = ("200 isError", "200 -32603", "500 -32603", "400 -32603", "200 -32602", "400 -32602")
ENDING = ["exit", "interrupt"]
OTHERS = ["cancelled", "stop", "async_stop", "generator_exit", "odd", "group", "memory", "recursion", "value"]


async def _raise(scene: Scene, kinds: list[str]) -> None:
    """Have everything raise these, in both eras."""
    client = await scene.session()
    for kind in kinds:
        arguments, requests = json.dumps({"kind": kind}), []
        for way in ("async", "sync"):
            uri, name = f"raise-{way}://{kind}", f"raise_{way}_prompt"
            params = {"name": name, "arguments": {"kind": kind}}
            requests += [
                call(f"raise_{way}", arguments),
                session_call(client, f"raise_{way}", arguments, id=f'"{way}-{kind}"'),
                alone("resources/read", f'"uri":"{uri}"', name=uri),
                session_request(client, "resources/read", {"uri": uri}, id=f"r-{way}-{kind}"),
                alone("prompts/get", f'"name":"{name}","arguments":{arguments}', name=name),
                session_request(client, "prompts/get", params, id=f"p-{way}-{kind}"),
            ]
        await scene.ask_all(requests, at_once=len(requests), within=5)


@attack(*FAILED, short=True, log_bytes=2 * MIB)
async def exits_and_interrupts(scene: Scene) -> None:
    """`sys.exit()` and KeyboardInterrupt of tools, resources and prompts, on the loop and in threads."""
    await _raise(scene, ENDING)


@attack(*FAILED, short=True, log_bytes=2 * MIB)
async def exceptions_of_all_kinds(scene: Scene) -> None:
    """CancelledError, StopIteration, BaseException, groups and others, on the loop and in threads."""
    await _raise(scene, OTHERS)


@attack("200 -32602", "400 -32602", quiet=True)
async def arguments_of_a_wrong_type(scene: Scene) -> None:
    """Arguments that are no object, for a tool, a prompt and a completion, in both eras."""
    client = await scene.session()
    for number, value in enumerate((1.5, "x", [], True)):
        for method, params in (
            ("tools/call", {"name": "add", "arguments": value}),
            ("prompts/get", {"name": "greet", "arguments": value}),
        ):
            await scene.ask(session_request(client, method, params, id=f"{method}-{number}"))
            members = json.dumps(params)[1:-1]
            await scene.ask(alone(method, members, name=str(params["name"])))


@attack("200 result", *FAILED)
async def odd_results(scene: Scene) -> None:
    """Results that JSON has no word for, in both eras."""
    client = await scene.session()
    for number, kind in enumerate(("nan", "infinity", "surrogate", "large", "object", "bytes", "key", "class")):
        await scene.ask(call("return_odd", json.dumps({"kind": kind})), within=5)
        await scene.ask(session_call(client, "return_odd", json.dumps({"kind": kind}), id=number + 1), within=5)
    await scene.ask(call("return_circle"), within=5)


@attack("200 result", *FAILED, short=True)
async def generators(scene: Scene) -> None:
    """Generators that sleep as synchronous code does, and one without an end."""
    client = await scene.session()
    arguments = '{"count":4,"seconds":0.5}'
    requests = [call("slow_generator", arguments), call("returned_generator", arguments)]
    requests += [session_call(client, "slow_generator", arguments)]
    await scene.ask_all(requests)
    await scene.ask(call("endless_generator"), within=10)


@attack("200 large", "200 result", "200 large unfinished", *FAILED, answer_bytes=1100 * MIB)
async def results_of_100_megabytes(scene: Scene) -> None:
    """Results of 100 MB from the loop and from a thread, in both eras, one after the other."""
    client, arguments = await scene.session(), f'{{"size":{100 * MIB}}}'
    for raw in (call("big", arguments), call("big_sync", arguments), session_call(client, "big", arguments)):
        await scene.ask(raw, within=30)


@attack("200*", "closed", backends=("redis",), nodes=3, costs_nodes=True)
async def durable_exit(scene: Scene) -> None:
    """A durable tool that ends its process: the next node runs it once more, the third one must not."""
    await _run_durably(scene, "exit_durably", "")


@attack("200*", "503 -32603", "closed", "no answer", backends=("redis",), nodes=3, costs_nodes=True)
async def durable_block(scene: Scene) -> None:
    """A durable tool that blocks the loop beyond the lease: the next node runs it again, the third one must not."""
    await _run_durably(scene, "block_durably", ',"seconds":6')


async def _run_durably(scene: Scene, tool: str, more: str) -> None:
    client = await scene.session()
    await scene.ask(session_call(client, tool, f'{{"name":"{tool}"{more}}}'), within=15)
    await asyncio.sleep(20 - 15 * scene.seen[-1].summary.startswith("no answer"))  # several leases, and more
    file = scene.stage.folder / f"{tool}.runs"
    runs = len(file.read_text().splitlines()) if file.exists() else 0
    scene.must(1 <= runs <= 2, f"the tool was run {runs} times")
    dead = [node.name for node in scene.stage.nodes if not node.alive]
    scene.must(len(dead) <= 2, f"dead: {dead}")
    ready = [node.name for node in scene.stage.nodes if node.alive and await asyncio.to_thread(node.is_ready)]
    scene.must(len(ready) + len(dead) == len(scene.stage.nodes), f"alive, and no longer serving: not {ready}, {dead}")
