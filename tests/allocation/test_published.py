import json
import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import fsolve

from rag.allocation.cells import CellTable, Measured
from rag.allocation.dataset_statistics import DatasetStatistics, informativeness
from rag.allocation.observations import Cell
from rag.allocation.published import Form, PublishedModel
from rag.allocation.sigmoid import PUBLISHED_SIGMOID
from rag.core.allocations import Allocation
from rag.core.errors import InputError

# What the paper found for Gemini 1.5 Flash, section 5 of arXiv 2410.04343.
GEMINI = PublishedModel(
    a=(0.325, 0.101, 0.177),
    b=(-0.067, -0.008),
    c=-0.730,
    datasets={"any": DatasetStatistics(0.0, 1.0, {"DRAG": (0.0, 0.0)})},
)
DRAG = [("DRAG", Allocation(k, m)) for k, m in product((0, 1, 2, 5, 10, 20), (0, 1, 2, 4))]
ITER_DRAG = [
    ("IterDRAG", Allocation(*theta)) for theta in product((1, 2, 5), (0, 1, 2), (1, 2, 3, 5))
]
GRID = DRAG + ITER_DRAG
ANCHORS = [("DRAG", each) for each in (Allocation(0), Allocation(1), Allocation(0, 1))]


def measured(*values: float) -> Measured:
    scores = np.array(values)
    ones = np.ones(len(scores))
    return Measured(tuple(map(str, range(len(scores)))), scores, ones, ones, ones, ones)


def table(**datasets: dict[Cell, float]) -> CellTable:
    return CellTable("f1", {
        name: {cell: measured(score) for cell, score in cells.items()}
        for name, cells in datasets.items()
    })  # fmt: skip


def logs(cells: list[Cell]) -> np.ndarray:
    thetas = [(each.documents, each.examples, each.steps) for _, each in cells]
    return np.log(np.array(thetas) + 0.01)


def noisy(seed: int, cells: list[Cell] = GRID, noise: float = 0.2) -> dict[Cell, float]:
    rng = np.random.default_rng(seed)
    x = logs(cells) @ [0.3, 0.1, 0.2] - 0.5 + rng.normal(scale=noise, size=len(cells))
    return dict(zip(cells, 0.3 + 0.1 * PUBLISHED_SIGMOID(x), strict=True))


def means(model: PublishedModel, dataset: str, cells: list[Cell]) -> list[float]:
    return [each.mean for each in model.predict(dataset, cells)]


# The published constants


@pytest.mark.parametrize(("theta", "score"), [((100, 32, 5), 1.01), ((0, 0, 1), -2.12)])
def test_the_published_constants_give_sensible_scores(theta: tuple[int, ...], score: float) -> None:
    (found,) = GEMINI.predict("any", [("DRAG", Allocation(*theta))])
    assert found.mean == pytest.approx(score, abs=0.005)
    assert found.low == found.high == found.mean


def paper_tokens(allocation: Allocation, document: int, question: int = 50) -> list[int]:
    """Return the tokens of each call: two a step, with the documents of all steps so far."""
    k, m, n = allocation.documents, allocation.examples, allocation.steps
    examples = m * (k * document + question)
    if n == 1:
        return [examples + k * document + question]
    return [examples + step * k * document + question for step in range(1, n + 1) for _ in "ab"]


@pytest.mark.parametrize(("document", "steps"), [(150, [1, 1, 1, 1, 3]), (300, [1, 1, 1, 1, 2])])
def test_the_published_constants_take_one_step_up_to_a_million_tokens(
    document: int, steps: list[int]
) -> None:
    documents = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    grid = [
        Allocation(*each)
        for each in product(documents, (0, *(2**e for e in range(9))), range(1, 6))
    ]
    scores = means(GEMINI, "any", [("DRAG", each) for each in grid])
    calls = [paper_tokens(each, document) for each in grid]
    best = []
    for budget in (16_000, 32_000, 128_000, 1_000_000, 5_000_000):
        feasible = [
            (score, each)
            for score, each, tokens in zip(scores, grid, calls, strict=True)
            if sum(tokens) <= budget and max(tokens) <= 1_000_000
        ]
        best.append(max(feasible)[1].steps)
    assert best == steps


# The form

numbers = st.integers(0, 200)
slopes = st.floats(0.001, 1)


@given(st.tuples(slopes, slopes, slopes), numbers, numbers, numbers, st.integers(1, 50))
def test_with_slopes_above_0_more_is_never_worse(
    a: tuple[float, float, float], k: int, m: int, n: int, more: int
) -> None:
    cells = [
        ("DRAG", Allocation(k + more * (i == 1), m + more * (i == 2), n + 1 + more * (i == 3)))
        for i in range(4)
    ]
    base, *others = means(replace(GEMINI, a=a), "any", cells)
    assert min(others) >= base


def test_informativeness_changes_the_slopes() -> None:
    known = DatasetStatistics(0.4, 0.2, {"DRAG": (0.3, -0.1), "Self-Ask": (0.5, 0.2)})
    model = replace(GEMINI, datasets={"some": known})
    theta = Allocation(10, 2, 3)
    for strategy, (i_doc, i_shot) in [
        ("DRAG", (0.3, -0.1)),
        ("Self-Ask", (0.5, 0.2)),
        ("IterDRAG", (0.3, -0.1)),  # has none of its own
    ]:
        x = (
            (0.325 - 0.067 * i_doc) * math.log(10.01)
            + (0.101 - 0.008 * i_shot) * math.log(2.01)
            + 0.177 * math.log(3.01)
            - 0.730
        )
        expected = 0.4 + 0.2 * (3.30 / (1 + math.exp(-1.81 * (x + 0.46))) - 2.18)
        assert means(model, "some", [(strategy, theta)]) == pytest.approx([expected])


def test_informativeness_is_what_the_first_document_and_the_first_example_add() -> None:
    cells = {
        ("DRAG", Allocation(0, 0)): measured(0.1, 0.3),
        ("DRAG", Allocation(1, 0)): measured(0.4, 0.8),
        ("DRAG", Allocation(0, 1)): measured(0.1, 0.2),
        ("IterDRAG", Allocation(1, 0)): measured(0.9, 0.9),
        **{("Self-Ask", each): measured(0.5, 0.5) for each in (Allocation(0), Allocation(1))},
        ("Self-Ask", Allocation(0, 1)): measured(0.5, 0.7),
    }
    found = informativeness("hotpotqa", cells, {"DRAG", "IterDRAG", "Self-Ask"})
    assert found.keys() == {"DRAG", "Self-Ask"}
    assert found["DRAG"] == pytest.approx((0.4, -0.05))
    assert found["Self-Ask"] == pytest.approx((0.0, 0.1))


# Fitting


def reference(datasets: dict[str, dict[Cell, float]], form: Form) -> np.ndarray:
    """Fit a form as the paper writes it, one data set after the other."""
    rows, targets = [], []
    for cells in datasets.values():
        scores = np.array(list(cells.values()))
        z = (scores - scores.mean()) / scores.std()
        inside = np.clip(z, -2.18 + 0.033, 1.12 - 0.033)
        targets.append(z if form == "linear" else -0.46 - np.log(3.3 / (inside + 2.18) - 1) / 1.81)
        bare, document, example = (cells[each] for each in ANCHORS)
        log = logs(list(cells))
        gains = np.array([document - bare, example - bare])
        parts = {
            "uninformed": [log],
            "quadratic": [log, gains * log[:, :2], log**2],
        }.get(form, [log, gains * log[:, :2]])
        rows.append(np.hstack([np.ones((len(log), 1)), *parts]))
    return np.linalg.pinv(np.vstack(rows)) @ np.concatenate(targets)


@pytest.mark.parametrize("form", ["sigmoidal", "uninformed", "linear", "quadratic"])
def test_the_parameters_are_those_of_ordinary_least_squares(form: Form) -> None:
    datasets = {f"set {seed}": noisy(seed) for seed in range(3)}
    model = PublishedModel.fit(table(**datasets), form=form)
    expected = np.zeros(9)
    found = reference(datasets, form)
    expected[: len(found)] = found
    assert [model.c, *model.a, *model.b, *model.squares] == pytest.approx(expected)
    assert [error > 0 for error in model.standard_errors.values()] == [
        each < len(found) for each in range(9)
    ]
    assert model.cells == 180


def test_scores_are_normalised_by_data_set() -> None:
    cells = noisy(0)
    stretched = {cell: 0.05 + 3 * score for cell, score in cells.items()}
    alone = PublishedModel.fit(table(a=cells), form="uninformed")
    both = PublishedModel.fit(table(a=cells, b=stretched), form="uninformed")
    assert both.a == pytest.approx(alone.a)
    expected = 0.05 + 3 * np.array(means(alone, "a", GRID))
    assert means(both, "b", GRID) == pytest.approx(expected)


def test_errors_are_those_of_the_normalised_scores() -> None:
    datasets = {f"set {seed}": noisy(seed) for seed in range(3)}
    model = PublishedModel.fit(table(**datasets))
    wrong, variance = [], []
    for name, cells in datasets.items():
        scores = np.array(list(cells.values()))
        wrong += [((np.array(means(model, name, GRID)) - scores) / scores.std()) ** 2]
        variance += [((scores - scores.mean()) / scores.std()) ** 2]
    assert model.mse == pytest.approx(np.mean(wrong))
    assert model.r2 == pytest.approx(1 - np.sum(wrong) / np.sum(variance))
    z = np.concatenate([
        (np.array(list(cells.values())) - np.mean(list(cells.values())))
        / np.std(list(cells.values()))
        for cells in datasets.values()
    ])  # fmt: skip
    assert model.clipped == ((z > 1.12 - 0.033) | (z < -2.18 + 0.033)).sum() > 0


def test_strategies_can_be_fitted_alone() -> None:
    observed = table(hotpotqa=noisy(0), musique=noisy(1))
    model = PublishedModel.fit(observed, {"IterDRAG"})
    assert model.cells == 72
    only = PublishedModel.fit(observed.where(lambda _, cell: cell[0] == "DRAG"))
    assert only == PublishedModel.fit(observed, {"DRAG"})
    # DRAG takes one step only, so nothing is known of more.
    assert only.a[2] == only.standard_errors["a_n"] == 0
    # IterDRAG lacks the cells without documents, so that of DRAG stands in.
    gains = model.datasets["musique"].informativeness
    assert gains == only.datasets["musique"].informativeness


def test_one_data_set_leaves_b_at_0() -> None:
    model = PublishedModel.fit(table(hotpotqa=noisy(0)))
    assert model.b == (0, 0)
    assert model.a == PublishedModel.fit(table(hotpotqa=noisy(0)), form="uninformed").a


def test_known_parameters_are_within_their_intervals() -> None:
    theta = product((0, 1, 2, 5, 10, 20), (0, 1, 2, 4), (1, 2, 3, 5))
    cells = [("DRAG", Allocation(*each)) for each in theta]
    direction = logs(cells) @ GEMINI.a
    noise = np.random.default_rng(0).normal(scale=0.3, size=(400, len(cells)))

    def misfit(unknown: np.ndarray) -> tuple[float, float]:
        z = PUBLISHED_SIGMOID(unknown[0] * direction + unknown[1] + noise)
        return z.mean(), z.std() - 1

    # With this scale and constant scores are normal already, but for what the noise makes of one
    # sample: normalising leaves the slopes as they are.
    scale, c = fsolve(misfit, [1.0, -0.5])
    within = np.zeros(3)
    for each in noise[:200]:
        z = PUBLISHED_SIGMOID(scale * direction + c + each)
        observed = table(some=dict(zip(cells, 0.4 + 0.15 * z, strict=True)))
        model = PublishedModel.fit(observed, form="uninformed")
        errors = [model.standard_errors[name] for name in ("a_k", "a_m", "a_n")]
        within += np.abs(model.a - scale * np.array(GEMINI.a)) < 1.96 * np.array(errors)
    assert (within >= 180).all()


def test_a_refitted_sigmoid_finds_the_parameters_whatever_the_normalisation() -> None:
    scores = noisy(0, noise=0.0)
    fixed = PublishedModel.fit(table(some=scores), form="uninformed")
    model = PublishedModel.fit(table(some=scores), form="uninformed", refit_sigmoid=True)
    assert fixed.mse is not None
    assert fixed.mse > 1e-3
    assert model.a == pytest.approx((0.3, 0.1, 0.2), abs=1e-4)
    assert model.c == pytest.approx(-0.5, abs=1e-4)
    assert means(model, "some", GRID) == pytest.approx(list(scores.values()), abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_refitting_the_sigmoid_lowers_the_error(seed: int) -> None:
    observed = table(hotpotqa=noisy(seed, noise=0.5), musique=noisy(seed + 9, noise=0.5))
    fixed, model = (PublishedModel.fit(observed, refit_sigmoid=each) for each in (False, True))
    assert fixed.mse is not None
    assert model.mse is not None
    assert model.mse < fixed.mse


# Predicting


def test_intervals_are_those_of_the_linear_part() -> None:
    cells = noisy(0)
    model = PublishedModel.fit(table(some=cells), form="uninformed")
    known = model.datasets["some"]
    row = np.array([1, *logs([("DRAG", Allocation(5, 1))])[0]])
    x = row @ [model.c, *model.a]
    margin = 1.959964 * math.sqrt(row @ np.array(model.covariance)[:4, :4] @ row)
    (found,) = model.predict("some", [("DRAG", Allocation(5, 1))])
    expected = known.mean + known.sd * PUBLISHED_SIGMOID(np.array([x, x - margin, x + margin]))
    assert [found.mean, found.low, found.high] == pytest.approx(expected)
    assert found.low < found.mean < found.high
    assert model.predict("some", []) == []


def test_a_data_set_is_added_by_its_anchors() -> None:
    fitted = PublishedModel.fit(table(hotpotqa=noisy(0), wiki=noisy(1)))
    cells = noisy(2)
    model = fitted.with_dataset("musique", {cell: measured(cells[cell]) for cell in ANCHORS})
    assert "musique" not in fitted.datasets
    found = np.array(means(model, "musique", GRID))
    assert np.corrcoef(found, list(cells.values()))[0, 1] > 0.9
    assert np.mean(means(model, "musique", ANCHORS)) == pytest.approx(
        np.mean([cells[each] for each in ANCHORS])
    )
    # The best cell is the same at any level and deviation.
    best = int(found.argmax())
    known = replace(model.datasets["musique"], mean=7.0, sd=3.0)
    moved = replace(model, datasets={"musique": known})
    assert int(np.argmax(means(moved, "musique", GRID))) == best


def test_all_cells_say_more_of_level_and_deviation_than_anchors_do() -> None:
    fitted = PublishedModel.fit(table(hotpotqa=noisy(0), wiki=noisy(1)))
    wide = {cell: measured(3 * score - 0.4) for cell, score in noisy(2).items()}
    known = fitted.with_dataset("musique", wide).datasets["musique"]
    scores = np.array([each.mean for each in wide.values()])
    assert known.mean == pytest.approx(scores.mean(), abs=0.02)
    assert known.sd == pytest.approx(scores.std(), rel=0.1)


# Saving


@pytest.mark.parametrize("form", ["sigmoidal", "linear"])
def test_a_model_read_from_json_is_the_same(form: Form) -> None:
    model = PublishedModel.fit(table(hotpotqa=noisy(0), musique=noisy(1)), form=form)
    assert PublishedModel.from_json(json.loads(json.dumps(model.as_json()))) == model
    assert PublishedModel.from_json(GEMINI.as_json()) == GEMINI


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"a": [1, 2]}, "a.2"),
        ({"c": math.nan}, "c"),
        ({"sigmoid": {"height": -1, "steepness": 1, "shift": 0, "floor": 0}}, "sigmoid.height"),
        ({"covariance": [[0.0] * 9] * 8}, "covariance"),
        ({"datasets": {"x": {"mean": 0, "sd": 0, "informativeness": {}}}}, "datasets.x.sd"),
    ],
)
def test_other_json_is_refused_by_name(change: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=rf"not a fitted allocation model: (?s:.*)\n{named}"):
        PublishedModel.from_json({**GEMINI.as_json(), **change})
    with pytest.raises(InputError, match="not a fitted allocation model"):
        PublishedModel.from_json(None)


# Errors


def without(cells: dict[Cell, float], *gone: Cell) -> dict[Cell, float]:
    return {cell: score for cell, score in cells.items() if cell not in gone}


def test_a_missing_cell_is_named() -> None:
    cells = without(noisy(0), ("DRAG", Allocation(0, 1)))
    needed = r"musique: .* 'DRAG' needs the cell k=0 m=1 n=1 of 'DRAG'; measure it"
    with pytest.raises(InputError, match=needed):
        PublishedModel.fit(table(hotpotqa=noisy(0), musique=cells))
    with pytest.raises(InputError, match=r"musique: .* 'IterDRAG' needs the cell k=0 m=1 n=1"):
        PublishedModel.fit(table(musique=cells), {"IterDRAG"})
    fitted = PublishedModel.fit(table(hotpotqa=noisy(0)))
    for anchors in ({}, {("DRAG", Allocation(1)): measured(0.5)}):
        with pytest.raises(InputError, match=r"musique: .* needs the cell k=0 m=0 n=1"):
            fitted.with_dataset("musique", anchors)


def test_what_cannot_be_fitted_is_refused() -> None:
    flat = dict.fromkeys(GRID, 0.25)
    with pytest.raises(InputError, match=r"musique: its 60 cells all score 0\.25"):
        PublishedModel.fit(table(hotpotqa=noisy(0), musique=flat))
    with pytest.raises(InputError, match="no cell of 'IRCoT', 'Self-Ask' was measured"):
        PublishedModel.fit(table(hotpotqa=noisy(0)), {"Self-Ask", "IRCoT"})
    with pytest.raises(InputError, match="no cell of any strategy was measured; `rag budget prof"):
        PublishedModel.fit(table())
    with pytest.raises(InputError, match="3 cells do not determine 3 parameters; measure more"):
        PublishedModel.fit(table(a=noisy(0, ANCHORS)))
    with pytest.raises(InputError, match="the linear form has no sigmoid to refit"):
        PublishedModel.fit(table(a=noisy(0)), form="linear", refit_sigmoid=True)


def test_what_cannot_be_predicted_is_refused() -> None:
    cell = ("IterDRAG", Allocation(5, 1, 2))
    with pytest.raises(InputError, match="knows the data sets 'any', not 'musique'; `with_datas"):
        GEMINI.predict("musique", [cell])
    own = replace(GEMINI, datasets={"any": DatasetStatistics(0, 1, {"Self-Ask": (0, 0)})})
    with pytest.raises(InputError, match="no informativeness for 'IterDRAG', nor for 'DRAG'"):
        own.predict("any", [cell])
    with pytest.raises(InputError, match="fitted to no data set"):
        replace(GEMINI, datasets={}).with_dataset("musique", {})
