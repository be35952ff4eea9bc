"""One answer out of the events of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rag.models.http.failures import Failure


class StreamedAnswer:
    """Events of a stream, put together to what the server would have sent without streaming.

    Attributes:
        data: The answer so far.
        finished: Whether the reply has ended by itself.
    """

    def __init__(self) -> None:
        self._choice: dict[str, Any] = {"text": "", "finish_reason": None}
        self.data: dict[str, Any] = {"choices": [self._choice]}

    @property
    def finished(self) -> bool:
        """Whether an event said why the reply ended."""
        return self._choice["finish_reason"] is not None

    def add(self, event: Mapping[str, Any]) -> str:
        """Take an event in; return the text that is new in it.

        Raises:
            Failure: The event is malformed.
        """
        for name in ("error", "usage", "timings"):
            if event.get(name) is not None:
                self.data[name] = event[name]
        try:
            return "".join(self._grow(choice) for choice in event.get("choices") or ())
        except (AttributeError, TypeError) as error:
            raise Failure(f"an event of the stream cannot be read: {error!r}") from error

    def _grow(self, choice: Mapping[str, Any]) -> str:
        text = choice["delta"].get("content") if "delta" in choice else choice.get("text")
        self._choice["text"] += text or ""
        if choice.get("finish_reason") is not None:
            self._choice["finish_reason"] = choice["finish_reason"]
        for name, values in (choice.get("logprobs") or {}).items():
            if isinstance(values, list):
                self._choice.setdefault("logprobs", {}).setdefault(name, []).extend(values)
        return text or ""

    def cut(self, text: str) -> None:
        """Let the reply end with a text that a stop string ended."""
        self._choice.update(text=text, finish_reason="stop")
