"""Writing flat index files from batches."""

import numpy as np
import pytest

from rag.core.errors import CollectionCorrupt, InputError
from rag.indexes.flat_file import write_flat
from rag.indexes.vectors import create_index, load_index
from rag.testing.vector_index_conformance import DIMENSION, sample_vectors

VECTORS = sample_vectors(500, seed=1)
IDS = np.arange(500) * 3 + 7


def batches(*ends):
    return zip(np.split(IDS, ends), np.split(VECTORS, ends), strict=True)


@pytest.mark.parametrize("ends", [(), (1, 200, 200)], ids=["whole", "parts"])
@pytest.mark.parametrize("metric", ["inner_product", "l2"])
@pytest.mark.parametrize("codes", ["float32", "float16", "int8"])
def test_it_is_what_saving_an_index_writes(tmp_path, codes, metric, ends):
    options = {"codes": codes, "metric": metric, "training": VECTORS[::2]}
    index = create_index(DIMENSION, **options)
    index.add(IDS, VECTORS)
    index.save(tmp_path / "saved")
    write_flat(tmp_path / "written", batches(*ends), count=500, dimension=DIMENSION, **options)
    assert (tmp_path / "written").read_bytes() == (tmp_path / "saved").read_bytes()


def test_an_empty_one_can_be_loaded(tmp_path):
    options = {"dimension": DIMENSION, "codes": "float32", "metric": "inner_product"}
    write_flat(tmp_path / "index", [], count=0, **options)
    assert len(load_index(tmp_path / "index", mapped=True)) == 0


@pytest.mark.parametrize("count", [499, 501])
def test_another_number_of_vectors_is_refused(tmp_path, count):
    options = {"dimension": DIMENSION, "codes": "float32", "metric": "inner_product"}
    with pytest.raises(CollectionCorrupt, match=f"500 vectors for {count} passages"):
        write_flat(tmp_path / "index", batches(300), count=count, **options)
    assert not list(tmp_path.iterdir())


def test_vectors_that_no_index_takes_are_refused(tmp_path):
    options = {"dimension": DIMENSION, "codes": "float32", "metric": "inner_product"}
    with pytest.raises(InputError, match="row 1 of vectors holds NaN"):
        write_flat(
            tmp_path / "index", [(IDS[:2], VECTORS[:2] * [[1], [np.nan]])], count=2, **options
        )
    assert not list(tmp_path.iterdir())
