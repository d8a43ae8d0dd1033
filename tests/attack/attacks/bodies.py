"""Bodies: long lists, wrong shapes, many values, deep nesting."""

from __future__ import annotations

import json

from tests.attack.attack import REFUSED, Scene, attack
from tests.attack.wire import alone, call, in_session, post, repeated, session_call, session_request
from tests.support.http.messages import rpc

SIZE = 4_000_000
"""Bytes below the default MAX_REQUEST_BYTES."""
ANSWERED = (*REFUSED, "200 isError", "200 -32602", "200 result")


@attack(*REFUSED, short=True)
async def listen_to_numbers(scene: Scene) -> None:
    """`subscriptions/listen` with two million numbers for URIs."""
    filter_ = f'"notifications":{{"resourceSubscriptions":{repeated("1", SIZE)}}}'
    await scene.ask(alone("subscriptions/listen", filter_))


@attack(*ANSWERED, short=True)
async def tool_with_list_of_texts(scene: Scene) -> None:
    """A tool that wants numbers gets 4 MB of texts, in both eras, as a mount and as a view."""
    client = await scene.session()
    arguments = f'{{"xs":{repeated(json.dumps("a"), SIZE)}}}'
    await scene.ask(call("total", arguments))
    await scene.ask(call("total", arguments, path="/view"))
    await scene.ask(session_call(client, "total", arguments))


@attack(*ANSWERED)
async def tool_with_list_of_lists(scene: Scene) -> None:
    """A tool that wants numbers gets 4 MB of empty lists, and of a length below what is refused at once."""
    for size in (SIZE, 400_000, 40_000):
        await scene.ask(call("total", f'{{"xs":{repeated("[]", size)}}}'))


@attack(*ANSWERED)
async def unknown_arguments(scene: Scene) -> None:
    """A tool, a prompt and a completion get 300,000 arguments that they do not have."""
    many = "{" + ",".join(f'"k{number}":[]' for number in range(300_000)) + "}"
    few = "{" + ",".join(f'"k{number}":[]' for number in range(3_000)) + "}"
    for arguments in (many, few):
        await scene.ask(call("optional", arguments))
        await scene.ask(alone("prompts/get", f'"name":"greet","arguments":{arguments}', name="greet"))
        context = f'"context":{{"arguments":{arguments}}}'
        reference = '"ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"name","value":"a"}'
        await scene.ask(alone("completion/complete", f"{reference},{context}"))


@attack(*REFUSED, "200 result", "200 -32602")
async def wrong_members_of_initialize(scene: Scene) -> None:
    """`initialize` with two million wrong values, in capabilities and in the client's icons."""
    for capabilities, icons in ((repeated("1", SIZE), "[]"), ("{}", repeated("1", SIZE))):
        info = f'{{"name":"n","version":"1","icons":{icons}}}'
        params = f'{{"protocolVersion":"2025-11-25","capabilities":{capabilities},"clientInfo":{info}}}'
        await scene.ask(post(f'{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{params}}}'.encode()))


@attack(*ANSWERED)
async def wrong_envelope(scene: Scene) -> None:
    """Capabilities and input responses of 2026-07-28 that are millions of wrong values."""
    await scene.ask(alone("tools/list", f'"cursor":{repeated("1", SIZE)}'))
    await scene.ask(call("add", '{"a":1,"b":1}', meta=f'"x":{repeated("{}", SIZE)}'))
    responses = "{" + ",".join(f'"k{number}":{{}}' for number in range(250_000)) + "}"
    await scene.ask(alone("tools/call", f'"name":"ask","arguments":{{}},"inputResponses":{responses}', name="ask"))


@attack(*REFUSED, "200 list*", "202")
async def batches(scene: Scene) -> None:
    """Batches of 101, of 1.4 million, of one list in another; and of 100 that are all wrong."""
    header = ("MCP-Protocol-Version", "2025-03-26")
    one = json.dumps(rpc("ping", None, 1))
    for body in (repeated(one, 101 * len(one)), repeated("1", SIZE), repeated("[]", SIZE), repeated('{"a":1}', 700)):
        await scene.ask(post(body.encode(), header))


@attack(*ANSWERED, short=True)
async def values_in_flight(scene: Scene) -> None:
    """20 requests of 4 MB of small values each, to a tool that waits, all at once."""
    values = repeated("{}", SIZE)
    raw = call("measure", f'{{"value":{values},"seconds":2}}')
    await scene.ask_all([raw] * 20, at_once=20, within=40)


@attack(*ANSWERED)
async def values_in_the_envelope(scene: Scene) -> None:
    """12 requests with 4 MB of small values each in `_meta`, to a tool that waits; in a session as well."""
    client, values = await scene.session(), repeated("{}", SIZE)
    raw = call("measure", '{"value":1,"seconds":2}', meta=f'"x":{values}')
    params = f'{{"name":"measure","arguments":{{"value":1,"seconds":2}},"_meta":{{"x":{values}}}}}'
    others = [
        in_session(client, f'{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{params}}}'.encode())
        for number in range(1, 7)
    ]
    await scene.ask_all([raw] * 6 + others, at_once=12, within=40)


@attack(*ANSWERED, "503 -32603")
async def long_texts_in_flight(scene: Scene) -> None:
    """40 requests of 4 MB of text each, to a tool that waits, all at once."""
    raw = call("measure", f'{{"value":"{"x" * SIZE}","seconds":2}}')
    await scene.ask_all([raw] * 40, at_once=40, within=40)


@attack(*REFUSED, "400 -32700", "200 result")
async def deep_nesting(scene: Scene) -> None:
    """Lists and objects in one another, 300 and two million deep."""
    for depth in (300, 2_000_000):
        await scene.ask(call("measure", f'{{"value":{"[" * depth}{"]" * depth}}}'))
        await scene.ask(call("measure", f'{{"value":{chr(123) + chr(34) + chr(97) + chr(34) + ":"}{"[" * depth}'))


@attack(*ANSWERED, "400 -32700", "404 -326*")
async def long_names_and_ids(scene: Scene) -> None:
    """Tools, prompts, cursors and ids with names of 3 MB; numbers with four million digits."""
    long = "n" * 3_000_000
    await scene.ask(call(long[:6000]))
    await scene.ask(alone("tools/call", f'"name":"{long}","arguments":{{}}', name="n"))
    await scene.ask(alone("prompts/get", f'"name":"{long}"', name="n"))
    await scene.ask(alone("tools/list", f'"cursor":"{long}"'))
    await scene.ask(alone("tools/list", id=f'"{long}"'))
    await scene.ask(call("measure", f'{{"value":{"9" * SIZE}}}'))
    client = await scene.session()
    for method, params in (
        ("tools/call", {"name": long}),
        ("prompts/get", {"name": long}),
        ("tools/list", {"cursor": long}),
    ):
        await scene.ask(session_request(client, method, params))
    await scene.ask(session_request(client, "ping", None, long))
    await scene.ask(session_request(client, long, None))


@attack(*ANSWERED, "404 -326*")
async def long_uris(scene: Scene) -> None:
    """Resources with URIs of 4 MB, in both eras; they match a template, or none, or cannot be parsed."""
    client = await scene.session()
    for uri in ("test://" + "a" * SIZE, "none://" + "/" * SIZE, "test://" + "%41" * (SIZE // 3), "[" * SIZE):
        await scene.ask(alone("resources/read", f'"uri":"{uri}"', name="u"))
        await scene.ask(session_request(client, "resources/read", {"uri": uri}))


@attack("202", *REFUSED, quiet=True)
async def notifications_of_unknown_names(scene: Scene) -> None:
    """Requests without an id for tools and prompts that do not exist."""
    client = await scene.session()
    for method in ("tools/call", "prompts/get", "resources/read", "completion/complete"):
        await scene.ask_all(in_session(client, rpc(method, {"name": "nobody", "uri": "a://b"})) for _ in range(25))


@attack("400 -32700", "413 -32600")
async def no_json(scene: Scene) -> None:
    """Bodies of 4 MB that are no JSON: zeros, commas, quotes, half a text, half an escape, other encodings."""
    bodies = [b"\0" * SIZE, b"," * SIZE, b'"' * SIZE, b'"' + b"a" * SIZE, b'"' + b"\\u00e" * (SIZE // 5)]
    bodies += [b"\xff\xfe" + b"{\0}\0" * 1000, b"\xef\xbb\xbf" * 1000, b'{"a":' * 100_000, b"", b"nul", b"{}{}"]
    for body in bodies:
        await scene.ask(post(body))


@attack(*REFUSED, "closed", short=True)
async def body_above_the_limit(scene: Scene) -> None:
    """A body of 64 MB, as a mount and as a view."""
    await scene.ask(post(b"x" * 64_000_000))
    await scene.ask(post(b"x" * 64_000_000, path="/view"))


@attack("413 -32600", "408 *", servers=("uvicorn-h11", "uvicorn-httptools"), settings={"BODY_TIMEOUT_SECONDS": 2})
async def body_that_does_not_come(scene: Scene) -> None:
    """10 GB announced, 64 KB announced and nothing sent; daphne and the view wait for it, as documented."""
    for length in ("10000000000", "65536"):
        raw = post(b"", ("Content-Length", length)).replace(b"\r\nContent-Length: 0", b"")
        await scene.ask(raw, within=10)
