"""Events and responses as AWS documents them, for each front door."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from tests.support.http.request import Request

Lines = list[tuple[str, str]]
Event = dict[str, Any]

CLIENT = "192.0.2.7"
ACCOUNT = "123456789012"


def _lists(lines: Lines) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for name, value in lines:
        same = next((known for known in lists if known.lower() == name.lower()), name)
        lists.setdefault(same, []).append(value.strip(" \t"))
    return lists


def _lines(request: Request) -> Lines:
    """Return the lines that the front door passes on; it has read the body, whatever its framing was."""
    body = b"".join(request.chunks) or request.body
    return [*request.headers, *([("Content-Length", str(len(body)))] if body else [])]


def _body(request: Request, *, is_binary: bool) -> Event:
    body = b"".join(request.chunks) or request.body
    if is_binary:
        return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    return {"body": body.decode() if body else None, "isBase64Encoded": False}


def _path(request: Request) -> tuple[str, str]:
    path, _, query = request.path.partition("?")
    return path, query


def rest(request: Request, stage: str = "prod") -> Event:
    """Build the event of a REST API (API Gateway, "Input format of a Lambda function for proxy integration")."""
    path, _ = _path(request)
    lists = _lists(_lines(request))
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": request.method,
        "headers": {name: values[-1] for name, values in lists.items()},
        "multiValueHeaders": lists,
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": {"proxy": path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "abcdef1234",
            "domainName": "abcdef1234.execute-api.eu-west-1.amazonaws.com",
            "domainPrefix": "abcdef1234",
            "httpMethod": request.method,
            "identity": {
                **dict.fromkeys(("accessKey", "accountId", "caller", "cognitoIdentityId", "user", "userArn")),
                "sourceIp": CLIENT,
                "userAgent": "tests",
            },
            "path": f"/{stage}{path}",
            "protocol": "HTTP/1.1",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "resourcePath": "/{proxy+}",
            "stage": stage,
        },
        **_body(request, is_binary=False),
    }


def http_1(request: Request) -> Event:
    """Build the event of an HTTP API with payload format 1.0."""
    event = rest(request, "$default")
    event["requestContext"] |= {"path": event["path"], "authorizer": {"claims": None, "scopes": None}}
    return {"version": "1.0", **event}


def http(request: Request, stage: str = "$default", *, is_binary: bool = False) -> Event:
    """Build the event of an HTTP API with payload format 2.0: header names in lower case, values joined."""
    path, query = _path(request)
    path = path if stage == "$default" else f"/{stage}{path}"
    lists = _lists([(name.lower(), value) for name, value in _lines(request)])
    cookies = [cookie.strip() for line in lists.pop("cookie", []) for cookie in line.split(";")]
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        **({"cookies": cookies} if cookies else {}),
        "headers": {name: ",".join(values) for name, values in lists.items()},
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "api-id",
            "domainName": "api-id.execute-api.eu-west-1.amazonaws.com",
            "domainPrefix": "api-id",
            "http": {
                "method": request.method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": CLIENT,
                "userAgent": "tests",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": stage,
            "time": "12/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1583348638390,
        },
        **_body(request, is_binary=is_binary),
    }


def url(request: Request) -> Event:
    """Build the event of a function URL, which may encode any body."""
    event = http(request, is_binary=True)
    event["requestContext"] |= {"domainName": "api-id.lambda-url.eu-west-1.on.aws", "authentication": None}
    return event


def _load_balancer(request: Request) -> tuple[Event, dict[str, list[str]]]:
    path, _ = _path(request)
    lists = _lists([(name.lower(), value) for name, value in _lines(request)])
    lists = {"x-forwarded-proto": ["https"], "x-forwarded-port": ["443"], **lists}
    lists["x-forwarded-for"] = [", ".join([*lists.get("x-forwarded-for", ()), CLIENT])]
    arn = f"arn:aws:elasticloadbalancing:eu-west-1:{ACCOUNT}:targetgroup/lambda/6d0ecf831eec9f09"
    return {
        "requestContext": {"elb": {"targetGroupArn": arn}},
        "httpMethod": request.method,
        "path": path,
        **_body(request, is_binary=False),
        "body": _body(request, is_binary=False)["body"] or "",
    }, lists


def alb(request: Request) -> Event:
    """Build the event of an Application Load Balancer: of a repeated header, the last line."""
    event, lists = _load_balancer(request)
    return {**event, "headers": {name: values[-1] for name, values in lists.items()}, "queryStringParameters": {}}


def alb_lists(request: Request) -> Event:
    """Build the event of an Application Load Balancer with multi-value headers."""
    event, lists = _load_balancer(request)
    return {**event, "multiValueHeaders": lists, "multiValueQueryStringParameters": {}}


DOORS: dict[str, Callable[[Request], Event]] = {
    "rest": rest,
    "http-1": http_1,
    "http": http,
    "url": url,
    "alb": alb,
    "alb-lists": alb_lists,
}
"""By name of a front door, the function that makes an event of a request."""


def answer(door: str, response: Event) -> tuple[int, Lines, bytes]:
    """Read a response as its front door does, with all that the front door demands of it."""
    json.dumps(response)
    body = response["body"].encode()
    if response["isBase64Encoded"]:
        body = base64.b64decode(body, validate=True)
    assert isinstance(response["statusCode"], int)
    has_lists = door in ("rest", "http-1", "alb-lists")
    assert ("multiValueHeaders" in response) is has_lists and ("headers" in response) is not has_lists
    if door.startswith("alb"):
        assert response["statusDescription"].startswith(f"{response['statusCode']} ")
    if has_lists:
        lines = [(name, value) for name, values in response["multiValueHeaders"].items() for value in values]
    else:
        lines = list(response["headers"].items())
        assert all(isinstance(value, str) for _, value in lines)
    cookies = response.get("cookies", [])
    assert not cookies or door in ("http", "url")
    return response["statusCode"], [*lines, *(("set-cookie", cookie) for cookie in cookies)], body
