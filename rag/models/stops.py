"""Text that grows piece by piece and ends before the first stop string."""

from __future__ import annotations

from collections.abc import Sequence


class GrowingText:
    """Text of a stream, of which nothing is handed out that could become a stop string.

    Servers are asked to end at stop strings; those that do not are cut off here.

    Args:
        stops: The stop strings.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.text = ""
        self.stopped = False
        self._stops = stops
        self._handed_out = 0

    def add(self, piece: str) -> str:
        """Append a piece; return the text that can be handed out by now."""
        known = len(self.text)
        self.text += piece
        found = (self.text.find(stop, max(0, known - len(stop) + 1)) for stop in self._stops)
        ends = [at for at in found if at >= 0]
        if ends:
            self.text = self.text[: min(ends)]
            self.stopped = True
        return self._hand_out(0 if ends else self._held)

    def rest(self) -> str:
        """Return the text that was held back and will not become a stop string any more."""
        return self._hand_out(0)

    @property
    def _held(self) -> int:
        """Characters at the end that may begin a stop string."""
        beginnings = (stop[:n] for stop in self._stops for n in range(1, len(stop)))
        return max((len(part) for part in beginnings if self.text.endswith(part)), default=0)

    def _hand_out(self, held: int) -> str:
        start, self._handed_out = self._handed_out, len(self.text) - held
        return self.text[start : self._handed_out]
