"""Tables as Parquet files of bounded size, written and read with few rows in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from rag.core.errors import DataError
from rag.core.extras import require
from rag.indexes.records import VectorCodec

_ROWS_HELD = 4096
_ROWS_A_FILE = 131_072

Columns = Mapping[str, type[str] | type[int] | VectorCodec]
"""Names and types of a table's columns."""


class TableWriter:
    """Writes a table to files `NAME-00000.parquet` and so on.

    Args:
        folder: Where the files go.
        name: What their names begin with.
        columns: The table's columns.

    Attributes:
        rows: How many rows were written.

    Raises:
        MissingExtra: pyarrow is not installed.
    """

    def __init__(self, folder: Path, name: str, columns: Columns) -> None:
        self._arrow = _arrow()
        self._folder = folder
        self._name = name
        self._columns = columns
        self._schema = _schema(columns)
        self._held: list[tuple[Any, ...]] = []
        self._file: Any = None
        self.rows = 0

    def add(self, *row: Any) -> None:
        """Write a row: a value for each column, a vector as its bytes."""
        self._held.append(row)
        self.rows += 1
        if len(self._held) == _ROWS_HELD:
            self._flush()

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is held, and close the file."""
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        written = self.rows - len(self._held)
        if written % _ROWS_A_FILE == 0:
            if self._file is not None:
                self._file.close()
            path = self._folder / f"{self._name}-{written // _ROWS_A_FILE:05}.parquet"
            self._file = self._arrow.parquet.ParquetWriter(path, self._schema)
        values = zip(*self._held, strict=True) if self._held else ((),) * len(self._columns)
        arrays = [
            self._array(each, kind)
            for each, kind in zip(values, self._columns.values(), strict=True)
        ]
        self._file.write_batch(self._arrow.record_batch(arrays, schema=self._schema))
        self._held.clear()

    def _array(self, values: tuple[Any, ...], kind: object) -> Any:
        if not isinstance(kind, VectorCodec):
            return self._arrow.array(values, _arrow_type(kind))
        numbers = self._arrow.array(np.frombuffer(b"".join(values), kind.dtype))
        return self._arrow.FixedSizeListArray.from_arrays(numbers, kind.dimension)


def read_table(folder: Path, name: str, columns: Columns) -> Iterator[tuple[Any, ...]]:
    """Yield the rows that a `TableWriter` wrote, vectors as arrays.

    Raises:
        DataError: A file cannot be read or has other columns.
        MissingExtra: pyarrow is not installed.
    """
    arrow = _arrow()
    for path in sorted(folder.glob(f"{name}-*.parquet")):
        try:
            with arrow.parquet.ParquetFile(path) as file:
                if not file.schema_arrow.equals(_schema(columns)):
                    raise DataError(str(path), f"has other columns than {', '.join(columns)}")
                for batch in file.iter_batches(_ROWS_HELD):
                    yield from zip(*map(_values, batch.columns, columns.values()), strict=True)
        except (OSError, arrow.ArrowException) as error:
            raise DataError(str(path), f"cannot be read: {error}") from error


def _values(column: Any, kind: object) -> Any:
    if not isinstance(kind, VectorCodec):
        return column.to_pylist()
    return column.flatten().to_numpy().reshape(-1, kind.dimension)


def _schema(columns: Columns) -> Any:
    return _arrow().schema([(name, _arrow_type(kind)) for name, kind in columns.items()])


def _arrow_type(kind: object) -> Any:
    arrow = _arrow()
    if isinstance(kind, VectorCodec):
        numbers = arrow.float16() if kind.dtype == "float16" else arrow.float32()
        return arrow.list_(numbers, kind.dimension)
    return arrow.string() if kind is str else arrow.int64()


def _arrow() -> Any:
    require("pyarrow.parquet", extra="parquet", package="pyarrow", needed_for="Parquet")
    return require("pyarrow", extra="parquet", needed_for="Parquet")
