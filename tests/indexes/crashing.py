"""Processes that change a collection and are killed, and what has to be true afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from pkgutil import resolve_name
from random import Random
from typing import Any

from rag.core.documents import Document
from rag.indexes import Collection, indexing
from rag.testing.embedders import HashEmbedder

State = dict[str, str]
"""Texts of the documents by id."""

EMBEDDER = HashEmbedder(1024)
_LONGEST_PAUSE = 0.1
"""Seconds after the last operation seen at which a writer is killed at the latest."""
BATCH = 2
"""Documents a transaction, so that adding takes several."""

# Children are forked from a clean process that has imported everything: FAISS does not survive a
# fork after a search, and importing takes far longer than what is to be killed.
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__, "tantivy", "rag.indexes.faiss_create"])


@dataclass(frozen=True)
class Add:
    """Add or replace documents."""

    documents: tuple[Document, ...]

    def run(self, collection: Collection) -> None:
        collection.add(self.documents)

    def outcomes(self, state: State) -> list[State]:
        """Return the states that are allowed while it runs; the last one is when it is done."""
        states = [state]
        for start in range(0, len(self.documents), BATCH):
            batch = self.documents[start : start + BATCH]
            states.append({**states[-1], **{each.id: each.text for each in batch}})
        return states


@dataclass(frozen=True)
class Remove:
    """Remove documents, all at once."""

    ids: tuple[str, ...]

    def run(self, collection: Collection) -> None:
        collection.remove(self.ids)

    def outcomes(self, state: State) -> list[State]:
        return [state, {name: text for name, text in state.items() if name not in self.ids}]


@dataclass(frozen=True)
class Compact:
    """Compact."""

    def run(self, collection: Collection) -> None:
        collection.compact()

    def outcomes(self, state: State) -> list[State]:
        return [state]


Operation = Add | Remove | Compact


def operations(seed: int) -> Iterator[Operation]:
    """Yield operations without end, the same ones for a seed."""
    random = Random(seed)
    while True:
        kind = random.choices(["add", "remove", "compact"], [6, 3, 1])[0]
        names = random.sample([f"d{n}" for n in range(30)], random.randint(1, 6))
        if kind == "add":
            yield Add(tuple(_document(name, random.randrange(10**6)) for name in names))
        elif kind == "remove":
            yield Remove(tuple(names))
        else:
            yield Compact()


def _document(name: str, version: int) -> Document:
    # Words of letters only, so that no analysis takes them apart.
    own = "z" + "".join("bdfgklmnpr"[int(digit)] for digit in str(version)) + "x"
    return Document(name, f"common words and {own}")


def change(path: Path, todo: Sequence[Operation] | int, log: Path) -> None:
    """Run operations on a collection, noting when each begins and has returned.

    Args:
        path: The collection.
        todo: The operations, or the seed of endless ones.
        log: Where a letter is written for each: 'b' begun, 'd' done.
    """
    indexing._BATCH_DOCUMENTS = BATCH
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with Collection.open(path, EMBEDDER, writable=True) as collection:
        for operation in operations(todo) if isinstance(todo, int) else todo:
            os.write(descriptor, b"b")
            operation.run(collection)
            os.write(descriptor, b"d")


def change_and_exit_at(
    path: Path, todo: Sequence[Operation], log: Path, place: str, *, finish: bool
) -> None:
    """Run operations, and end the process on the spot where a function is called.

    Args:
        path: The collection.
        todo: The operations.
        log: As for `change`.
        place: The function, as in 'os.replace'.
        finish: Whether to let it finish first.
    """
    owner, _, name = place.rpartition(".")
    original = resolve_name(place)

    def exit_there(*args: Any, **kwargs: Any) -> None:
        if finish:
            original(*args, **kwargs)
        os._exit(9)

    setattr(resolve_name(owner), name, exit_there)
    change(path, todo, log)


def allowed_states(state: State, todo: Iterator[Operation], log: Path) -> list[State]:
    """Return the states that a log allows."""
    letters = _letters(log)
    for _ in range(letters.count("d")):
        state = next(todo).outcomes(state)[-1]
    if letters.count("b") > letters.count("d"):
        return next(todo).outcomes(state)
    return [state]


def _letters(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def check(path: Path, allowed: Sequence[State], *, writable: bool) -> State:
    """Open a collection after a crash, and return the state it is in.

    Raises:
        AssertionError: It is in none of the allowed states, a search finds something else, or
            `verify` does.
    """
    with Collection.open(path, EMBEDDER, writable=writable) as collection:
        names = [each.id for each in collection.documents()]
        state = {name: collection.document(name).text for name in names}
        assert state in allowed, f"{state} is none of {allowed}"
        for search in (collection.search_lexical, collection.search_dense):
            (hits,) = search(["common words"], 1000)
            # As a sorted list: no passage may be there twice.
            found = sorted((hit.passage.document_id, hit.passage.text) for hit in hits)
            assert found == sorted(state.items()), search.__name__
        problems = collection.verify().problems
        assert not problems, problems
    return state


def kill_at_random(path: Path, rounds: int, seed: int) -> int:
    """Kill writers of one collection again and again, checking after each.

    Args:
        path: Where to create the collection, and beside it the logs.
        rounds: How many writers to kill.
        seed: Decides what they do and when they are killed.

    Returns:
        How many operations had returned, in all.
    """
    random = Random(seed)
    Collection.create(path, EMBEDDER).close()
    state: State = {}
    done = 0
    for number in range(rounds):
        log = path.with_name(f"{path.name}-{number}.log")
        own_seed = random.randrange(2**32)
        writer = PROCESSES.Process(target=change, args=(path, own_seed, log))
        writer.start()
        letters = random.randint(1, 6)
        while writer.is_alive() and len(_letters(log)) < letters:
            writer.join(0.001)
        writer.join(random.uniform(0, _LONGEST_PAUSE))
        assert writer.is_alive(), "the writer ended by itself"
        writer.kill()
        writer.join()
        allowed = allowed_states(state, operations(own_seed), log)
        state = check(path, allowed, writable=bool(number % 2))
        done += _letters(log).count("d")
    return done
