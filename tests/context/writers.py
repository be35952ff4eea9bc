"""Encoded contexts for tests, and processes that write them."""

from __future__ import annotations

import os
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from signal import SIGKILL
from typing import NamedTuple

import torch

from rag.context.encoded import EncodedContext
from rag.context.store import ContextStore

# Children are forked from a clean process that has imported torch: importing it takes seconds.
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])

PREFIX = (1, 2, 3)


class Written(NamedTuple):
    """A context and its states."""

    tokens: tuple[int, ...]
    states: torch.Tensor
    source: str


def written(number: int, length: int = 7, dtype: torch.dtype = torch.float32) -> Written:
    """Return one of any number of contexts, the same one for a number."""
    random = torch.Generator().manual_seed(number)
    states = torch.randn(2, 3, 2, length, 8, generator=random).to(dtype)
    return Written((number, *range(1, length)), states, f"source {number}")


def store_in(folder: Path, *, int8: bool = False, revision: str = "r1") -> ContextStore:
    return ContextStore(folder, "some/model", revision, int8=int8)


ONE = written(1)


def put(store: ContextStore, each: Written = ONE) -> Path:
    """Write a context, and return its file."""
    before = set(store.path.rglob("*.safetensors"))
    store.put(PREFIX, each.tokens, each.states, each.source)
    (path,) = set(store.path.rglob("*.safetensors")) - before
    return path


def same(found: EncodedContext | None, expected: torch.Tensor) -> bool:
    return (
        found is not None
        and found.states.dtype == expected.dtype
        and torch.equal(found.states, expected)
    )


def scribbled(content: bytes) -> bytes:
    """Return the content of a file with other states."""
    middle = len(content) // 2
    return content[: middle - 100] + bytes(200) + content[middle + 100 :]


def write(folder: Path, numbers: range, done: Connection) -> None:
    """Write contexts, saying the number of each when it is there."""
    torch.set_num_threads(1)
    store = store_in(folder)
    for number in numbers:
        tokens, states, source = written(number, 2000)
        store.put(PREFIX, tokens, states, source)
        done.send(number)


def write_and_die(folder: Path, number: int) -> None:
    """Write a context, and die where its file is to appear."""
    os.replace = lambda *_: os.kill(os.getpid(), SIGKILL)
    tokens, states, source = written(number)
    store_in(folder).put(PREFIX, tokens, states, source)


def hold(folder: Path, held: Connection) -> None:
    """Hold the writer's lock until killed."""
    with store_in(folder).writing():
        held.send(True)
        held.recv()
