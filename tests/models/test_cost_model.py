import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.budgets import Budget
from rag.core.errors import InputError
from rag.core.usage import Prices
from rag.models.cost_model import CostModel, Origin, TimedCall, budget_in_tokens
from tests.models.simulated import LAPTOP

coefficients = st.floats(0, 10) | st.just(0.0)
models = st.builds(CostModel, *[coefficients] * 6)
tokens = st.integers(0, 50_000)


def timed(model: CostModel, rng: random.Random, noise: float, *, cached: bool = True) -> TimedCall:
    read = int(10 ** rng.uniform(1.5, 4))
    kept = int(read * rng.choice([0, 0.5, 0.98])) if cached else 0
    written = rng.choice([1, 8, 64])
    seconds = model.predict(read, written, kept) * rng.lognormvariate(0, noise)
    return TimedCall(read, kept, written, seconds)


def test_predict_adds_up_the_terms() -> None:
    assert CostModel(overhead=3).predict(100, 10, 50) == 3
    assert CostModel(computed=2).predict(100, 10, 50) == 100
    assert CostModel(attention=1).predict(100, 1) == 100 * 50
    assert CostModel(attention=1).predict(100, 1, 50) == 50 * (50 + 25)
    assert CostModel(cached=1).predict(100, 10, 40) == 40
    assert CostModel(output=1).predict(100, 10) == 9
    assert CostModel(output=1).predict(100, 0) == 0
    assert CostModel(output_attention=1).predict(100, 10) == 9 * 105


@given(models, tokens, tokens, tokens, st.integers(0, 100))
def test_more_tokens_never_take_less(
    model: CostModel, read: int, more: int, written: int, kept: int
) -> None:
    kept = min(kept, read)
    base = model.predict(read, written, kept)
    assert model.predict(read + more, written, kept) >= base
    assert model.predict(read, written + more, kept) >= base


@given(models, st.floats(0, 1e5), st.integers(0, 500), st.integers(1, 9))
def test_tokens_within_is_the_inverse_of_predict(
    model: CostModel, seconds: float, written: int, calls: int
) -> None:
    fits = model.tokens_within(seconds, written, calls)
    if fits is None:
        assert model.predict(10**9, written) <= seconds / calls
        return
    each, rest = divmod(fits, calls)
    assert rest == 0
    assert each == 0 or model.predict(each, written) <= seconds / calls
    assert model.predict(each + 1, written) > seconds / calls


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 10), st.integers(0, 500))
def test_tokens_within_a_price(read: float, write: float, cost: float, written: int) -> None:
    prices = Prices(read, write)
    fits = prices.tokens_within(cost, written)
    if fits is None:
        assert prices.cost(10**9, written) <= cost
    else:
        assert fits == 0 or prices.cost(fits, written) <= cost
        assert prices.cost(fits + 1, written) > cost


def test_calls_share_the_limit() -> None:
    assert Prices(2.0, 4.0).tokens_within(10.0, 500_000, calls=2) == 2 * 1_500_000
    assert Prices(2.0, 4.0).tokens_within(10.0, 500_000, calls=10) == 0
    assert Prices(0.0, 4.0).tokens_within(10.0, 500_000) is None
    with pytest.raises(InputError, match="0 calls share a limit"):
        Prices(2.0, 4.0).tokens_within(10.0, 1, calls=0)


def test_what_made_the_times_is_found_again() -> None:
    rng = random.Random(0)
    calls = [timed(LAPTOP, rng, 0.03) for _ in range(200)]
    found = CostModel.fit(calls)
    for name in ("overhead", "computed", "attention", "output"):
        assert getattr(found, name) == pytest.approx(getattr(LAPTOP, name), rel=0.15), name
    held_out = [timed(LAPTOP, rng, 0) for _ in range(100)]
    assert max(map(found.relative_error, held_out)) < 0.05


def test_what_the_calls_do_not_show_is_0() -> None:
    rng = random.Random(0)
    found = CostModel.fit([timed(LAPTOP, rng, 0.03, cached=False) for _ in range(50)])
    assert found.cached == 0
    short = CostModel.fit([TimedCall(100, 0, 1, 2.0), TimedCall(100, 0, 1, 2.0)])
    assert short.output == short.output_attention == 0
    assert short.predict(100, 1) == pytest.approx(2.0)


calls = st.builds(TimedCall, tokens, st.just(0), st.integers(0, 100), st.floats(1e-6, 1e6))


@given(st.lists(calls, min_size=1, max_size=12))
def test_no_fit_has_a_coefficient_below_0(timings: list[TimedCall]) -> None:
    found = CostModel.fit(timings)
    assert min(found._coefficients) >= 0


def test_a_fit_to_nothing_is_refused() -> None:
    for timings in ([], [TimedCall(1, 0, 1, 0.0)]):
        with pytest.raises(InputError, match="took some time"):
            CostModel.fit(timings)


@pytest.mark.parametrize("origin", [None, Origin("m", "1", "EchoLLM", "2 cores", "2026-01-31",
                                                 60, 30, 0.05, 0.2)])  # fmt: skip
def test_a_saved_model_is_the_same(tmp_path: Path, origin: Origin | None) -> None:
    model = CostModel(0.1, 1 / 3, 0.0, 1e-300, 0.2, 5e-324, origin)
    model.save(tmp_path / "costs" / "model.json")
    assert CostModel.load(tmp_path / "costs" / "model.json") == model
    with pytest.raises(InputError, match=r"costs cannot be written: .*name another file"):
        model.save(tmp_path / "costs")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"origin": null, "tempo": 1}', '{"origin": {}}',
     '{"origin": null, "computed": -1}', '{"origin": null, "computed": NaN}',
     '{"origin": null, "computed": "1"}', '{"origin": null, "cached": Infinity}'],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"model\.json is no cost model: .*rag models calibrate"):
        CostModel.load(path)
    with pytest.raises(InputError, match="nothing"):
        CostModel.load(tmp_path / "nothing.json")


def test_seconds_and_money_become_tokens_and_the_tightest_holds() -> None:
    prices = Prices(1.0, 0.0)
    asked = Budget(tokens=900, calls=3, seconds=1.0, cost=500e-6)
    model = CostModel(computed=1e-3, output=1e-2)

    def limit(budget: Budget, **known: object) -> int | None:
        became = budget_in_tokens(budget, output_tokens=11, **known)  # type: ignore[arg-type]
        assert (became.calls, became.seconds, became.cost) == (
            budget.calls, budget.seconds, budget.cost,
        )  # fmt: skip
        return became.tokens

    assert limit(asked) == 900
    assert limit(asked, prices=prices) == 500
    assert limit(asked, cost_model=model) == pytest.approx(900, abs=1)
    assert limit(Budget(seconds=0.5), cost_model=model) == pytest.approx(400, abs=1)
    assert limit(Budget(seconds=0.05), cost_model=model) == 0
    assert limit(Budget(seconds=1.0), cost_model=model, calls=4) == pytest.approx(600, abs=4)
    assert limit(asked, prices=prices, cost_model=model) == 500
    assert limit(Budget(), prices=prices, cost_model=model) is None
    assert limit(Budget(seconds=1.0), cost_model=CostModel(overhead=0.5)) is None


def test_saved_files_hold_plain_numbers(tmp_path: Path) -> None:
    fitted = CostModel.fit([TimedCall(100, 0, 1, 2.0), TimedCall(200, 0, 1, 4.0)])
    fitted.save(tmp_path / "model.json")
    assert json.loads((tmp_path / "model.json").read_text())["computed"] == fitted.computed
