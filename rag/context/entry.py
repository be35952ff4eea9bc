"""The file of one encoded context."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from rag.context.encoded import EncodedContext

FORMAT = 1
"""Counts up when files or what they hold change their meaning; those of others are not used."""


class EntryRejected(Exception):
    """A file is not what it should be; the message says in what way."""


@dataclass(frozen=True, slots=True)
class EntryKey:
    """All that the states of a context depend on.

    Args:
        model: Name of the model.
        revision: Version of its weights and of the numbers it computes with.
        int8: Whether the states are rounded to int8.
        prefix: Tokens after which the context was encoded.
        tokens: Tokens of the context.
    """

    model: str
    revision: str
    int8: bool
    prefix: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def digest(self) -> str:
        """The SHA-256 by which the file is found."""
        parts = [FORMAT, self.model, self.revision, self.int8, self.prefix, self.tokens]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class Stamp(NamedTuple):
    """What changes when a file does."""

    inode: int
    modified: int
    size: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Take it from what the system says about a file."""
        return cls(status.st_ino, status.st_mtime_ns, status.st_size)


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A file that is mapped into memory: its states are read where they are used.

    Args:
        key: What the states depend on.
        source: Where the context came from, as the caller of `ContextStore.put` said.
        encoded: The states.
        checksum: That of what was written.
        stamp: The file's, when it was opened.
    """

    key: EntryKey
    source: str
    encoded: EncodedContext
    checksum: str
    stamp: Stamp

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map a file, looking at its header and its tokens only.

        Raises:
            EntryRejected: It is no file of an encoded context, or one of another format.
            OSError: It cannot be opened.
        """
        try:
            # `safe_open` says of each file that it may not open that it is missing.
            with path.open("rb") as file:
                stamp = Stamp.of(os.fstat(file.fileno()))
            with safe_open(path, "pt") as mapped:
                metadata = mapped.metadata() or {}
                if metadata.get("format") != str(FORMAT):
                    raise EntryRejected(f"its format is {metadata.get('format')}, not {FORMAT}")
                tensors = {name: mapped.get_tensor(name) for name in mapped.keys()}  # noqa: SIM118
            encoded = EncodedContext(tensors.pop("states"), tensors.pop("scales", None))
            key = EntryKey(
                model=metadata["model"],
                revision=metadata["revision"],
                int8=encoded.scales is not None,
                prefix=_token_ids(tensors.pop("prefix")),
                tokens=_token_ids(tensors.pop("tokens")),
            )
            entry = cls(key, metadata["source"], encoded, metadata["crc32"], stamp)
        except IsADirectoryError as error:
            raise EntryRejected("it is a folder") from error
        except (MemoryError, RuntimeError) as error:  # what a refused mapping is, to either library
            raise OSError(str(error)) from error
        except SafetensorError as error:
            raise EntryRejected(f"it is no whole safetensors file: {error}") from error
        except KeyError as error:
            raise EntryRejected(f"it has no {error}") from error
        if tensors or not _agree(encoded, key):
            raise EntryRejected("its tensors do not belong together")
        return entry

    def check(self) -> None:
        """Read all of it and compare the checksum.

        Raises:
            EntryRejected: It is not what was written.
        """
        if self.checksum != _checksum(self.key, self.source, self.encoded):
            raise EntryRejected("its checksum differs")


def serialised(key: EntryKey, source: str, encoded: EncodedContext) -> bytes:
    """Return the content of a file, in safetensors format.

    Args:
        key: What the states depend on.
        source: Where the context came from.
        encoded: The states, in the computer's memory.
    """
    return save(
        _tensors(key, encoded),
        {
            "format": str(FORMAT),
            "model": key.model,
            "revision": key.revision,
            "source": source,
            "crc32": _checksum(key, source, encoded),
        },
    )


def _tensors(key: EntryKey, encoded: EncodedContext) -> dict[str, torch.Tensor]:
    tensors = {
        "prefix": torch.tensor(key.prefix, dtype=torch.int32),
        "tokens": torch.tensor(key.tokens, dtype=torch.int32),
        "states": encoded.states,
    }
    return tensors if encoded.scales is None else {**tensors, "scales": encoded.scales}


def _checksum(key: EntryKey, source: str, encoded: EncodedContext) -> str:
    # Types and shapes are in it too: other ones would make other numbers of the same bytes.
    checksum = zlib.crc32(source.encode())
    for name, tensor in _tensors(key, encoded).items():
        described = f"{name} {tensor.dtype} {tuple(tensor.shape)}"
        checksum = zlib.crc32(described.encode(), checksum)
        checksum = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), checksum)
    return f"{checksum:08x}"


def _token_ids(tensor: torch.Tensor) -> tuple[int, ...]:
    if tensor.ndim != 1 or tensor.dtype != torch.int32:
        raise EntryRejected("its tokens are no list of numbers")
    return tuple(tensor.tolist())


def _agree(encoded: EncodedContext, key: EntryKey) -> bool:
    states, scales = encoded.states, encoded.scales
    if states.ndim != 5 or states.shape[0] != 2 or states.shape[3] != len(key.tokens):
        return False
    if scales is None:
        return bool(states.is_floating_point())
    expected = (*states.shape[:3], 1, states.shape[4])
    return states.dtype == torch.int8 and (scales.dtype, scales.shape) == (torch.float32, expected)
