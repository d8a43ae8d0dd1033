"""Callers: made-up tokens, strange credentials, questions about the server itself, log lines that lie."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request

from tests.attack.attack import REFUSED, Scene, attack
from tests.attack.wire import alone, call, in_session, post
from tests.support.http.messages import rpc
from tests.support.processes import LOOPBACK, free_port

MOST_QUESTIONS = 64
"""How many questions to the authorization server may be under way at once."""

_PORT = free_port()
_INTROSPECTION = {
    "BACKEND": "introspection",
    "OPTIONS": {
        "URL": f"http://{LOOPBACK}:{_PORT}/introspect",
        "ISSUER": "https://auth.example",
        "TOKEN": "known",
        "AUDIENCE": "https://mcp.example/mcp",
    },
}


class SlowAuthorizationServer:
    """Knows no token, and takes a second to say so."""

    def __init__(self) -> None:
        self.questions = self.most = self._open = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        self.questions, self.most = self.questions + 1, max(self.most, self._open)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(1)
            body = b'{"active":false}'
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
            writer.write(head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open -= 1
            writer.close()


@attack("401*", "503*", "429*", settings={"AUTHENTICATORS": [_INTROSPECTION, "user", None]})
async def made_up_tokens(scene: Scene) -> None:
    """600 made-up tokens, 200 at once, with an authorization server that takes a second."""
    asked = SlowAuthorizationServer()
    async with await asyncio.start_server(asked.answer, LOOPBACK, _PORT):
        raw = [alone("server/discover", "", ("Authorization", f"Bearer made-up-{number}")) for number in range(600)]
        await scene.ask_all(raw, at_once=200, within=15)
    scene.must(asked.most <= MOST_QUESTIONS, f"{asked.most} questions to the authorization server at once")
    scene.must(asked.questions > 0, "the authorization server was never asked")


@attack("200*", "400*", "401*", "closed")
async def strange_credentials(scene: Scene) -> None:
    """Credentials doubled, joined, folded, quoted, 60 KB long, or in other headers."""
    values = ["Bearer", "Bearer ", "Bearer a, Bearer b", "Bearer\ta", 'Bearer "a"', "bearer a b", "Basic !", "é"]
    for value in (*values, "Bearer " + "a" * 60_000):
        await scene.ask(alone("server/discover", "", ("Authorization", value)))
    await scene.ask(alone("server/discover", "", ("Authorization", "Bearer a"), ("Authorization", "Bearer b")))
    await scene.ask(alone("server/discover", "", ("Proxy-Authorization", "Bearer a"), ("X_User", "ann")))


@attack("202*", *REFUSED, "404*", "200*", settings={"log": "DEBUG"})
async def lines_of_the_log(scene: Scene) -> None:
    """Line breaks and terminal escapes in methods, names, ids, URIs and agents; the log is at DEBUG."""
    client, log_before = await scene.session(), scene.node.log_size()
    lie = "x\nFORGED line\r\x1b[31m\u2028FORGED"
    methods = ("tools/call", "resources/read", "prompts/get", "notifications/cancelled")
    for method in (lie, f"notifications/{lie}", *methods):
        params = {"name": lie, "uri": f"test://{lie}", "requestId": lie, "reason": lie, "arguments": {lie: lie}}
        await scene.ask(in_session(client, rpc(method, params, lie)))
        await scene.ask(in_session(client, rpc(method, params)))
    await scene.ask(call("add", '{"a":"\\u001b[31m\\nFORGED"}'))
    await scene.ask(post(b'{"jsonrpc":"2.0","id":1,"method":"a\\nFORGED"}'))
    log = scene.node.log_since(log_before)
    forged = [line for line in log.splitlines() if line.startswith("FORGED")]
    scene.must(not forged and "\x1b" not in log, f"lines of the log are the client's: {forged[:1]}")


@attack("503*", backends=("redis",), settings={}, harms_neighbour=True)
async def readiness_without_redis(scene: Scene) -> None:
    """`/readyz` while Redis is gone: it says so, and not where Redis is."""
    assert scene.stage.redis is not None
    scene.stage.redis.kill()
    text = await asyncio.to_thread(_read, f"http://{LOOPBACK}:{scene.node.port}/readyz")
    scene.must(text.startswith("503"), f"ready without Redis: {text}")
    scene.must(str(scene.stage.redis.port) not in text, f"/readyz tells: {text}")


def _read(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=20) as answer:
            return f"{answer.status} {answer.read().decode()}"
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.read().decode()}"
