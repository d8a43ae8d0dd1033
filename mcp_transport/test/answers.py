"""The test's answers to requests of tools: elicitation, sampling and roots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from asgiref.sync import iscoroutinefunction, sync_to_async

__all__ = ["Answers", "Elicit", "Roots", "Sample"]

_Answer = Mapping[str, Any] | str

Elicit = _Answer | Sequence[_Answer] | Callable[[str, Any], Any] | Literal[False] | None
"""The form's values, "decline", "cancel", a list of those, or a function of the message and the form's schema."""

Sample = _Answer | Sequence[_Answer] | Callable[[Mapping[str, Any]], Any] | Literal[False] | None
"""The model's text, a complete result, a list of those, or a function of the request's params."""

Roots = Sequence[str | Mapping[str, Any]] | Literal[False] | None
"""The roots, as URIs or as objects of the protocol."""

_ACTIONS: Final = ("accept", "decline", "cancel")

_CAPABILITIES: Final[Mapping[str, Any]] = {
    "elicit": ("elicitation", {"form": {}, "url": {}}),
    "sample": ("sampling", {"context": {}, "tools": {}}),
    "roots": ("roots", {}),
}


class Answers:
    """The prepared answers of one client; False means that the client does not declare the capability."""

    def __init__(self, elicit: Elicit, sample: Sample, roots: Roots) -> None:
        self.elicit, self.sample, self.roots = elicit, sample, roots
        self._used = {"elicit": 0, "sample": 0}

    @property
    def capabilities(self) -> dict[str, Any]:
        """Return the capabilities that the client declares."""
        return dict(capability for name, capability in _CAPABILITIES.items() if getattr(self, name) is not False)

    async def answer(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result of a request from the server.

        Raises: AssertionError if no answer is prepared; any exception of the test's own function.
        """
        match method:
            case "elicitation/create":
                message = params.get("message", "")
                recipient = f"the user {message!r}"
                schema = params.get("requestedSchema", {"url": params.get("url")})
                return _elicitation_result(await self._next("elicit", recipient, message, schema))
            case "sampling/createMessage":
                return _sampling_result(await self._next("sample", "the model to write", params))
            case "roots/list":
                return _roots_result(self.roots)
            case "ping":
                return {}
        raise AssertionError(f"the server sent {method!r}, which this client does not support")

    async def _next(self, name: str, recipient: str, *arguments: Any) -> Any:
        source = getattr(self, name)
        if callable(source):
            # Synchronous functions run on the test's thread, in its transaction.
            call = source if iscoroutinefunction(source) else sync_to_async(source)
            return await call(*arguments)
        if isinstance(source, Sequence) and not isinstance(source, str):
            number, self._used[name] = self._used[name], self._used[name] + 1
            if number >= len(source):
                raise AssertionError(f"the tool asked {recipient}, but only {len(source)} answers are prepared")
            return source[number]
        if source is None or source is False:
            raise _no_answer(recipient, name)
        return source


def _no_answer(recipient: str, name: str) -> AssertionError:
    return AssertionError(f"the tool asked {recipient}, but the test has prepared no answer: MCPClient({name}=...)")


def _roots_result(roots: Roots) -> dict[str, Any]:
    if roots is None or roots is False:
        raise _no_answer("for the client's folders", "roots")
    return {"roots": [{"uri": root} if isinstance(root, str) else dict(root) for root in roots]}


def _elicitation_result(answer: Any) -> dict[str, Any]:
    if isinstance(answer, Mapping):
        return {"action": "accept", "content": dict(answer)}
    if answer not in _ACTIONS:
        raise AssertionError(f"expected the form's values or one of {_ACTIONS} as the user's answer, got {answer!r}")
    return {"action": answer}


def _sampling_result(answer: Any) -> dict[str, Any]:
    if isinstance(answer, str):
        answer = {"content": {"type": "text", "text": answer}}
    if not isinstance(answer, Mapping):
        raise AssertionError(f"expected a text or a result of sampling/createMessage, got {answer!r}")
    return {"role": "assistant", "model": "test", "stopReason": "endTurn", **answer}
