import json

import pytest

from rag.allocation.grid_search import GridSearch
from rag.allocation.predictions import Prediction
from rag.core.allocations import Allocation
from rag.core.errors import InputError
from tests.allocation.simulated import DRAG, simulated, true_score

A, B, C = (("DRAG", Allocation(documents)) for documents in (1, 2, 3))


def test_a_grid_search_predicts_the_measured_means() -> None:
    table = simulated(questions=40)
    search = GridSearch.fit(table)
    for name, measured in table.datasets.items():
        for cell, found in zip(measured, search.predict(name, list(measured)), strict=True):
            assert found.mean == measured[cell].mean
            assert 0 <= found.low <= found.mean <= found.high <= 1
            assert found.high - found.low > 0


def test_intervals_of_a_grid_search_cover_the_truth() -> None:
    covered = [
        found.low <= true_score(name, cell) <= found.high
        for seed in range(20)
        for name, cells in simulated(40, seed, DRAG[::4]).datasets.items()
        for cell, found in zip(
            cells,
            GridSearch.fit(simulated(40, seed, DRAG[::4])).predict(name, list(cells)),
            strict=True,
        )
    ]
    assert 0.92 < sum(covered) / len(covered) < 0.99


def test_an_unseen_data_set_gets_the_means_over_the_others() -> None:
    one, two = Prediction(0.2, 0.1, 0.3), Prediction(0.4, 0.4, 0.4)
    search = GridSearch({"a": {A: one, B: one}, "b": {A: two}})
    assert search.measured("c", [A, B]) == search.measured(None, [A, B]) == [A]
    assert search.measured("a", [A, B, C]) == [A, B]
    assert search.predict("c", [A]) == [Prediction(*map(pytest.approx, (0.3, 0.25, 0.35)))]
    with pytest.raises(InputError, match="DRAG k=2 m=0 n=1 was not measured on c"):
        search.predict("c", [A, B])


def test_more_measurements_replace_those_of_the_same_cells() -> None:
    first, second = simulated(seed=0, cells=DRAG[:3]), simulated(seed=1, cells=DRAG[2:5])
    found = GridSearch.fit(first).with_measured(second.where(lambda name, _: name == "2wiki"))
    assert found.measured("2wiki", DRAG) == DRAG[:5]
    assert found.measured("musique", DRAG) == DRAG[:3]
    (same,) = GridSearch.fit(second).predict("2wiki", [DRAG[2]])
    assert found.predict("2wiki", [DRAG[2]]) == [same]


def test_a_saved_grid_search_says_the_same() -> None:
    search = GridSearch.fit(simulated(cells=DRAG[:5]))
    assert GridSearch.from_json(json.loads(json.dumps(search.as_json()))) == search
    for wrong in ([], {"a": [{"strategy": "DRAG"}]}, {"a": 1}):
        with pytest.raises(InputError, match="no measured scores"):
            GridSearch.from_json(wrong)
