"""Writing the replies of callers of any thread, all in one batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

from rag.core.errors import Cancelled
from rag.models.decoding import Draft, pick_tokens
from rag.models.key_values import State, joined
from rag.models.lanes import lane
from rag.models.reading import PromptReader, Reading


class Writer:
    """Writes replies, a token of each at every turn, on the thread of the model's device.

    Replies that are asked for while others are being written join them; those that are finished
    leave at once. So callers share the passes of the model without waiting for one another, and
    other work of the device is done between two turns.

    Args:
        reader: Reads prompts, and has the model.
        batch_tokens: Tokens of prompts and replies that are held at once, padding included.
        text_of: The text of a token.
    """

    def __init__(
        self, reader: PromptReader[Any], batch_tokens: int, text_of: Callable[[int], str]
    ) -> None:
        self._reader = reader
        self._model = reader.model
        self._batch_tokens = batch_tokens
        self._text_of = text_of
        self._inbox: deque[Sequence[Draft]] = deque()
        self._waiting: deque[Draft] = deque()
        self._joining: list[Draft] = []
        self._live: list[Draft] = []
        self._state: State | None = None
        self._awake = False
        self._waking = threading.Lock()

    def submit(self, drafts: Sequence[Draft]) -> None:
        """Have replies written; each draft's `done` is set at its end."""
        # Dearest first, so that memory runs out at once or never.
        self._inbox.append(sorted(drafts, key=lambda draft: -self._room(draft)))
        with self._waking:
            if not self._awake:
                lane(self._model.device).submit(self._turn)
                self._awake = True

    @torch.inference_mode()
    def _turn(self) -> None:
        while self._inbox:
            self._waiting.extend(self._inbox.popleft())
        try:
            self._admit()
            if self._state:
                self._step(self._state)
        except Exception as error:  # noqa: BLE001 # whoever waits gets it
            self._fail([*self._joining, *self._live], error)
            self._joining, self._live, self._state = [], [], None
        with self._waking:
            self._awake = bool(self._live or self._waiting or self._inbox)
            if self._awake:
                self._go_on()

    def _go_on(self) -> None:
        try:
            lane(self._model.device).submit(self._turn)
        except RuntimeError:  # Python is about to end
            self._awake = False
            come = [draft for drafts in self._inbox for draft in drafts]
            self._fail([*self._live, *self._waiting, *come], Cancelled("Python is ending"))

    def _admit(self) -> None:
        """Read the prompts of waiting drafts, as many as fit beside the live ones."""
        drafts = [draft for draft in self._fitting() if not self._ended(draft)]
        self._joining = drafts
        states = [self._state] if self._state else []
        for reading in self._reader.read([draft.prompt for draft in drafts]):
            if isinstance(reading, Reading):
                joining = [drafts[row] for row in reading.rows]
                for draft, cached in zip(joining, reading.cached, strict=True):
                    draft.cached_tokens = cached
                self._take(reading.logits[:, -1], joining)
                self._live += joining
                states.append(reading.state)
            else:
                rows, error = reading
                self._fail([drafts[row] for row in rows], error)
        self._joining = []
        if states:
            self._state = joined(states)
            self._leave()

    def _fitting(self) -> list[Draft]:
        chosen: list[Draft] = []
        longest = max(map(self._room, self._live), default=0)
        shared: dict[Hashable, int] = {}
        for draft in self._live:
            shared |= self._reader.shared(draft.prompt)
        for draft in self._waiting:
            longest = max(longest, self._room(draft))
            shared |= self._reader.shared(draft.prompt)
            rows = len(self._live) + len(chosen) + 1
            if rows > 1 and rows * longest + sum(shared.values()) > self._batch_tokens:
                break
            chosen.append(draft)
        # Joining copies what the live ones have read, so a few of many wait for more to join.
        few = len(chosen) < len(self._waiting) and 4 * len(chosen) < len(self._live)
        if self._live and (few or not self._model.full_attention):
            return []
        for _ in chosen:
            self._waiting.popleft()
        return chosen

    def _room(self, draft: Draft) -> int:
        return self._reader.columns(draft.prompt) + draft.sampling.max_tokens

    def _step(self, state: State) -> None:
        """Write a token more of every live draft."""
        logits = self._model.read([draft.tokens[-1:] for draft in self._live], state)
        self._take(logits[:, -1], self._live)
        self._leave()

    def _take(self, logits: torch.Tensor, drafts: Sequence[Draft]) -> None:
        for draft, token in zip(drafts, pick_tokens(logits, drafts, self._text_of), strict=True):
            draft.take(token)
            if draft.pieces and (piece := draft.hand_out()):
                draft.pieces.put(piece)

    def _leave(self) -> None:
        """Let finished drafts go, and keep what they have read."""
        ended = [row for row, draft in enumerate(self._live) if self._ended(draft)]
        if not (ended and self._state):
            return
        for row in ended:
            draft = self._live[row]
            self._reader.keep(draft.prompt, draft.tokens, self._state, row)
        self._live = [self._live[row] for row in self._state.drop(ended)]
        if not self._live:
            self._state = None

    def _ended(self, draft: Draft) -> bool:
        """Tell whoever waits for a draft that it is finished, if it is."""
        if draft.finish is None and not draft.cancelled:
            return False
        draft.end()
        return True

    def _fail(self, drafts: Sequence[Draft], error: Exception) -> None:
        for draft in drafts:
            draft.error = error
            draft.end()
