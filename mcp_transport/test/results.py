"""The results of requests, with assertions for tests."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

__all__ = ["Log", "Progress", "PromptResult", "ResourceResult", "Result", "ToolResult"]


class Progress(NamedTuple):
    """One report of progress."""

    progress: float
    total: float | None = None
    message: str | None = None


class Log(NamedTuple):
    """One log message that the client received."""

    level: str
    data: Any
    logger: str | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """The response to one request, with the notifications before it."""

    request: str
    """The request, as printed in failures."""
    status: int
    """The HTTP status."""
    headers: Mapping[str, str]
    """The headers of the HTTP response, by lower-case name."""
    raw: Mapping[str, Any]
    """The JSON-RPC response."""
    progress: list[Progress]
    logs: list[Log]

    @cached_property
    def code(self) -> int | None:
        """The code of a JSON-RPC error; None if the response has a result."""
        return self.raw["error"]["code"] if "error" in self.raw else None

    @cached_property
    def is_error(self) -> bool:
        """Whether the tool reported an error: a result for the model, with a text."""
        return bool(self.body.get("isError"))

    @cached_property
    def error(self) -> str | None:
        """The message of a JSON-RPC error, or the text of a tool's error; None without an error."""
        if "error" in self.raw:
            return str(self.raw["error"]["message"])
        return self._text if self.is_error else None

    @property
    def body(self) -> Mapping[str, Any]:
        """The member `result` of the JSON-RPC response; empty if there is none."""
        result: Mapping[str, Any] = self.raw.get("result", {})
        return result

    @cached_property
    def content(self) -> list[dict[str, Any]]:
        """The content blocks."""
        return list(self.body.get("content", ()))

    @property
    def text(self) -> str:
        """The text of all blocks, joined with newlines. Raises: AssertionError for a JSON-RPC error."""
        if self.code is not None:
            self.assert_ok()
        return self._text

    @property
    def result(self) -> Any:
        """The value. Raises: AssertionError if the request failed."""
        return self.assert_ok().body

    @cached_property
    def _text(self) -> str:
        return "\n".join(block["text"] for block in self.content if "text" in block)

    def assert_ok(self) -> Self:
        """Fail if there is an error; return self."""
        if self.error is not None:
            raise AssertionError(f"expected a result, got an error\n{self}")
        return self

    def assert_error(self, text: str = "", *, code: int | None = None) -> Self:
        """Fail unless there is an error that contains `text` and has the JSON-RPC `code`, if given; return self."""
        if self.error is None:
            raise AssertionError(f"expected an error, got a result\n{self}")
        if text not in self.error:
            raise AssertionError(f"expected an error that contains {text!r}\n{self}")
        if code not in (None, self.code):
            raise AssertionError(f"expected the JSON-RPC error {code}\n{self}")
        return self

    def __str__(self) -> str:
        lines = [self.request, f"HTTP {self.status}"]
        if self.error is not None:
            kind = "tool error" if self.code is None else f"JSON-RPC error {self.code}"
            lines.append(f"{kind}: {self.error}")
        lines += [f"progress: {item.progress:g} of {item.total} {item.message or ''}" for item in self.progress]
        lines += [f"{item.level}: {item.data}" for item in self.logs]
        return "\n".join([*lines, json.dumps(self.raw, indent=2, ensure_ascii=False)])


class ToolResult(Result):
    """The result of a tool call."""

    @property
    def result(self) -> Any:
        """The structured content, unwrapped if it is not an object; the text of a tool without an output schema.

        Raises: AssertionError if the call failed.
        """
        content = self.assert_ok().body.get("structuredContent")
        if content is None:
            return self._text
        # The SDK wraps a value that is not an object as the only member "result" of an object.
        return content["result"] if set(content) == {"result"} else content


class ResourceResult(Result):
    """The result of reading a resource."""

    @cached_property
    def content(self) -> list[dict[str, Any]]:
        """The contents, one for each URI."""
        return list(self.body.get("contents", ()))

    @property
    def result(self) -> Any:
        """The value: parsed JSON, bytes, or text; a list of values unless there is exactly one.

        Raises: AssertionError if it could not be read.
        """
        self.assert_ok()
        values = [_value(item) for item in self.content]
        return values[0] if len(values) == 1 else values


class PromptResult(Result):
    """The messages of a prompt."""

    @cached_property
    def content(self) -> list[dict[str, Any]]:
        """The content block of each message."""
        return [message["content"] for message in self.body.get("messages", ())]

    @property
    def result(self) -> Any:
        """The messages, each with its role and content. Raises: AssertionError if there are none."""
        return self.assert_ok().body["messages"]


def _value(item: Mapping[str, Any]) -> Any:
    if "blob" in item:
        return base64.b64decode(item["blob"])
    return json.loads(item["text"]) if str(item.get("mimeType", "")).endswith("json") else item["text"]
