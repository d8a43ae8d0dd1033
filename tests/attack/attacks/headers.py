"""Header lines: many, long, doubled, of hosts and origins; and requests that bend HTTP."""

from __future__ import annotations

from tests.attack.attack import FLAT_BYTES, Scene, attack
from tests.attack.stage import MIB
from tests.attack.wire import alone, call, get, in_session, post, session_request
from tests.support.http.client import Client

AT_THE_SERVER = ("400 text", "400", "414*", "431*", "413*", "closed", "400 *")
"""What servers answer by themselves before an application sees a request."""


def _with(raw: bytes, lines: bytes) -> bytes:
    """Return a request with further header lines."""
    head, _, body = raw.partition(b"\r\n\r\n")
    return head + b"\r\n" + lines + b"\r\n" + body


@attack(*AT_THE_SERVER, short=True)
async def equal_header_lines(scene: Scene) -> None:
    """100,000 equal header lines, as a mount and as a view; a list header as well."""
    lines = b"a:1\r\n" * 100_000
    await scene.ask(_with(call("add", '{"a":1,"b":1}'), lines))
    await scene.ask(_with(call("add", '{"a":1,"b":1}', path="/view"), lines))
    await scene.ask(_with(call("add", '{"a":1,"b":1}'), b"accept:a\r\n" * 40_000))
    await scene.ask(_with(get(), b"cookie:a=1\r\n" * 40_000))


@attack(*AT_THE_SERVER)
async def different_header_lines(scene: Scene) -> None:
    """100,000 header lines that are all different, in a POST, a GET and a preflight."""
    lines = b"".join(b"a%d:1\r\n" % number for number in range(100_000))
    for raw in (call("add", '{"a":1,"b":1}'), get(), get(("Origin", "http://localhost"), method="OPTIONS")):
        await scene.ask(_with(raw, lines))


@attack(*AT_THE_SERVER, "200 result", "403*", "404*", "406*", "415*")
async def long_header_values(scene: Scene) -> None:
    """Values of 4 MB of each header that is read: Accept, Host, Origin, session, event, version, name, type."""
    big = "a," * (2 * MIB)
    names = [
        "Accept",
        "Content-Type",
        "Origin",
        "Mcp-Session-Id",
        "Last-Event-ID",
        "MCP-Protocol-Version",
        "Mcp-Name",
        "Mcp-Method",
    ]
    names += ["Authorization", "Cookie", "X-Forwarded-For", "Forwarded", "Accept-Encoding", "Host"]
    for name in names:
        await scene.ask(post(b'{"jsonrpc":"2.0","id":1,"method":"ping"}', (name, big)))
    await scene.ask(get(("Access-Control-Request-Headers", big), ("Origin", "http://localhost"), method="OPTIONS"))


@attack(*AT_THE_SERVER, "200*", "404*", "403*", short=True, kept_bytes=FLAT_BYTES)
async def long_header_names(scene: Scene) -> None:
    """40 requests, each with a header's name of 2 MB that nobody has sent before."""
    raw = alone("server/discover")
    await scene.ask_all((_with(raw, b"%d" % n + b"n" * 2 * MIB + b":1\r\n") for n in range(40)), at_once=4)


@attack(*AT_THE_SERVER, "200*", "403*", "404*", kept_bytes=FLAT_BYTES)
async def long_hosts_and_sessions(scene: Scene) -> None:
    """60 hosts, origins and session ids of 2 MB, all different; as a GET and DELETE, too."""
    ping, big = b'{"jsonrpc":"2.0","id":1,"method":"ping"}', "x" * 2 * MIB
    values = [str(number) + big for number in range(60)]
    await scene.ask_all((post(ping, ("Host", value)) for value in values), at_once=4)
    await scene.ask_all((post(ping, ("Origin", f"http://{value}")) for value in values), at_once=4)
    await scene.ask_all((post(ping, ("Mcp-Session-Id", value)) for value in values), at_once=4)
    await scene.ask_all((get(("Mcp-Session-Id", value), method="DELETE") for value in values), at_once=4)


@attack("400*", "403*", "404 text")
async def foreign_hosts_and_origins(scene: Scene) -> None:
    """Hosts and origins that are not this server's."""
    ping = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    hosts = ["evil.example", "localhost.evil.example", "evil.example:80@localhost", "[::1", "local_host", "a b"]
    await scene.ask_all(post(ping, ("Host", host)) for host in [*hosts, "localhost:x"])
    origins = [
        "null",
        "http://evil.example",
        "http://localhost.evil.example",
        "http://localhost@evil.example",
        "file://",
    ]
    origins += ["http://[::1]", "http://localhost:1", "//localhost", "http://localhost/", "http://localhost, x"]
    await scene.ask_all(alone("server/discover", "", ("Origin", origin)) for origin in origins)


@attack("403*", settings={"RESOURCE_URL": "https://localhost/mcp"})
async def origin_of_another_scheme(scene: Scene) -> None:
    """A page of http that calls a host which clients reach by https."""
    port = scene.node.port
    host = ("Host", f"localhost:{port}")
    await scene.ask(alone("server/discover", "", host, ("Origin", f"http://localhost:{port}")))


# Where a length that is announced does not come, daphne waits for it: "no answer".
@attack(*AT_THE_SERVER, "200*", "404*", "405*", "406*", "411*", "501*", "no answer")
async def bent_http(scene: Scene) -> None:
    """Both lengths, doubled lengths, chunks that lie, bare line feeds, odd paths and methods."""
    head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    ends = [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"Content-Length: +5\r\n\r\nabcde",
        b"Content-Length: -5\r\n\r\nabcde",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\n1;" + b"e" * 100_000 + b"\r\na\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip\r\n\r\nabc",
        b"X: a\n\nb\r\nContent-Length: 0\r\n\r\n",
        b"X : a\r\nContent-Length: 0\r\n\r\n",
        b"X\0: a\r\nContent-Length: 0\r\n\r\n",
    ]
    await scene.ask_all((head + end for end in ends), within=8)
    starts = [b"GET http://evil.example/mcp", b"GET //mcp", b"GET /mcp%00", b"GET /mcp/../mcp", b"BREW /mcp"]
    rest = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    await scene.ask_all((start + rest for start in [*starts, b"TRACE /mcp"]), within=8)


@attack("404*", "400*")
async def sessions_of_others(scene: Scene) -> None:
    """Another tenant's session: POST, GET, resume, DELETE; and ids that nobody has, answered alike."""
    owner = await scene.session("ann")
    thief = Client(scene.node.port)
    for session_id in (owner.session_id, "." + "A" * len(owner.session_id[1:]), "x"):
        thief.session_id = session_id
        lines = (("Mcp-Session-Id", session_id), ("MCP-Protocol-Version", "2025-11-25"))
        await scene.ask(session_request(thief, "ping"))
        await scene.ask(get(*lines))
        await scene.ask(get(*lines, ("Last-Event-ID", "g-0")))
        await scene.ask(get(*lines, method="DELETE"))
    texts = {seen.text for seen in scene.seen[0::4]}
    scene.must(len(texts) == 1, f"a foreign session can be told from an unknown one: {texts}")
    answer = await owner.request("ping")
    scene.must(answer.status == 200, "the owner's session is gone")


@attack("200*", "400*", "404*")
async def hidden_or_missing(scene: Scene) -> None:
    """Names that are hidden from the caller, and names that do not exist, in malformed requests as well."""
    client = await scene.session()
    of_template = '"ref":{{"type":"ref/resource","uri":"{}"}},"argument":{{"name":"a","value":"b"}}'
    forms = [
        ("tools/call", '"name":"{}"', "hidden", "hiddem"),
        ("tools/call", '"name":"{}","requestState":"x"', "hidden", "hiddem"),
        ("tools/call", '"name":"{}","arguments":7', "hidden", "hiddem"),
        ("tools/call", '"name":"{}","inputResponses":7', "hidden", "hiddem"),
        ("resources/read", '"uri":"{}"', "hidden://a", "hiddem://a"),
        ("resources/read", '"uri":"{}","inputResponses":7', "hidden://a", "hiddem://a"),
        ("resources/subscribe", '"uri":"{}"', "hidden://a", "hiddem://a"),
        ("completion/complete", of_template, "hidden://{name}", "hiddem://{name}"),
    ]
    for method, form, hidden, missing in forms:
        answers = []
        for name in (hidden, missing):
            params = form.format(name)
            modern = await scene.ask(alone(method, params, name=name))
            body = f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}'
            old = await scene.ask(in_session(client, body.encode()))
            answers.append([(seen.summary, seen.text.replace(name, "NAME")) for seen in (modern, old)])
        scene.must(answers[0] == answers[1], f"{method} {form}: {answers[0]} and {answers[1]}"[:300])
