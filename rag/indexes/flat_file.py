"""Writing the file of a flat index vector by vector, never holding it."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from rag.core.errors import CollectionCorrupt
from rag.core.extras import require
from rag.core.protocols import Vectors
from rag.indexes import faiss_create
from rag.indexes.faiss_file import writing_index
from rag.indexes.faiss_index import checked_vectors
from rag.indexes.vectors import Codes, IntArray, Metric

faiss = require("faiss", extra="cpu", package="faiss-cpu", needed_for="A vector index")

_COUNT = struct.Struct("<q")
_COUNT_PLACES = (8, 45)
"""Where FAISS writes the number of vectors: in the header of the id map, and of the index in it."""


def write_flat(
    path: Path,
    batches: Iterable[tuple[IntArray, Vectors]],
    *,
    count: int,
    dimension: int,
    codes: Codes,
    metric: Metric,
    training: Vectors | None = None,
) -> None:
    """Write what saving a flat index of some vectors writes, byte for byte.

    Memory is taken for a batch, and for 8 bytes a vector.

    Args:
        path: The file; it is there whole or not at all.
        batches: Ids, each once, and their vectors, float32 of shape (n, dimension).
        count: How many vectors there are in all batches.
        dimension: Length of a vector.
        codes: How vectors are held: 'float32', 'float16' or 'int8'.
        metric: What scores are.
        training: A sample of the vectors, for 'int8'.

    Raises:
        CollectionCorrupt: There are more or fewer vectors.
        InputError: Vectors cannot be used.
        MissingExtra: FAISS is not installed.
        StorageError: The disk refused; what was at `path` before is intact.
    """
    index = faiss_create.create(dimension, "flat", codes, metric, None, training).contents()
    # The file of an empty index ends in two lengths, of codes and of ids; before them comes what
    # does not depend on the vectors but for their number.
    head = bytearray(faiss.serialize_index(index).tobytes()[: -2 * _COUNT.size])
    for place in _COUNT_PLACES:
        _COUNT.pack_into(head, place, count)
    flat = faiss.downcast_index(index.index)
    code_size = dimension if isinstance(flat, faiss.IndexFlat) else flat.sa_code_size()
    written: list[IntArray] = []
    with writing_index(path, "flat", codes) as write:
        write(bytes(head) + _COUNT.pack(count * code_size))
        for ids, vectors in batches:
            write(flat.sa_encode(checked_vectors(vectors, dimension, "vectors")).tobytes())
            written.append(ids)
        if (found := sum(map(len, written))) != count:
            raise CollectionCorrupt(
                str(path), f"there are {found} vectors for {count} passages; verify the collection"
            )
        write(_COUNT.pack(count))
        for ids in written:
            write(ids.tobytes())
