import re
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from rag.allocation.cells import CellTable, Measured
from rag.allocation.observations import Cell
from rag.allocation.planning import Plan
from rag.allocation.plots import plot_plans, plot_predictions, plot_scaling
from rag.allocation.predictions import Prediction
from rag.allocation.tokens import Needs
from rag.core.allocations import Allocation
from rag.core.errors import InputError
from tests.allocation.simulated import Truth, simulated

CELLS: list[Cell] = [
    ("DRAG", Allocation(0)),
    ("DRAG", Allocation(5)),
    ("IterDRAG", Allocation(5, 1, 3)),
    ("an own one", Allocation(1, 2)),
]
TABLE = simulated(questions=12, cells=CELLS)


def plans() -> list[tuple[int, Plan]]:
    prediction, needs = Prediction(0.4, 0.3, 0.5), Needs(900, 1000, 1, 5)
    chosen = [Plan(*cell, prediction, needs, None, None, "model") for cell in CELLS]
    return [(1000 * 2**power, plan) for power, plan in enumerate(chosen)]


Draw = Callable[[Path], None]
DRAWINGS: dict[str, Draw] = {
    "scaling": lambda path: plot_scaling(TABLE, path),
    "predictions": lambda path: plot_predictions(TABLE, Truth(), path, title="The truth"),
    "plans": lambda path: plot_plans(plans(), path),
}
every_name = pytest.mark.parametrize("name", DRAWINGS)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each drawing."""
    folder = tmp_path_factory.mktemp("drawn")
    for name, draw in DRAWINGS.items():
        draw(folder / f"{name}.svg")
    return folder


def texts_in(path: Path) -> list[str]:
    root = ElementTree.parse(path).getroot()
    return [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}text")]


def texts(draw: Draw, folder: Path) -> list[str]:
    """Draw an SVG, and return all text in it."""
    draw(folder / "plot.svg")
    return texts_in(folder / "plot.svg")


def cell_names(found: Sequence[str]) -> list[str]:
    return sorted(each for each in found if re.fullmatch(r"k\d+ m\d+ n\d+", each))


@every_name
def test_a_png_is_drawn(name: str, tmp_path: Path) -> None:
    DRAWINGS[name](tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@every_name
def test_strategies_are_text_of_an_svg(name: str, drawn: Path) -> None:
    assert {"DRAG", "IterDRAG", "an own one"} <= set(texts_in(drawn / f"{name}.svg"))


@every_name
def test_the_same_makes_the_same_svg(name: str, drawn: Path, tmp_path: Path) -> None:
    DRAWINGS[name](tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == (drawn / f"{name}.svg").read_bytes()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("plot.doc", "plot.doc: .*svg"), ("plot", "plot: .*svg"), ("none/plot.svg", "No such file")],
)
def test_what_cannot_be_written_is_refused(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        DRAWINGS["plans"](tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_labels_of_scaling(drawn: Path) -> None:
    found = texts_in(drawn / "scaling.svg")
    assert found.count("effective context length (tokens)") == 3
    assert found.count("em (± standard error)") == 1
    assert {"hotpotqa", "2wiki", "musique", "best of all strategies"} <= set(found)


def test_labels_of_predictions(drawn: Path) -> None:
    found = texts_in(drawn / "predictions.svg")
    expected = {"measured em (± standard error)", "predicted em (95 % interval)", "The truth"}
    assert {*expected, "hotpotqa", "2wiki", "musique"} <= set(found)


def test_labels_of_plans_are_the_numbers_chosen(drawn: Path) -> None:
    found = texts_in(drawn / "plans.svg")
    assert {"budget (input tokens)", "expected score", "(95 % interval)"} <= set(found)
    for label, numbers in {
        "documents k": ["0", "1", "5"],
        "examples m": ["0", "1", "2"],
        "steps n": ["1", "3"],
    }.items():
        end = found.index(label)
        assert found[end - len(numbers) : end] == numbers


def test_the_title_of_predictions_has_their_r2(tmp_path: Path) -> None:
    exact = simulated(cells=CELLS, noise=0)
    found = texts(lambda path: plot_predictions(exact, Truth(), path), tmp_path)
    assert "R² 1.00 within data sets" in found


def cells_at(places: Sequence[tuple[int, float]]) -> CellTable:
    """Return cells with k of 0, 1, 2 and so on, and the tokens and scores that are given."""
    nothing = np.zeros(2)
    cells = {
        ("DRAG", Allocation(number)): Measured(
            ("a", "b"), np.full(2, score), np.full(2, float(tokens)), nothing, nothing, nothing
        )
        for number, (tokens, score) in enumerate(places)
    }
    return CellTable("f1", {"quiz": cells})


def test_cells_of_the_frontier_are_named(tmp_path: Path) -> None:
    table = cells_at([(100, 0.1), (1_000, 0.3), (2_000, 0.2), (10_000, 0.5)])
    found = texts(lambda path: plot_scaling(table, path), tmp_path)
    assert cell_names(found) == ["k0 m0 n1", "k1 m0 n1", "k3 m0 n1"]


def test_names_that_would_overlap_are_left_out(tmp_path: Path) -> None:
    table = cells_at([(100, 0.1), (9_900, 0.498), (10_000, 0.5)])
    found = texts(lambda path: plot_scaling(table, path), tmp_path)
    assert cell_names(found) == ["k0 m0 n1", "k2 m0 n1"]


class Skewed:
    """Predicts means that are outside of their intervals, as with some bootstraps."""

    def predict(self, dataset: str, cells: Sequence[Cell]) -> list[Prediction]:
        return [Prediction(0.5, 0.6, 0.7) for _ in cells]


def test_the_least_that_can_be_drawn(tmp_path: Path) -> None:
    table = cells_at([(100, 0.0)])
    assert "quiz" in texts(lambda path: plot_scaling(table, path), tmp_path)
    found = texts(lambda path: plot_predictions(table, Skewed(), path), tmp_path)
    assert not any("R²" in each for each in found)
    assert "DRAG" in texts(lambda path: plot_plans(plans()[:1], path), tmp_path)


def test_cells_that_read_nothing_are_beyond_the_axis(tmp_path: Path) -> None:
    table = cells_at([(0, 0.1), (100, 0.2)])
    assert cell_names(texts(lambda path: plot_scaling(table, path), tmp_path)) == ["k1 m0 n1"]


def test_a_strategy_may_be_missing_on_a_data_set(tmp_path: Path) -> None:
    table = TABLE.where(lambda name, cell: name == "2wiki" or cell[0] == "DRAG")
    assert "IterDRAG" in texts(lambda path: plot_scaling(table, path), tmp_path)
    assert "IterDRAG" in texts(lambda path: plot_predictions(table, Truth(), path), tmp_path)


def test_names_are_no_formulas_and_are_broken_where_long(tmp_path: Path) -> None:
    name = "$cheap$ questions, " + 10 * "and more "
    table = CellTable("em", {name: TABLE.datasets["2wiki"]})
    found = texts(lambda path: plot_scaling(table, path), tmp_path)
    assert "$cheap$ questions, and more and more and" in found


def test_nothing_is_not_drawn(tmp_path: Path) -> None:
    empty = CellTable("em", {})
    with pytest.raises(InputError, match="no measured cells"):
        plot_scaling(empty, tmp_path / "plot.png")
    with pytest.raises(InputError, match="no measured cells"):
        plot_predictions(empty, Truth(), tmp_path / "plot.png")
    with pytest.raises(InputError, match="no plans"):
        plot_plans([], tmp_path / "plot.png")
