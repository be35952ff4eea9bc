"""What was measured: how well an allocation answers a question, and what it took."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from rag.core.allocations import Allocation
from rag.core.errors import DataError, InputError

Cell: TypeAlias = tuple[str, Allocation]
"""A strategy, such as 'DRAG', and an allocation."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One question, answered with one strategy at one allocation.

    Args:
        dataset: The data set's name.
        strategy: The strategy's name, such as 'DRAG'.
        allocation: What it was to use.
        query_id: The question.
        metrics: Values by metric name, 0 to 1: EM, F1, accuracy.
        input_tokens: Tokens of all prompts, as a plain sequential run would read them: the
            effective context length of arXiv 2410.04343, section 3.1.
        computed_tokens: Those of them that were computed, neither shared nor kept.
        output_tokens: Tokens written.
        calls: Calls of the language model.
        seconds: Time of backends.
        confidence: How likely the model found its answer; None where that is not known.
        answer: The answer itself.
    """

    dataset: str
    strategy: str
    allocation: Allocation
    query_id: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    input_tokens: int = 0
    computed_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0
    seconds: float = 0.0
    confidence: float | None = None
    answer: str = ""

    @property
    def cell(self) -> Cell:
        """The strategy and the allocation."""
        return self.strategy, self.allocation

    def as_json(self) -> dict[str, Any]:
        """Return the observation as JSON values; `from_json` reads them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Observation:
        """Read what `as_json` returned."""
        return cls(**{**values, "allocation": Allocation(**values["allocation"])})


def write_observations(path: Path, observations: Iterable[Observation]) -> None:
    """Write observations as JSON Lines, compressed where the path ends in .gz.

    Raises:
        InputError: The file cannot be written.
    """
    lines = (json.dumps(each.as_json(), ensure_ascii=False) + "\n" for each in observations)
    data = "".join(lines).encode()
    # Without the time of day, the same observations make the same file.
    data = gzip.compress(data, mtime=0) if path.suffix == ".gz" else data
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}; name another file") from error


def read_observations(path: Path) -> Iterator[Observation]:
    """Yield what `write_observations` wrote.

    Raises:
        DataError: The file is missing, or a line is no observation.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(str(path), f"not observations: {error}") from error
    # Bytes are split at line ends only; text would be at characters that an answer may hold, too.
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            yield Observation.from_json(json.loads(line))
        except (InputError, ValueError, TypeError, KeyError) as error:
            raise DataError(str(path), f"no observation: {error!r}", number) from error
