"""What the test answers when a tool asks: the user's form, the model's words, the client's folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from asgiref.sync import iscoroutinefunction, sync_to_async

__all__ = ["Answers", "Elicit", "Roots", "Sample"]

_Form = Mapping[str, Any] | str
_Words = Mapping[str, Any] | str

Elicit = _Form | Sequence[_Form] | Callable[[str, Any], Any] | Literal[False] | None
"""The form's values, "decline", "cancel", a list of those, or a function of the message and the form's schema."""

Sample = _Words | Sequence[_Words] | Callable[[Mapping[str, Any]], Any] | Literal[False] | None
"""The model's text, a whole result, a list of those, or a function of the request's params."""

Roots = Sequence[str | Mapping[str, Any]] | Literal[False] | None
"""The folders, as URIs or as objects of the protocol."""

_ACTIONS: Final = ("accept", "decline", "cancel")

_CAPABILITIES: Final[Mapping[str, Any]] = {
    "elicit": ("elicitation", {"form": {}, "url": {}}),
    "sample": ("sampling", {"context": {}, "tools": {}}),
    "roots": ("roots", {}),
}


class Answers:
    """The prepared answers of one client; False says that the client cannot be asked."""

    def __init__(self, elicit: Elicit, sample: Sample, roots: Roots) -> None:
        self.elicit, self.sample, self.roots = elicit, sample, roots
        self._given = {"elicit": 0, "sample": 0}

    @property
    def capabilities(self) -> dict[str, Any]:
        """Return what the client declares."""
        return dict(words for name, words in _CAPABILITIES.items() if getattr(self, name) is not False)

    async def answer(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result for a request of the server.

        Raises: AssertionError when the test has prepared none; whatever a function of the test raises.
        """
        match method:
            case "elicitation/create":
                message = params.get("message", "")
                asked = f"the user {message!r}"
                schema = params.get("requestedSchema", {"url": params.get("url")})
                return _form(await self._next("elicit", asked, message, schema))
            case "sampling/createMessage":
                return _words(await self._next("sample", "the model to write", params))
            case "roots/list":
                return _folders(self.roots)
            case "ping":
                return {}
        raise AssertionError(f"the server asked for {method!r}, which this client does not know")

    async def _next(self, name: str, asked: str, *arguments: Any) -> Any:
        source = getattr(self, name)
        if callable(source):
            # Synchronous ones on the test's thread, with its transaction.
            call = source if iscoroutinefunction(source) else sync_to_async(source)
            return await call(*arguments)
        if isinstance(source, Sequence) and not isinstance(source, str):
            number, self._given[name] = self._given[name], self._given[name] + 1
            if number >= len(source):
                raise AssertionError(f"the tool asked {asked}, but only {len(source)} answers are prepared")
            return source[number]
        if source is None or source is False:
            raise _unprepared(asked, name)
        return source


def _unprepared(asked: str, name: str) -> AssertionError:
    return AssertionError(f"the tool asked {asked}, but the test has prepared no answer: MCPClient({name}=...)")


def _folders(roots: Roots) -> dict[str, Any]:
    if roots is None or roots is False:
        raise _unprepared("for the client's folders", "roots")
    return {"roots": [{"uri": root} if isinstance(root, str) else dict(root) for root in roots]}


def _form(answer: Any) -> dict[str, Any]:
    if isinstance(answer, Mapping):
        return {"action": "accept", "content": dict(answer)}
    if answer not in _ACTIONS:
        raise AssertionError(f"expected the form's values or one of {_ACTIONS} as the user's answer, got {answer!r}")
    return {"action": answer}


def _words(answer: Any) -> dict[str, Any]:
    if isinstance(answer, str):
        answer = {"content": {"type": "text", "text": answer}}
    if not isinstance(answer, Mapping):
        raise AssertionError(f"expected a text or a result of sampling/createMessage, got {answer!r}")
    return {"role": "assistant", "model": "test", "stopReason": "endTurn", **answer}
