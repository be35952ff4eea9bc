"""What a service has acknowledged, and so what its searches have to find from then on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from threading import Lock
from typing import Literal

State = Literal["changing", "stored", "deleted"]
"""Whether it may or may not be found, has to be found, or must not be found."""


@dataclass
class Text:
    """A text that was sent, under the name of its document.

    Args:
        name: The document's name; a later text may have replaced this one.
        word: A word that no other text has.
        state: What is known of it.
        changes: How often the state has changed.
    """

    name: str
    word: str
    state: State = "changing"
    changes: int = 0


class Ledger:
    """The texts of one run; several threads may use it."""

    def __init__(self) -> None:
        self._texts: list[Text] = []
        self._lock = Lock()
        self.violations: list[str] = []

    def send(self, name: str) -> Text:
        """Write down a text that is about to be sent."""
        with self._lock:
            text = Text(name, word(len(self._texts)))
            self._texts.append(text)
        return text

    def set(self, text: Text, state: State) -> None:
        """Write down what was acknowledged, or, as 'changing', what is about to be asked."""
        with self._lock:
            text.state = state
            text.changes += 1

    def claim(self, random: Random) -> Text | None:
        """Take a stored text that is to be changed; None where there is none."""
        with self._lock:
            stored = [text for text in self._texts if text.state == "stored"]
            if not stored:
                return None
            chosen = random.choice(stored)
            chosen.state = "changing"
            chosen.changes += 1
            return chosen

    def count(self, state: State) -> int:
        """Return how many texts are in a state."""
        with self._lock:
            return sum(text.state == state for text in self._texts)

    def all(self) -> list[Text]:
        """Return all texts."""
        with self._lock:
            return list(self._texts)

    def choose(self, random: Random) -> Text | None:
        """Return a text whose state is known, as often a stored one as a deleted one."""
        state = random.choice(("stored", "deleted"))
        with self._lock:
            known = [text for text in self._texts if text.state == state]
            return random.choice(known) if known else None

    @contextmanager
    def checking(self, text: Text) -> Iterator[list[bool]]:
        """Hold a service to what is known of a text, unless that changes meanwhile.

        Yields:
            A list to append whether the text was found.
        """
        before = text.changes
        found: list[bool] = []
        yield found
        with self._lock:
            if text.changes == before and any(each != (text.state == "stored") for each in found):
                self.violations.append(f"{text.name} with '{text.word}': {text.state}, {found}")


def word(number: int) -> str:
    """Return a word of letters only, so that no analysis takes it apart."""
    return "z" + "".join("bdfgklmnpr"[int(digit)] for digit in f"{number:06}") + "x"
