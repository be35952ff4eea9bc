import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from rag.allocation.cells import CellTable, Measured
from rag.allocation.dataset_statistics import ANCHORS
from rag.allocation.model import AllocationModel
from rag.allocation.observations import Cell
from rag.allocation.predictions import Prediction, Predictor
from rag.core.allocations import Allocation
from rag.core.errors import InputError
from tests.allocation.simulated import DRAG, GRID, ITER_DRAG, PASSAGES, simulated, true_score

Truth = Callable[[str, Cell], float]
DATASETS = tuple(PASSAGES)
ANCHOR_CELLS: list[Cell] = [("DRAG", each) for each in ANCHORS]


def measured(
    truth: Truth,
    cells: Sequence[Cell] = GRID,
    *,
    questions: int = 32,
    datasets: Sequence[str] = DATASETS,
    seed: int = 0,
) -> CellTable:
    """Return 0/1 values whose expectation is the truth; half their variance is the questions'."""
    rng = np.random.default_rng(seed)
    nothing = np.zeros(questions)
    ids = tuple(f"q{each:03d}" for each in range(questions))

    def drawn(hardness: np.ndarray, score: float) -> Measured:
        luck = (hardness + rng.normal(size=questions)) / np.sqrt(2)
        right = (luck < NormalDist().inv_cdf(score)).astype(np.float64)
        return Measured(ids, right, nothing, nothing, nothing, nothing)

    tables = {}
    for name in datasets:
        hardness = rng.normal(size=questions)
        tables[name] = {cell: drawn(hardness, truth(name, cell)) for cell in cells}
    return CellTable("em", tables)


def declining(dataset: str, cell: Cell) -> float:
    """Best with 10 documents, and clearly worse with 20."""
    _, allocation = cell
    by_documents = {0: 0.15, 1: 0.3, 2: 0.4, 5: 0.5, 10: 0.6, 20: 0.4}
    level = {"hotpotqa": 0.1, "2wiki": 0.05, "musique": 0.0}[dataset]
    return level + by_documents[allocation.documents] + 0.03 * min(allocation.examples, 2)


def without_surface(dataset: str, cell: Cell) -> float:
    """Every cell for itself: neighbours say nothing."""
    return float(np.random.default_rng([*repr((dataset, cell)).encode()]).uniform(0.1, 0.9))


def best(model: Predictor, dataset: str, cells: Sequence[Cell]) -> Cell:
    predictions = model.predict(dataset, cells)
    return cells[int(np.argmax([each.mean for each in predictions]))]


def means(predictions: Sequence[Prediction]) -> np.ndarray:
    return np.array([each.mean for each in predictions])


def half_widths(predictions: Sequence[Prediction]) -> np.ndarray:
    return np.array([(each.high - each.low) / 2 for each in predictions])


@pytest.fixture(scope="module")
def model() -> AllocationModel:
    return AllocationModel.fit(simulated(questions=32))


def test_a_decline_is_seen() -> None:
    table = measured(declining, DRAG, questions=48)
    # The best cells themselves were not measured, but those around them were.
    kept = table.where(lambda _, cell: cell[1] != Allocation(10, 2))
    model = AllocationModel.fit(kept)
    for dataset in DATASETS:
        assert best(model, dataset, DRAG)[1].documents == 10
        ten, twenty = model.predict(dataset, [("DRAG", Allocation(k, 2)) for k in (10, 20)])
        assert ten.mean > twenty.mean + 0.05


def test_the_length_of_prompts_can_do_harm() -> None:
    """Neither many documents nor many examples alone are too many."""

    def too_long(_: str, cell: Cell) -> float:
        k, m = cell[1].documents, cell[1].examples
        passages = k * (m + 1)
        return (
            0.3 + 0.1 * (k > 0) + 0.05 * np.log1p(k) - 0.3 * max(0, np.log(max(passages, 1) / 15))
        )

    held_out: list[Cell] = [("DRAG", Allocation(20, 2)), ("DRAG", Allocation(10, 4))]
    table = measured(lambda *each: max(too_long(*each), 0.02), DRAG, questions=48)
    model = AllocationModel.fit(table.where(lambda _, cell: cell not in held_out))
    for dataset in DATASETS:
        long, *shorter = model.predict(
            dataset, [held_out[0], ("DRAG", Allocation(20)), ("DRAG", Allocation(5, 2))]
        )
        assert all(long.mean < each.mean for each in shorter)


def test_strategies_have_surfaces_of_their_own() -> None:
    def opposite(_: str, cell: Cell) -> float:
        strategy, allocation = cell
        rise = 0.15 * np.log1p(allocation.documents)
        return 0.2 + rise if strategy == "Self-Ask" else 0.7 - rise

    cells: list[Cell] = [
        (strategy, Allocation(k)) for strategy in ("IRCoT", "Self-Ask") for k in (0, 1, 2, 5, 10)
    ]
    model = AllocationModel.fit(measured(opposite, cells))
    for dataset in DATASETS:
        assert best(model, dataset, cells[:5]) == ("IRCoT", Allocation(0))
        assert best(model, dataset, cells[5:]) == ("Self-Ask", Allocation(10))
        seen, unseen = model.predict(dataset, [cells[2], ("Iter-RetGen", Allocation(2))])
        assert unseen.high - unseen.low > 1.2 * (seen.high - seen.low)


def test_cells_that_were_not_measured_are_predicted() -> None:
    unexplained, spread = [], []
    for seed in range(4):
        table = simulated(questions=32, seed=seed)
        rng = np.random.default_rng(seed)
        held_out = {(name, cell) for name in DATASETS for cell in GRID if rng.random() < 0.4}
        model = AllocationModel.fit(table.where(lambda *place, h=held_out: place not in h))
        for name in DATASETS:
            cells = [cell for cell in GRID if (name, cell) in held_out]
            truth = np.array([true_score(name, cell) for cell in cells])
            # All cells are off together, by as much as their questions are harder than most.
            unexplained.append((means(model.predict(name, cells)) - truth).var())
            spread.append(truth.var())
    assert np.mean(unexplained) < 0.2 * np.mean(spread)


def test_intervals_cover_the_truth() -> None:
    covered = []
    for seed in range(12):
        truth = declining if seed % 2 else true_score
        cells = DRAG if seed % 2 else GRID
        table = measured(truth, cells, questions=24, seed=seed)
        rng = np.random.default_rng(seed)
        seen = set(rng.permutation(len(cells))[: len(cells) // 2].tolist())
        known = {cells[each] for each in seen}
        model = AllocationModel.fit(table.where(lambda _, cell, known=known: cell in known))
        for name in DATASETS:
            covered += [
                each.low <= truth(name, cell) <= each.high
                for cell, each in zip(cells, model.predict(name, cells), strict=True)
            ]
    assert np.mean(covered) > 0.9


def test_a_new_data_set_takes_its_anchors_only() -> None:
    old, new = DATASETS[:2], DATASETS[2]
    errors, levels, regrets, covered = [], [], [], []
    for seed in range(6):
        table = measured(declining, DRAG, seed=seed)
        model = AllocationModel.fit(table.where(lambda name, _: name in old))
        anchors = table.where(lambda name, cell: name == new and cell in ANCHOR_CELLS)
        informed = model.with_measured(anchors)
        assert informed.kernel == model.kernel
        assert informed.datasets == (*old, new)
        predictions = informed.predict(new, DRAG)
        truth = np.array([declining(new, cell) for cell in DRAG])
        level = np.mean([each.mean for each in anchors.datasets[new].values()])
        errors.append(((means(predictions) - truth) ** 2).mean())
        levels.append(((level - truth) ** 2).mean())
        regrets.append(truth.max() - truth[means(predictions).argmax()])
        covered += [
            each.low <= true <= each.high for each, true in zip(predictions, truth, strict=True)
        ]
        assert half_widths(predictions).mean() > half_widths(informed.predict(old[0], DRAG)).mean()
    assert np.mean(errors) < 0.25 * np.mean(levels)
    assert np.mean(regrets) < 0.06
    assert np.mean(covered) > 0.85


def test_measuring_a_cell_moves_its_prediction_and_narrows_it() -> None:
    cell: Cell = ("DRAG", Allocation(10, 2))
    table = measured(declining, DRAG, questions=48)
    before = AllocationModel.fit(table.where(lambda _, each: each != cell))
    after = before.with_measured(table.where(lambda _, each: each == cell))
    for name in DATASETS:
        (old,), (new,) = before.predict(name, [cell]), after.predict(name, [cell])
        found = table.datasets[name][cell].mean
        assert abs(new.mean - found) < abs(old.mean - found)
        assert new.high - new.low < old.high - old.low
    # What is measured anew replaces what was known.
    again = after.with_measured(table.where(lambda _, each: each == cell))
    assert again == after


def test_intervals_hold_what_the_bootstrap_finds(model: AllocationModel) -> None:
    """Predictions are linear in the scores, so what resampling does to them is known without it."""
    table = simulated(questions=32)
    rng = np.random.default_rng(0)
    draws = np.array(
        [
            np.concatenate([means(resampled.predict(name, GRID)) for name in DATASETS])
            for resampled in (model.with_measured(table.resampled(rng)) for _ in range(60))
        ]
    )
    places = [(name, cell) for name in DATASETS for cell in GRID]
    gain = model._posterior.covariance @ model._posterior.precision
    assert places == [(each.dataset, each.cell) for each in model.scores]
    expected = np.sqrt(np.diag(gain @ model.noise.covariance(model.scores) @ gain.T))
    assert draws.std(axis=0).mean() == pytest.approx(expected.mean(), rel=0.15)
    errors = np.concatenate([half_widths(model.predict(name, GRID)) for name in DATASETS]) / 1.96
    assert (errors > expected).mean() > 0.95


def test_the_same_cells_give_the_same_model() -> None:
    table = simulated(questions=16)
    assert AllocationModel.fit(table) == AllocationModel.fit(table)


def test_predictions_are_scores(model: AllocationModel) -> None:
    far: list[Cell] = [("DRAG", Allocation(1000, 64)), ("Other", Allocation(0, 0, 50))]
    for name in DATASETS:
        for each in model.predict(name, [*GRID, *far]):
            assert 0 <= each.low <= each.mean <= each.high <= 1
    assert model.predict(DATASETS[0], []) == []


def test_a_model_comes_back_from_json(model: AllocationModel) -> None:
    back = AllocationModel.from_json(json.loads(json.dumps(model.as_json())))
    assert back == model
    for name in DATASETS:
        assert back.predict(name, GRID) == model.predict(name, GRID)
    assert (back.cell_r2, back.transfer_r2) == (model.cell_r2, model.transfer_r2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": None}, "kernel"),
        ({"noise": {"shared": 0.5, "own": -1}}, "noise.own"),
        ({"scores": []}, "scores"),
        ({"mean": float("nan")}, "mean"),
        ({"scores": [{"dataset": "d", "strategy": "DRAG"}]}, r"scores.0.allocation"),
    ],
)
def test_what_is_no_model_is_refused(
    model: AllocationModel, change: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=rf"not a fitted allocation model[\s\S]*{message}"):
        AllocationModel.from_json({**model.as_json(), **change})
    with pytest.raises(InputError, match="not a fitted allocation model"):
        AllocationModel.from_json([model.as_json()])


def test_what_cannot_be_used_is_refused(model: AllocationModel) -> None:
    with pytest.raises(InputError, match=r"'2wiki'.*not 'hotpot'; measure a few cheap cells"):
        model.predict("hotpot", GRID)
    with pytest.raises(InputError, match="predicts em; the table has f1"):
        model.with_measured(CellTable("f1", {}))
    with pytest.raises(InputError, match="two questions and two cells"):
        AllocationModel.fit(simulated(cells=GRID[:1]))


def test_cross_validation_is_what_models_without_the_cells_predict(model: AllocationModel) -> None:
    errors, spread = 0.0, 0.0
    for name in DATASETS:
        held_out = [
            each for each in model.scores if each.dataset == name and each.allocation not in ANCHORS
        ]
        kept = tuple(each for each in model.scores if each not in held_out)
        predicted = replace(model, scores=kept).predict(name, [each.cell for each in held_out])
        found = np.array([each.mean for each in held_out])
        errors += ((means(predicted) - found) ** 2).sum()
        spread += ((found - found.mean()) ** 2).sum()
    # The mean score of fewer cells is another one, and the noise depends on it a little.
    assert model.transfer_r2 == pytest.approx(1 - errors / spread, abs=0.03)


def test_it_says_when_not_to_rely_on_it(model: AllocationModel) -> None:
    assert model.cell_r2 > 0.2
    assert model.why_not == ""
    few = AllocationModel.fit(simulated(cells=DRAG[:2]))
    assert few.why_not == "only 6 cells were measured; it takes 9 to judge the model"
    rough = AllocationModel.fit(measured(without_surface, ITER_DRAG, datasets=["hotpotqa"]))
    assert rough.cell_r2 <= 0
    assert "no better than by the mean of their data set" in rough.why_not


def test_transfer_takes_anchors_and_another_data_set() -> None:
    alone = AllocationModel.fit(simulated().where(lambda name, _: name == DATASETS[0]))
    without = AllocationModel.fit(
        simulated().where(lambda _, cell: cell[1].steps > 1 or cell[1].documents > 1)
    )
    assert alone.transfer_r2 is None
    assert without.transfer_r2 is None


def test_cells_that_all_score_the_same_make_a_model() -> None:
    table = simulated(cells=DRAG)
    zeros = {
        name: {
            cell: replace(each, values=np.zeros_like(each.values)) for cell, each in cells.items()
        }
        for name, cells in table.datasets.items()
    }
    model = AllocationModel.fit(CellTable("em", zeros))
    for each in model.predict(DATASETS[0], DRAG):
        assert each.mean < 0.02
        assert 0.001 < each.high < 0.2
    assert model.why_not
